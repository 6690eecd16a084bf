"""In which form a document is answered: JSON-LD, JSON or a page; whether the client has it already.

A route hands its document to `answer` and knows nothing of all this. A page is a function from the request and the same
document to HTML; `create_app` is given them by name, and a route says the name of its own.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec
from fastapi import Request
from starlette.responses import Response

LD_JSON = "application/ld+json"
JSON = "application/json"
HTML = "text/html"
NDJSON = "application/x-ndjson"
CSV = "text/csv"

SCHEMA_ORG = "https://schema.org"
NODE_TERMS = {"@vocab": "urn:discovery-node:term:"}
"""The context of documents about the node itself, for which schema.org has no words."""

Page = Callable[[Request, Any], str]
Writer = Callable[[Any], bytes]
"""Writes a document in another form than JSON."""

PAGE_HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' https:; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
}
"""Of pages: own files, and pictures that feeds name, over https."""

_ENCODER = msgspec.json.Encoder(decimal_format="number")


class NotAcceptable(Exception):  # noqa: N818 - HTTP's own name
    """The client takes none of the forms there are."""

    def __init__(self, offered: Sequence[str]) -> None:
        super().__init__(f"It can be had as {', '.join(offered)}")
        self.offered = list(offered)


def encoded(document: Any) -> bytes:
    """JSON; decimals are written exactly, as numbers."""
    return _ENCODER.encode(document)


def chosen(accept: str | None, offered: Sequence[str]) -> str | None:
    """The media type the client likes best, of several as good the first that is offered; None when it takes none."""
    if not accept or accept == "*/*":
        return offered[0]
    ranges = [_parsed(part) for part in accept.split(",")]
    best, best_quality = None, 0.0
    for media_type in offered:
        quality = _quality(media_type, ranges)
        if quality > best_quality:
            best, best_quality = media_type, quality
    return best


def page_named(request: Request, name: str | None) -> Page | None:
    """The page of that name, if there is a console."""
    pages: Mapping[str, Page] = request.app.state.node.pages
    return pages.get(name) if name else None


def is_page(request: Request, name: str) -> bool:
    """Whether a document that has the page of that name is answered as it."""
    render = page_named(request, name)
    return render is not None and chosen(request.headers.get("accept"), [LD_JSON, JSON, HTML]) == HTML


def negotiated(request: Request, page: str | None = None, writers: Iterable[str] = ()) -> str:
    """The media type that a document is answered in, which can be had in those of `writers` too and, with a name, as
    that page. Raises `NotAcceptable`; routes that change something ask before they do."""
    offered = [LD_JSON, JSON, *writers, *([HTML] if page_named(request, page) else [])]
    media_type = chosen(request.headers.get("accept"), offered)
    if media_type is None:
        raise NotAcceptable(offered)
    return media_type


def answer(
    request: Request,
    document: Any,
    *,
    page: str | None = None,
    context: Any = NODE_TERMS,
    writers: Mapping[str, Writer] | None = None,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """The document as the client wants it: 304 without a body when it has it already. `context` is that of a document
    without one, and `writers` are forms of its own that it can be had in. Raises `NotAcceptable`."""
    render = page_named(request, page)
    media_type = negotiated(request, page, writers or ())
    headers = dict(headers or {})
    if media_type == HTML and render:
        body = render(request, document).encode()
        headers = {**PAGE_HEADERS, **headers}
    elif writers and media_type in writers:
        body = writers[media_type](document)
    elif media_type == JSON:
        body = encoded({name: value for name, value in document.items() if name != "@context"})
    else:
        body = encoded({"@context": context, **document})
    return _conditional(request, body, media_type, status, headers)


def page_response(html: str, status: int = 200) -> Response:
    """A page that depends on who asks, and is kept nowhere."""
    return Response(html, status, {**PAGE_HEADERS, "Cache-Control": "no-store"}, HTML)


def _conditional(request: Request, body: bytes, media_type: str, status: int, headers: dict[str, str]) -> Response:
    etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    headers = {"ETag": etag, "Vary": "Accept, Authorization, Cookie", "Cache-Control": "no-cache", **headers}
    if status == 200 and _matches(request.headers.get("if-none-match"), etag):
        return Response(status_code=304, headers=headers)
    return Response(body, status, headers, media_type)


def _matches(if_none_match: str | None, etag: str) -> bool:
    if if_none_match is None:
        return False
    return any(each.strip().removeprefix("W/") in (etag, "*") for each in if_none_match.split(","))


def _parsed(part: str) -> tuple[str, float]:
    media_type, *parameters = part.split(";")
    quality = 1.0
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "q":
            try:
                quality = min(max(float(value), 0.0), 1.0)
            except ValueError:
                quality = 0.0
    return media_type.strip().lower(), quality


def _quality(media_type: str, ranges: Sequence[tuple[str, float]]) -> float:
    """What the most specific range that holds the type says of it."""
    kind = media_type.partition("/")[0]
    for wanted in (media_type, f"{kind}/*", "*/*"):
        found = [quality for name, quality in ranges if name == wanted]
        if found:
            return max(found)
    return 0.0

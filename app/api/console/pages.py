"""Documents as HTML."""

import json
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from fastapi import Request
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup, escape

from app.api.console import session
from app.api.console.marking import marked
from app.api.console.plots import history, lasted
from app.api.console.progress import counted, part, rated, told
from app.api.console.reasons import places, respelled
from app.api.console.reference import chapters
from app.api.negotiation import Page, encoded
from app.api.problems import Problem
from app.cmp.text import clean
from app.services.filters import Filter

_templates = Environment(
    loader=PackageLoader("app.api.console"),
    autoescape=select_autoescape(),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def _page(template: str) -> Page:
    """Renders the template with the document as `document`, and what every page has."""

    def render(request: Request, document: Any) -> str:
        return _rendered(request, template, document)

    return render


def _rendered(request: Request, template: str, document: Any, **further: Any) -> str:
    return _templates.get_template(f"{template}.html").render(
        document=document,
        request=request,
        parameters=defaultdict(str, request.query_params),
        is_admin=session.is_admin(request),
        is_signed_in=session.is_signed_in(request),
        csrf=session.csrf_token(request),
        **further,
    )


def _operating(template: str) -> Page:
    """A page for those alone who run the node."""
    render = _page(template)

    def for_operators(request: Request, document: Any) -> str:
        if not session.is_admin(request):
            raise Problem(401, "sign-in", "This page is for who runs the node", remedy="Sign in with an admin key.")
        return render(request, document)

    return for_operators


def _link(url: object) -> str:
    """A URL of a feed that a page may link to; empty for one that it must not."""
    return url if isinstance(url, str) and url.lower().startswith(("https://", "http://")) else ""


def _pictures(image: object) -> list[str]:
    """The URLs of an `image` of schema.org: one, several, or objects that hold one. They are asked for over https,
    whatever the feed says: a page that came so could load no others."""
    listed = image if isinstance(image, list) else [image]
    found = (each.get("url") or each.get("contentUrl") if isinstance(each, Mapping) else each for each in listed)
    return [f"https://{link.partition('://')[2]}" for each in found if (link := _link(each))]


def _addresses(urns: Sequence[str]) -> str:
    """URNs as the query of an address."""
    return urlencode([("urn", urn) for urn in urns])


def _named(thing: object) -> str:
    """What a thing of schema.org is called, if it is called anything."""
    if isinstance(thing, Mapping):
        thing = thing.get("name")
    return clean(str(thing)) if thing else ""


def _money(offer: Mapping[str, Any] | None) -> str:
    if not offer or offer.get("price") is None:
        return ""
    return f"{offer['price']} {offer.get('priceCurrency') or ''}".strip()


def _availability(offer: Mapping[str, Any] | None) -> str:
    return str((offer or {}).get("availability") or "").rpartition("/")[2]


def _served(product: Mapping[str, Any]) -> dict[str, Any]:
    """A product as programs get it."""
    return {name: value for name, value in product.items() if name != "cmp:received"}


def _words(name: str) -> str:
    """A name of schema.org as people write it: `InStock` is in stock."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()


def _pretty(document: object) -> str:
    return json.dumps(json.loads(encoded(document)), indent=2, ensure_ascii=False)


def _coded(text: str) -> Markup:
    """What stands `between backticks` as code, all of it escaped."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704 - escaped before


def _time(value: object) -> str:
    """A time as people read it, in UTC; nothing for no time."""
    if not isinstance(value, datetime):
        return ""
    return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def _by_code(issues: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Issues by code, in the order in which the codes come first."""
    grouped: defaultdict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for issue in issues:
        grouped[issue["code"]].append(issue)
    return [
        {
            "code": code,
            "severity": each[0]["severity"],
            "hint": each[0]["hint"],
            "places": sum(issue.get("count") or 1 for issue in each),
            "issues": each,
        }
        for code, each in grouped.items()
    ]


_templates.filters |= {
    "link": _link, "pictures": _pictures, "named": _named, "money": _money, "availability": _availability,
    "pretty": _pretty, "time": _time, "by_code": _by_code, "history": history, "lasted": lasted,
    "marked": marked, "coded": _coded, "words": _words, "served": _served, "places": places,
    "respelled": respelled, "addresses": _addresses,
    "counted": counted, "part": part, "rated": rated, "told": told,
}  # fmt: skip
_templates.globals["filter_names"] = list(Filter.model_fields)

PAGES: Mapping[str, Page] = {
    **{
        name: _page(name)
        for name in (
            "search", "product", "compare", "categories", "brands", "organizations", "organization", "issues",
            "diagnostics",            "validation", "problem",
        )
    },
    **{name: _operating(name) for name in ("runs", "run", "ingestors", "system", "started", "link", "revoked")},
}  # fmt: skip
"""By the names that routes use."""

sign_in_page = _page("sign-in")
validate_page = _page("validate")


def docs_page(request: Request) -> str:
    """The API to read, as its OpenAPI document tells it."""
    document = request.app.openapi()
    return _rendered(request, "docs", document, chapters=chapters(document, str(request.base_url)))

"""Documents of the web, over http and https."""

import re
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar

import httpx2

from app.ingestors.base import ForbiddenPathError, GoneError, SourceError, UnreachableError
from app.ingestors.sources.base import BaseSource, Document, Limits, Validators, cannot_spool, refuse_page, spool
from app.ingestors.sources.packing import DAMAGED, ENCODINGS, Unpack
from app.ingestors.sources.tries import PassingError, Tries, as_source_error
from app.net import urls
from app.net.door import WEB, Answer, Credentials, Door
from app.net.errors import NetworkError

T = TypeVar("T")

WELL_KNOWN_FEED = "/.well-known/cmp/feed.json"
_ASKED = {"Accept": "application/ld+json, application/json, */*;q=0.5", "Accept-Encoding": "gzip, br, zstd"}
_SETTLED = 2.0  # seconds: a document that was just modified may be modified again under the same date
_MAX_RETRY_AFTER = 86_400.0
_ETAG = re.compile(r"[!-~ ]{1,512}")
_BARE_DOMAIN = re.compile(r"[^/?#@\s]+")
_WITHOUT_HEAD = frozenset({400, 403, 405, 501})  # servers, and signed URLs, that know GET alone
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504, 507, 520, 521, 522, 523, 524})
_REFUSED = frozenset({401, 403, 407})


@dataclass(frozen=True)
class Access:
    """What an ingestor may show, and where it may look. `credentials` go to the origins of its own paths;
    `allowed_origins` are those its feeds may name shards on, besides their own."""

    credentials: Mapping[str, str] = field(default_factory=dict, repr=False)
    paths: tuple[str, ...] = ()
    allowed_origins: frozenset[str] = frozenset()


class RemoteSource(BaseSource):
    """Fetches over http and https. What an index names must be of its origin, or one that is allowed."""

    def __init__(self, door: Door, access: Access, limits: Limits, *, retries: int = 3, seconds: float = 900) -> None:
        self._door = door
        self._limits = limits
        self._tries = Tries(retries, seconds)
        self._allowed = access.allowed_origins
        origins = frozenset(urls.origin(self._url(path)) for path in access.paths)
        self._credentials = Credentials(access.credentials, origins)
        self._moved: dict[str, httpx2.URL] = {}

    def open(self, path: str) -> Document:
        return self._tried(path, lambda until: self._get(path, until))

    def open_if_changed(self, path: str, validators: Mapping[str, str | int]) -> Document | None:
        conditions = _conditions(validators)
        if not conditions:
            return self.open(path)
        return self._tried(path, lambda until: self._get_if_changed(path, conditions, until))

    def version(self, path: str) -> Validators:
        return self._tried(path, lambda until: self._head(path, until))

    def resolve(self, base: str, reference: str) -> str:
        asked = self._url(base)
        found = self._moved.get(str(asked), asked)
        target = self._named(base, found, reference)
        origins = {urls.origin(each) for each in (asked, found)}
        allowed = self._allowed | origins | {_secured(origin) for origin in origins}
        if urls.origin(target) not in allowed:
            raise ForbiddenPathError(
                f"{urls.shown(base)} names {urls.shown(target)}, which is of another origin",
                remedy="Publish it beside the document, or list its origin in `allowed_origins` of this ingestor.",
            )
        return str(target)

    def resolve_feed(self, registry: str, reference: str) -> str:
        """A registry names feeds of whichever origin: those of the brands it lists."""
        asked = self._url(registry)
        return str(self._named(registry, self._moved.get(str(asked), asked), reference))

    def _url(self, path: str) -> httpx2.URL:
        """The URL that is meant by a path. Raises `SourceError`."""
        if "://" not in path and _BARE_DOMAIN.fullmatch(path):
            path = f"https://{path}{WELL_KNOWN_FEED}"
        try:
            return urls.parse(path, WEB)
        except NetworkError as error:
            raise as_source_error(error) from error

    def _named(self, base: str, url: httpx2.URL, reference: str) -> httpx2.URL:
        try:
            return urls.parse(str(url.join(reference)), WEB)
        except httpx2.InvalidURL:
            raise SourceError(f"{urls.shown(base)} names what is no URL", remedy="Correct the URL.") from None
        except NetworkError as error:
            raise as_source_error(error) from error

    def _tried(self, path: str, attempt: Callable[[float], T]) -> T:
        return self._tries.run(urls.shown(path), urls.origin(self._url(path)), attempt)

    def _get(self, path: str, until: float) -> Document:
        with self._answer("GET", path, {}, until) as answer:
            return self._received(path, answer)

    def _get_if_changed(self, path: str, conditions: Mapping[str, str], until: float) -> Document | None:
        with self._answer("GET", path, conditions, until) as answer:
            if answer.status != 304:
                return self._received(path, answer)
            if _confirms(answer, conditions):
                return None
        # It is about another version than the one that was asked about, and so tells nothing.
        return self._get(path, until)

    def _head(self, path: str, until: float) -> Validators:
        with self._answer("HEAD", path, {}, until) as answer:
            if answer.status in _WITHOUT_HEAD:
                return {}
            _require_success(path, answer)
            return _validators(answer)

    @contextmanager
    def _answer(self, method: str, path: str, conditions: Mapping[str, str], until: float) -> Iterator[Answer]:
        """The answer to a request. Whatever is wrong with it is told as a `SourceError`."""
        asked, headers = str(self._url(path)), _ASKED | dict(conditions)
        try:
            with self._door.request(
                method, asked, headers=headers, credentials=self._credentials, until=until
            ) as answer:
                self._note_move(path, answer)
                yield answer
                answer.finish()
        except NetworkError as error:
            raise as_source_error(error) from error

    def _note_move(self, path: str, answer: Answer) -> None:
        """What a document names is meant as seen from where it was found in the end."""
        asked = self._url(path)
        if answer.url != asked:
            self._moved[str(asked)] = answer.url

    def _received(self, path: str, answer: Answer) -> Document:
        _require_success(path, answer)
        try:
            stored, sha256 = spool(self._body(path, answer))
        except DAMAGED as error:
            raise SourceError(
                f"{urls.shown(path)}: the compressed data is damaged ({error})",
                remedy="Mend the server's compression, or publish the file again, whole.",
            ) from error
        except OSError as error:
            raise cannot_spool(urls.shown(path), error) from error
        document = Document(path, stored, sha256, _validators(answer), self._limits)
        refuse_page(document)
        return document

    def _body(self, path: str, answer: Answer) -> Iterator[bytes]:
        """The body, unpacked as `Content-Encoding` says, while it is within the limits."""
        told = urls.shown(path)
        length = answer.headers.get("content-length", "")
        if length.isdecimal() and len(length) < 20:
            self._limits.check(told, packed=int(length), unpacked=0)
        wire = size = 0

        def received() -> Iterator[bytes]:
            nonlocal wire
            for chunk in answer.chunks():
                wire += len(chunk)
                self._limits.check(told, packed=wire, unpacked=0)
                yield chunk

        for chunk in _unpacking(path, answer)(received()):
            size += len(chunk)
            self._limits.check(told, packed=wire, unpacked=size)
            yield chunk


def basic_auth(username: str, password: str) -> dict[str, str]:
    """The header of a user and password."""
    return {"Authorization": "Basic " + b64encode(f"{username}:{password}".encode()).decode("ascii")}


def _require_success(path: str, answer: Answer) -> None:
    status, told = answer.status, f"{urls.shown(path)}: HTTP {answer.status}"
    if status in {200, 203}:
        return
    if status == 404:
        raise UnreachableError(f"{told}, there is no such document", remedy="Publish it, or correct the URL.")
    if status == 410:
        raise GoneError(f"{told}, the document is gone", remedy="Take it off what names it.")
    if status in _REFUSED:
        raise SourceError(
            f"{told}, the server refuses", remedy="Check `headers`, `username` and `password` of this ingestor."
        )
    if status in _PASSING:
        raise PassingError(f"{told}, the server is not able to answer", retry_after=_retry_after(answer))
    if status == 304:
        raise SourceError(f"{told}, and no version was asked about", remedy="Answer so to conditional requests alone.")
    raise SourceError(f"{told}, which is no document", remedy="Answer with 200 and the document.")


def _unpacking(path: str, answer: Answer) -> Unpack:
    encoding = answer.headers.get("content-encoding", "").strip().lower()
    if encoding in {"", "identity"}:
        return _as_it_is
    if encoding not in ENCODINGS:
        raise SourceError(
            f"{urls.shown(path)} has the Content-Encoding {encoding[:50]!r}",
            remedy=f"Use one of {', '.join(ENCODINGS)}.",
        )
    return ENCODINGS[encoding]


def _as_it_is(chunks: Iterable[bytes]) -> Iterator[bytes]:
    yield from chunks


def _conditions(validators: Mapping[str, str | int]) -> dict[str, str]:
    """The header that asks for a document only if it is another version. The date alone is less than both."""
    if etag := validators.get("etag"):
        return {"If-None-Match": str(etag)}
    if modified := validators.get("last_modified"):
        return {"If-Modified-Since": str(modified)}
    return {}


def _confirms(answer: Answer, conditions: Mapping[str, str]) -> bool:
    """Whether a 304 is about the version that was asked about, as far as it says."""
    etag = answer.headers.get("etag")
    asked = conditions.get("If-None-Match")
    return None in (etag, asked) or str(etag).removeprefix("W/") == str(asked).removeprefix("W/")


def _validators(answer: Answer) -> Validators:
    """What tells this version from others: the ETag, else the date when it is old enough to."""
    etag = answer.headers.get("etag", "").strip()
    if _ETAG.fullmatch(etag):
        return {"etag": etag}
    modified = answer.headers.get("last-modified", "")
    changed, now = _date(modified), _date(answer.headers.get("date", "")) or datetime.now(UTC)
    if changed is not None and (now - changed).total_seconds() >= _SETTLED:
        return {"last_modified": modified}
    return {}


def _retry_after(answer: Answer) -> float | None:
    """What the server asks to be waited, in seconds."""
    text = answer.headers.get("retry-after", "").strip()
    if text.isdecimal():
        return min(float(text[:10]), _MAX_RETRY_AFTER)
    date = _date(text)
    return None if date is None else min(max((date - datetime.now(UTC)).total_seconds(), 0), _MAX_RETRY_AFTER)


def _date(text: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(text)
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)


def _secured(origin: str) -> str:
    """The same host by https, when the origin is http on its usual port."""
    if origin.startswith("http://") and origin.endswith(":80"):
        return f"https://{origin.removeprefix('http://').removesuffix(':80')}:443"
    return origin

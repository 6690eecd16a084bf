"""Files of FTP servers, over ftp and explicit ftps."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import httpx2

from app.ingestors.base import ForbiddenPathError, SourceError, UnreachableError
from app.ingestors.sources.base import BaseSource, Document, Limits, Validators, cannot_spool, refuse_page, spool
from app.ingestors.sources.tries import PassingError, Tries, as_source_error
from app.net import urls
from app.net.door import Policy
from app.net.errors import NetworkError
from app.net.ftp import FTP, FtpDoor, Login
from app.net.ftp_session import FtpRefusedError, FtpSession, FtpVersion, file_of

T = TypeVar("T")

_SETTLED = timedelta(seconds=2)  # a file that was just modified may be modified again under the same time


class FtpSource(BaseSource):
    """Fetches files from FTP servers. What an index names must be of its origin, or one that is allowed."""

    def __init__(
        self, policy: Policy, login: Login, limits: Limits, tries: Tries, *,
        allowed_origins: frozenset[str] = frozenset(),
    ) -> None:  # fmt: skip
        self._door = FtpDoor(policy, login)
        self._limits = limits
        self._tries = tries
        self._allowed = allowed_origins

    def open(self, path: str) -> Document:
        return self._tried(path, self._get)

    def open_if_changed(self, path: str, validators: Mapping[str, str | int]) -> Document | None:
        if validators and self.version(path) == validators:
            return None
        return self.open(path)

    def version(self, path: str) -> Validators:
        return self._tried(path, lambda session, url: _validators(session.version(url)))

    def resolve(self, base: str, reference: str) -> str:
        asked, target = self._url(base), self._named(base, reference)
        if urls.origin(target) not in self._allowed | {urls.origin(asked)}:
            raise ForbiddenPathError(
                f"{urls.shown(base)} names {urls.shown(target)}, which is of another origin",
                remedy="Publish it beside the document, or list its origin in `allowed_origins` of this ingestor.",
            )
        return str(target)

    def resolve_feed(self, registry: str, reference: str) -> str:
        """A registry names feeds of whichever origin; those that are not of the entry's own are asked as anonymous."""
        return str(self._named(registry, reference))

    def _url(self, path: str) -> httpx2.URL:
        with _as_source_errors():
            url = urls.parse(path, FTP)
            file_of(url)
            return url

    def _named(self, base: str, reference: str) -> httpx2.URL:
        url = self._url(base)
        try:
            # Joining is not known for ftps.
            joined = url.copy_with(scheme="ftp").join(reference)
            if not httpx2.URL(reference).scheme:
                joined = joined.copy_with(scheme=url.scheme)
        except httpx2.InvalidURL:
            raise SourceError(f"{urls.shown(base)} names what is no URL", remedy="Correct the URL.") from None
        return self._url(str(joined))

    def _tried(self, path: str, ask: Callable[[FtpSession, httpx2.URL], T]) -> T:
        url = self._url(path)

        def attempt(until: float) -> T:
            with _as_source_errors(), self._door.session(url, until) as session:
                return ask(session, url)

        return self._tries.run(urls.shown(url), urls.origin(url), attempt)

    def _get(self, session: FtpSession, url: httpx2.URL) -> Document:
        told = urls.shown(url)
        before = _version(session, url)
        self._limits.check(told, packed=before.size or 0, unpacked=0)
        try:
            stored, sha256 = spool(self._limits.received(told, session.chunks(url)))
        except OSError as error:
            raise cannot_spool(told, error) from error
        document = Document(str(url), stored, sha256, limits=self._limits)
        after = _version(session, url)
        if before != after or len(stored) != (len(stored) if after.size is None else after.size):
            document.close()
            raise PassingError(
                f"{told} did not come whole, or changed meanwhile", remedy="Upload under another name, then rename."
            )
        document.validators = _validators(after)
        refuse_page(document)
        return document


@contextmanager
def _as_source_errors() -> Iterator[None]:
    try:
        yield
    except FtpRefusedError as error:
        if error.code == 550:
            raise UnreachableError(
                f"{error}, there is no such file, or it may not be read", remedy="Publish it, or correct the URL."
            ) from error
        raise SourceError(
            f"{error}, the server refuses", remedy="Check `username` and `password` of this ingestor, and the server."
        ) from error
    except NetworkError as error:
        raise as_source_error(error) from error


def _version(session: FtpSession, url: httpx2.URL) -> FtpVersion:
    """The version of a file that is transferred anyway: whether it is there is told by that."""
    try:
        return session.version(url)
    except FtpRefusedError:
        return FtpVersion()


def _validators(version: FtpVersion) -> Validators:
    """What tells this version from others: time and size together, when the time is old enough to."""
    if version.modified is None or version.size is None:
        return {}
    try:
        modified = datetime.strptime(version.modified[:14], "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return {}
    if datetime.now(UTC) - modified < _SETTLED:
        return {}
    return {"mdtm": version.modified, "size": version.size}

"""FTP through the door: to addresses that were checked, with TLS where it is asked for, and no longer than said."""

import ssl
import time
import weakref
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx2

from app.net import urls
from app.net.backend import Resolve, resolve_host
from app.net.door import Policy, trusted
from app.net.ftp_session import FtpSession
from app.net.slots import slots
from app.net.timed import TimedTlsSocket

FTP = ("ftp", "ftps")
_IDLE_SECONDS = 30.0  # how long a connection is worth keeping


@dataclass(frozen=True)
class Login:
    """A user, whom only these origins are told of; the others are visited as anonymous."""

    username: str | None = None
    password: str = field(default="", repr=False)
    origins: frozenset[str] = frozenset()

    def for_origin(self, origin: str) -> tuple[str, str]:
        if self.username is None or origin not in self.origins:
            return "anonymous", "anonymous@"
        return self.username, self.password


class FtpDoor:
    """Sessions with servers, under a policy; those that are idle are kept for what is asked next."""

    def __init__(self, policy: Policy, login: Login, *, resolve: Resolve = resolve_host) -> None:
        self._policy = policy
        self._login = login
        self._resolve = resolve
        self._idle: dict[str, list[FtpSession]] = defaultdict(list)
        self._slots = slots(policy.connections_per_host)
        weakref.finalize(self, _close_all, self._idle)

    @contextmanager
    def session(self, url: httpx2.URL, until: float) -> Iterator[FtpSession]:
        """A session with the server of a URL, for what has to be over at `until`. Raises `NetworkError`."""
        origin = urls.origin(url)
        with self._slots.one(url, until):
            session = self._kept(origin, until) or self._new(url, origin, until)
            try:
                yield session
            except BaseException:
                session.close()
                raise
            session.used = time.monotonic()
            self._idle[origin].append(session)

    def _kept(self, origin: str, until: float) -> FtpSession | None:
        while True:
            try:
                session = self._idle[origin].pop()
            except IndexError:
                return None
            session.allow(until)
            if time.monotonic() - session.used < _IDLE_SECONDS and session.is_alive():
                return session
            session.close()

    def _new(self, url: httpx2.URL, origin: str, until: float) -> FtpSession:
        session = FtpSession(self._policy, self._resolve, self._tls() if url.scheme == "ftps" else None)
        session.allow(until)
        try:
            session.enter(url, *self._login.for_origin(origin))
        except BaseException:
            session.close()
            raise
        return session

    def _tls(self) -> ssl.SSLContext:
        context = trusted(self._policy.ca_bundle)
        context.sslsocket_class = TimedTlsSocket
        return context


def _close_all(idle: dict[str, list[FtpSession]]) -> None:
    for sessions in idle.values():
        for session in sessions:
            session.close()

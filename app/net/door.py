"""The one guarded door to the network: every request of the node to somebody else's server goes through it."""

import atexit
import os
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import httpcore2
import httpx2

from app.core.config import Settings
from app.core.errors import ConfigurationError
from app.net import urls
from app.net.addresses import OpenedHosts
from app.net.backend import GuardedBackend, GuardedStream, Resolve, deadline, resolve_host
from app.net.errors import ForbiddenError, InvalidUrlError, NetworkError
from app.net.slots import slots

MAX_REDIRECTS = 5
WEB = ("http", "https")
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_CONNECTIONS = 64
_KEEPALIVE_SECONDS = 30.0
# What comes over the wire besides the body: chunks of one byte take five more, and may have any extension.
_MAX_FRAMING_RATIO, _MAX_FRAMING_BYTES = 16, 1024 * 1024


@dataclass(frozen=True)
class Policy:
    """How the node behaves on the network; times are seconds."""

    opened: OpenedHosts = field(default_factory=OpenedHosts)
    user_agent: str = "discovery-node"
    connect_timeout: float = 10
    first_byte_timeout: float = 30
    stall_timeout: float = 30
    connections_per_host: int = 4
    ca_bundle: Path | None = None

    @classmethod
    def of(cls, settings: Settings) -> "Policy":
        """Raises `ConfigurationError` for a host that is none."""
        try:
            opened = OpenedHosts.of(settings.opened_hosts)
        except InvalidUrlError as error:
            raise ConfigurationError(
                f"ALLOWED_PRIVATE_HOSTS: {error}", remedy="List hosts as host or host:port, with commas between."
            ) from error
        return cls(
            opened=opened,
            user_agent=settings.user_agent,
            connect_timeout=settings.connect_timeout,
            first_byte_timeout=settings.first_byte_timeout,
            stall_timeout=settings.stall_timeout,
            connections_per_host=settings.connections_per_host,
            ca_bundle=settings.ca_bundle,
        )


@dataclass(frozen=True)
class Credentials:
    """Headers that only these origins are shown."""

    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    origins: frozenset[str] = frozenset()

    def for_origin(self, origin: str) -> Mapping[str, str]:
        return self.headers if origin in self.origins else {}


class Answer:
    """What a server answered: the headers, and the body as it comes over the wire."""

    def __init__(self, method: str, url: httpx2.URL, response: httpcore2.Response, wait: "_Wait") -> None:
        self.url = url
        self.status = response.status
        self.headers = httpx2.Headers(response.headers)
        self._response = response
        self._wait = wait
        self._stream: GuardedStream = response.extensions["network_stream"]
        self._started = self._stream.received
        self.has_no_body = method == "HEAD" or self.status in {204, 304}

    def chunks(self) -> Iterator[bytes]:
        """The body, not unpacked. Raises `NetworkError` when it does not come whole."""
        size = 0
        with _translated(self.url, self._wait):
            for chunk in self._response.iter_stream():
                size += len(chunk)
                if self._stream.received - self._started > _MAX_FRAMING_RATIO * size + _MAX_FRAMING_BYTES:
                    raise NetworkError(
                        f"{urls.shown(self.url)} sends much more about its chunks than is in them",
                        remedy="Send larger chunks, without extensions.",
                    )
                yield chunk

    def read(self, at_most: int) -> bytes:
        """The whole body. Raises `NetworkError` when it is larger."""
        body = bytearray()
        for chunk in self.chunks():
            body += chunk
            if len(body) > at_most:
                raise NetworkError(f"{urls.shown(self.url)}: the answer has more than {at_most:,} bytes")
        return bytes(body)

    def finish(self) -> None:
        """Makes the connection fit for the next request, if the answer has no body."""
        if self.has_no_body:
            for _ in self.chunks():
                pass


@dataclass
class _Wait:
    """How long a request may still take."""

    policy: Policy
    until: float
    has_headers: bool = False

    def timed_out(self) -> str:
        if time.monotonic() >= self.until:
            return "took longer than a transfer may (MAX_TRANSFER_SECONDS)"
        if self.has_headers:
            return f"sent nothing for {self.policy.stall_timeout:g} seconds"
        return f"did not answer within {self.policy.first_byte_timeout:g} seconds"


class Door:
    """Sends requests, under a policy, and keeps connections for the next ones."""

    def __init__(self, policy: Policy, *, resolve: Resolve = resolve_host) -> None:
        self._policy = policy
        self._pool = httpcore2.ConnectionPool(
            ssl_context=trusted(policy.ca_bundle),
            max_connections=_CONNECTIONS,
            keepalive_expiry=_KEEPALIVE_SECONDS,
            network_backend=GuardedBackend(policy.opened, resolve),
        )
        self._slots = slots(policy.connections_per_host)

    @contextmanager
    def request(
        self, method: str, url: str, *, headers: Mapping[str, str], credentials: Credentials, until: float,
        follow: bool = True, body: bytes | None = None,
    ) -> Iterator[Answer]:  # fmt: skip
        """The answer to a request, after redirects unless they are not to be followed; all of it has to be there at
        `until`, on the monotonic clock. What has a `body` is sent to this URL alone. Raises `NetworkError`."""
        target = urls.parse(url, WEB)
        wait = _Wait(self._policy, until)
        secrets = credentials.for_origin(urls.origin(target))
        for _ in range(MAX_REDIRECTS + 1):
            with self._sent(method, target, {**headers, **secrets}, body, wait) as answer:
                if answer.status not in _REDIRECTS or not follow or body is not None:
                    yield answer
                    return
                following = _redirected(answer)
            if urls.origin(following) != urls.origin(target):
                secrets = {}
            target = following
        raise NetworkError(
            f"{urls.shown(url)} redirects more than {MAX_REDIRECTS} times", remedy="Name the place it leads to."
        )

    def close(self) -> None:
        self._pool.close()

    @contextmanager
    def _sent(
        self, method: str, url: httpx2.URL, headers: Mapping[str, str], body: bytes | None, wait: _Wait
    ) -> Iterator[Answer]:
        with self._slots.one(url, wait.until), _deadline(wait) as limit:
            with _translated(url, wait):
                response = self._pool.handle_request(self._request(method, url, headers, body))
            try:
                wait.has_headers = True
                deadline.set(limit)
                yield Answer(method, url, response, wait)
            finally:
                response.close()
                wait.has_headers = False

    def _request(
        self, method: str, url: httpx2.URL, headers: Mapping[str, str], body: bytes | None
    ) -> httpcore2.Request:
        policy = self._policy
        timeouts = {
            "connect": policy.connect_timeout, "read": policy.stall_timeout, "write": policy.stall_timeout,
            "pool": policy.first_byte_timeout,
        }  # fmt: skip
        host = url.netloc.decode("ascii")
        sent = httpx2.Headers({"Host": host, "User-Agent": policy.user_agent})
        sent.update(headers)
        if body is not None:
            sent["Content-Length"] = str(len(body))
        target = httpcore2.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
        return httpcore2.Request(method, target, headers=sent.raw, content=body, extensions={"timeout": timeouts})


@cache
def _shared(policy: Policy, _process: int) -> Door:
    shared = Door(policy)
    atexit.register(shared.close)
    return shared


def door(policy: Policy) -> Door:
    """The door of this process for a policy: sources share its connections and its limits per server."""
    return _shared(policy, os.getpid())


def _redirected(answer: Answer) -> httpx2.URL:
    location, told = answer.headers.get("location"), urls.shown(answer.url)
    if not location:
        raise NetworkError(f"{told} redirects to nowhere", remedy="Mend the redirect.")
    try:
        following = urls.parse(str(answer.url.join(location)), WEB)
    except httpx2.InvalidURL:
        raise NetworkError(f"{told} redirects to what is no URL", remedy="Mend the redirect.") from None
    except NetworkError as error:
        raise type(error)(f"{told} redirects: {error}", remedy="Mend the redirect.") from error
    if answer.url.scheme == "https" and following.scheme == "http":
        raise ForbiddenError(f"{told} redirects from https to {urls.shown(following)}", remedy="Redirect to https.")
    return following


@contextmanager
def _deadline(wait: _Wait) -> Iterator[float]:
    """Headers have to be there within the time for the first byte; yields the deadline of all."""
    first = time.monotonic() + wait.policy.connect_timeout + wait.policy.first_byte_timeout
    token = deadline.set(min(wait.until, first))
    try:
        yield wait.until
    finally:
        deadline.reset(token)


@contextmanager
def _translated(url: httpx2.URL, wait: _Wait) -> Iterator[None]:
    """httpcore's exceptions as the node's own, each naming what happened."""
    told = urls.shown(url)
    try:
        yield
    except httpcore2.ConnectTimeout as error:
        raise NetworkError(
            f"{told}: no connection within {wait.policy.connect_timeout:g} seconds", transient=True
        ) from error
    except httpcore2.ConnectError as error:
        if isinstance(error.__cause__ or error.__context__, ssl.SSLError):
            raise NetworkError(f"{told}: TLS failed: {_reason(error)}", remedy="Mend the certificate.") from error
        raise NetworkError(f"{told}: no connection: {_reason(error)}", transient=True) from error
    except httpcore2.TimeoutException as error:
        raise NetworkError(f"{told} {wait.timed_out()}", transient=True) from error
    except httpcore2.LocalProtocolError as error:
        raise NetworkError(f"{told}: the request cannot be sent as HTTP", remedy="Check `headers`.") from error
    except (httpcore2.NetworkError, httpcore2.ProtocolError, ssl.SSLError, OSError) as error:
        raise NetworkError(f"{told}: the answer broke off: {_reason(error)}", transient=True) from error


def _reason(error: Exception) -> str:
    """What went wrong, without the strangers' bytes that the reason may quote."""
    told = str(error).partition("bytearray(")[0].strip().rstrip(".:")
    return told[:200] or type(error).__name__


def trusted(ca_bundle: Path | None) -> ssl.SSLContext:
    """TLS that believes the system's certificates and those of the bundle."""
    context = httpx2.create_ssl_context(trust_env=False)
    if ca_bundle is not None:
        context.load_verify_locations(cafile=ca_bundle)
    return context

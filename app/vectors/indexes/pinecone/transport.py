"""How the SDK's requests reach the network: it speaks, the door's connections carry."""

import time
from collections.abc import Callable
from contextlib import closing, suppress
from typing import Any

import httpcore2
import httpx
from pinecone import Index, Pinecone

from app.core.errors import ConfigurationError
from app.net.addresses import canonical_host
from app.net.backend import GuardedBackend, deadline
from app.net.door import Policy, trusted
from app.net.errors import ForbiddenError

_KEEPALIVE_SECONDS = 30.0
_OF_THE_WIRE = frozenset({"content-encoding", "content-length", "transfer-encoding"})
_ERRORS: dict[type[Exception], type[httpx.TransportError]] = {
    httpcore2.ConnectTimeout: httpx.ConnectTimeout,
    httpcore2.ReadTimeout: httpx.ReadTimeout,
    httpcore2.WriteTimeout: httpx.WriteTimeout,
    httpcore2.PoolTimeout: httpx.PoolTimeout,
    httpcore2.ConnectError: httpx.ConnectError,
    httpcore2.ReadError: httpx.ReadError,
    httpcore2.WriteError: httpx.WriteError,
    httpcore2.LocalProtocolError: httpx.LocalProtocolError,
    httpcore2.RemoteProtocolError: httpx.RemoteProtocolError,
    OSError: httpx.NetworkError,
}

Sent = Callable[[int, int], None]
"""Told of each answer: bytes of the body that was sent, and its status; 0 when none came."""


def connections(policy: Policy, number: int) -> httpcore2.ConnectionPool:
    """Connections that are made to checked addresses alone."""
    return httpcore2.ConnectionPool(
        ssl_context=trusted(policy.ca_bundle),
        max_connections=number,
        keepalive_expiry=_KEEPALIVE_SECONDS,
        network_backend=GuardedBackend(policy.opened),
    )


class GuardedTransport(httpx.BaseTransport):
    """Sends what the SDK hands over, once: what is tried again is the node's decision. The key goes over https, or to
    hosts that are opened by name; an answer that quotes it loses it here."""

    def __init__(self, pool: httpcore2.ConnectionPool, policy: Policy, seconds: float, sent: Sent) -> None:
        self._pool = pool
        self._policy = policy
        self._seconds = seconds
        self._sent = sent

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self._require_private(request.url)
        body = request.read()
        status = 0
        token = deadline.set(time.monotonic() + self._seconds)
        try:
            answer = self._pool.handle_request(_translated(request, body))
            with closing(answer):
                content = b"".join(answer.iter_stream())
            status = answer.status
        except tuple(_ERRORS) as error:
            raise _as_the_sdk_knows_it(error)(str(error) or type(error).__name__, request=request) from error
        finally:
            deadline.reset(token)
            self._sent(len(body), status)
        return _readable(request, httpx.Headers(answer.headers), status, content)

    def _require_private(self, url: httpx.URL) -> None:
        host, port = canonical_host(url.host), url.port or {"https": 443}.get(url.scheme, 80)
        if url.scheme != "https" and not self._policy.opened.holds(host, port):
            raise ForbiddenError(
                f"Pinecone at {url.scheme}://{url.host} would get the key unencrypted",
                remedy="Use https, or list the host in ALLOWED_PRIVATE_HOSTS.",
            )


def carry(client: Pinecone | Index, transport: httpx.BaseTransport) -> None:
    """Has a client of the SDK send through `transport`. The SDK has no public way to that; where it keeps its HTTP
    client is looked at, and a version that keeps it elsewhere is refused rather than let out unguarded."""
    inner = getattr(getattr(client, "_http", None), "_client", None)
    if not isinstance(inner, httpx.Client) or not hasattr(inner, "_transport"):
        raise ConfigurationError(
            "This version of Pinecone's SDK cannot be guarded: it sends its requests in another way",
            remedy="Run `pip install 'discovery-node[pinecone]'`, which installs one that can.",
        )
    with suppress(OSError):
        inner._transport.close()
    inner._transport = transport


def _translated(request: httpx.Request, body: bytes) -> httpcore2.Request:
    url = request.url
    target = httpcore2.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
    extensions: dict[str, Any] = {"timeout": request.extensions.get("timeout", {})}
    return httpcore2.Request(request.method, target, headers=request.headers.raw, content=body, extensions=extensions)


def _as_the_sdk_knows_it(error: Exception) -> type[httpx.TransportError]:
    return next(theirs for ours, theirs in _ERRORS.items() if isinstance(error, ours))


def _readable(request: httpx.Request, headers: httpx.Headers, status: int, content: bytes) -> httpx.Response:
    """An answer, unpacked, without the key that was sent."""
    try:
        unpacked = httpx.Response(status, headers=headers, content=content, request=request).content
    except httpx.DecodingError as error:
        raise httpx.RemoteProtocolError(str(error), request=request) from error
    key = request.headers.get("api-key", "").encode()
    told = unpacked.replace(key, b"(the key)") if key else unpacked
    kept = [(name, value) for name, value in headers.multi_items() if name not in _OF_THE_WIRE]
    return httpx.Response(status, headers=kept, content=told, request=request)

"""Connections of the door: made to the very addresses that were checked, and given up when a request's time is over."""

import socket
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextvars import ContextVar
from typing import Any

import httpcore2

from app.net.addresses import Address, OpenedHosts, canonical_host, is_address, require_open
from app.net.errors import ForbiddenError

Resolve = Callable[[str, int], list[str]]
MAX_TRIED = 4  # addresses of one host

deadline: ContextVar[float] = ContextVar("deadline", default=float("inf"))
"""Until when, on the monotonic clock, what this thread waits for may take."""


def resolve_host(host: str, port: int) -> list[str]:
    """The addresses of a host, in the system's order. Raises `OSError`."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def addresses_of(
    host: str, port: int, opened: OpenedHosts, resolve: Resolve, seconds: float | None = None
) -> list[Address]:
    """The addresses of a host, asked for once and checked. Raises `OSError` and `ForbiddenError`."""
    name = canonical_host(host)
    try:
        found = [name] if is_address(name) else _resolved(resolve, name, port, seconds)
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        raise OSError(None, f"the name cannot be resolved: {reason or error}") from error
    return require_open(name, port, found, opened)


def _resolved(resolve: Resolve, name: str, port: int, seconds: float | None) -> list[str]:
    """The system's resolver knows no deadline: it is left to itself when a stranger's name server keeps silent."""
    found: Future[list[str]] = Future()

    def run() -> None:
        try:
            found.set_result(resolve(name, port))
        except (OSError, UnicodeError) as error:
            found.set_exception(error)

    threading.Thread(target=run, name="resolver", daemon=True).start()
    try:
        return found.result(seconds)
    except FutureTimeoutError as error:
        if found.done():
            raise
        raise OSError(None, f"no answer within {round(seconds or 0, 1):g} seconds") from error


class GuardedBackend(httpcore2.NetworkBackend):
    """Resolves a host once, checks every address, and connects to what it checked: a name that means something else a
    moment later changes nothing. TLS still asks for the name."""

    def __init__(self, opened: OpenedHosts, resolve: Resolve = resolve_host) -> None:
        self._opened = opened
        self._resolve = resolve
        self._connect = httpcore2.SyncBackend().connect_tcp

    def connect_tcp(
        self, host: str, port: int, timeout: float | None = None, local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.NetworkStream:  # fmt: skip
        error: Exception | None = None
        for address in self._addresses(host, port, _left(timeout))[:MAX_TRIED]:
            try:
                stream = self._connect(str(address), port, _left(timeout), local_address, socket_options)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as failed:
                error = failed
            else:
                return GuardedStream(stream)
        raise error or httpcore2.ConnectError("the name has no address")

    def connect_unix_socket(self, *_: Any, **__: Any) -> httpcore2.NetworkStream:
        raise ForbiddenError("The node opens no local sockets")

    def _addresses(self, host: str, port: int, seconds: float | None) -> list[Address]:
        try:
            return addresses_of(host, port, self._opened, self._resolve, seconds)
        except OSError as error:
            raise httpcore2.ConnectError(error.strerror) from error


class GuardedStream(httpcore2.NetworkStream):
    """A connection on which nothing waits longer than the deadline, and that counts what it `received`."""

    def __init__(self, stream: httpcore2.NetworkStream) -> None:
        self._stream = stream
        self.received = 0

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        data = self._stream.read(max_bytes, _left(timeout))
        self.received += len(data)
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, _left(timeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: Any, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        return GuardedStream(self._stream.start_tls(ssl_context, server_hostname, _left(timeout)))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _left(timeout: float | None) -> float | None:
    left = deadline.get() - time.monotonic()
    if left <= 0:
        raise httpcore2.ReadTimeout("the time is over")
    if left == float("inf"):
        return timeout
    return left if timeout is None else min(timeout, left)

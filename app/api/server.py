"""The server: uvicorn, with as many processes as there are cores, and little patience with clients that do not come to
the point."""

import asyncio
import multiprocessing
import os
import signal
import socket
import threading
from collections.abc import Callable
from contextlib import suppress

import h11
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.supervisors.multiprocess import Multiprocess

from app.api.application import create_app
from app.api.guard import MAX_HEAD_BYTES
from app.core.config import Settings, get_settings
from app.core.errors import DiscoveryNodeError
from app.core.logging import configure_logging

_GRACE = 10  # seconds that requests may still take when the server is told to end
_BACKLOG = 512


class AddressUnavailableError(DiscoveryNodeError):
    """The API cannot be served where it should be."""


def listen(host: str, port: int) -> socket.socket:
    """A socket that requests come to. Raises `AddressUnavailableError`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise AddressUnavailableError(
            f"The API cannot be served at {host}:{port}: {error.strerror or error}",
            remedy="Choose another API_PORT or API_HOST, or end what listens there.",
        ) from error


def serve(settings: Settings, listening: socket.socket, processes: int) -> None:
    """Serves until it is told to end. Several processes each read the settings anew from the environment."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # uvicorn, when it is through, passes on what ended it
    if processes == 1:
        with suppress(KeyboardInterrupt):
            uvicorn.Server(ServerConfig(settings, lambda: create_app(settings))).run([listening])
        return
    config = ServerConfig(settings, f"{__name__}:application")
    config.workers = processes
    Multiprocess(config, [listening]).run()


class ServerConfig(uvicorn.Config):
    """How uvicorn serves an application, given as what makes it."""

    def __init__(self, settings: Settings, make: Callable[[], FastAPI] | str) -> None:
        super().__init__(
            make,
            factory=True,
            http=PatientProtocol,
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=bool(settings.api_trusted_proxies),
            forwarded_allow_ips=settings.api_trusted_proxies or None,
            limit_concurrency=settings.api_max_connections,
            h11_max_incomplete_event_size=MAX_HEAD_BYTES,  # while a head comes; whole ones are the guard's
            timeout_graceful_shutdown=_GRACE,
        )
        self.patience = settings.api_client_timeout


class PatientProtocol(H11Protocol):
    """HTTP/1.1 by h11, which bounds what a request's head may hold; this bounds how long it may take to come. uvicorn
    waits for that without end, and counts the time between two requests only while nothing of the second has come."""

    config: ServerConfig

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_due.cancel()
        super().connection_lost(exc)

    def handle_events(self) -> None:
        before = self.cycle
        super().handle_events()
        if self.cycle is not before:
            self._head_due.cancel()
        elif self._head_due.cancelled() and self._has_begun_another():
            self._await_head()

    def _has_begun_another(self) -> bool:
        """Whether a part of the next request's head is here."""
        return self.conn.their_state is h11.IDLE and bool(self.conn.trailing_data[0])

    def _await_head(self) -> None:
        self._head_due = self.loop.call_later(self.config.patience, self._give_up)

    def _give_up(self) -> None:
        self.transport.abort()


def application() -> FastAPI:
    """The application of one of several processes."""
    settings = get_settings()
    configure_logging(settings.log_level, form=settings.log_format)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    return create_app(settings)


def _end_with_parent() -> None:
    """A server whose parent was killed would keep the address."""
    if (parent := multiprocessing.parent_process()) is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)

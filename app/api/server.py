"""The server: uvicorn, with as many processes as there are cores, and little patience with clients that do not come to
the point."""

import asyncio
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress

import h11
import structlog
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from app.api.application import create_app
from app.api.guard import MAX_HEAD_BYTES
from app.core.config import Settings, get_settings
from app.core.errors import DiscoveryNodeError
from app.core.logging import configure_logging
from app.worker.child import Child

log = structlog.get_logger()

_GRACE = 10  # seconds that requests may still take when the server is told to end
_BACKLOG = 512
_SHYNESS = 0.0005  # seconds for each connection
_LONGEST_SHYNESS = 0.002
_RECOVERY = 0.1  # seconds


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


def processes(listening: socket.socket, number: int, environment: Mapping[str, str]) -> list[Child]:
    """So many processes that serve what comes to a socket, each with the settings of the environment."""
    command = [sys.executable, "-m", __name__, str(listening.fileno())]
    environment = {**environment, "PYTHONUNBUFFERED": "1"}
    inherited = (listening.fileno(),)
    return [Child(f"api-{each}", command, environment, inherited=inherited) for each in range(1, number + 1)]


def run(settings: Settings, listening: socket.socket) -> None:
    """Serves from this process until it is told to end."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # uvicorn, when it is through, passes on what ended it
    with suppress(KeyboardInterrupt):
        FairServer(ServerConfig(settings, lambda: create_app(settings))).run([listening])


class FairServer(uvicorn.Server):
    """Takes one connection at a time, and holds back a moment the longer the more it has: of several processes that
    wait at one socket those that have less to do take the next. Left to itself asyncio takes all that wait at once."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup([])
        self._accepting = [asyncio.create_task(self._accept(listening)) for listening in sockets or []]

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for task in self._accepting:
            task.cancel()
        await super().shutdown(sockets)

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        listening.setblocking(False)
        while True:
            try:
                connection, _ = await loop.sock_accept(listening)
            except OSError as error:  # it hung up again, or there are no file descriptors left
                log.warning("a connection was not taken", error=str(error))
                await asyncio.sleep(_RECOVERY)
                continue
            await loop.connect_accepted_socket(self._protocol, connection)
            await asyncio.sleep(min(len(self.server_state.connections) * _SHYNESS, _LONGEST_SHYNESS))

    def _protocol(self) -> asyncio.Protocol:
        config = self.config
        assert isinstance(config, ServerConfig)  # noqa: S101 - it is made with one
        return PatientProtocol(config, self.server_state, self.lifespan.state)


class ServerConfig(uvicorn.Config):
    """How uvicorn serves an application, given as what makes it."""

    def __init__(self, settings: Settings, make: Callable[[], FastAPI]) -> None:
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
        # asyncio does so for sockets that were made with their protocol's number: without, an answer's second piece
        # waits for the client to acknowledge the first.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
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


def main() -> None:
    """One of several processes, which is given the number of its socket."""
    settings = get_settings()
    configure_logging(settings.log_level, form=settings.log_format)
    run(settings, socket.socket(fileno=int(sys.argv[1])))


if __name__ == "__main__":
    main()

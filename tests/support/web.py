"""A web server that does what it is told, also what no server should, and counts what it is asked and sends."""

import hashlib
import socket
import socketserver
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self


@dataclass
class Exchange:
    """A request, and the connection on which it is answered."""

    server: "WebServer"
    connection: socket.socket
    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes = b""
    keep: bool = True

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    def send(self, data: bytes) -> None:
        self.connection.sendall(data)
        self.server.count(len(data))

    def reply(self, status: int = 200, body: bytes = b"", **headers: str) -> None:
        """A whole answer; `content_length` and the like may be another than they should be."""
        given = {name.replace("_", "-").title(): value for name, value in headers.items()}
        if "Transfer-Encoding" not in given and status != 304:
            given.setdefault("Content-Length", str(len(body)))
        head = "".join(f"{name}: {value}\r\n" for name, value in given.items())
        without_body = self.method == "HEAD" or status == 304
        self.send(f"HTTP/1.1 {status} Told\r\n{head}\r\n".encode() + (b"" if without_body else body))

    def hang_up(self) -> None:
        self.keep = False


Respond = Callable[[Exchange], None]


@dataclass
class WebServer:
    """Listens on loopback for as long as it is entered."""

    respond: Respond
    tls: ssl.SSLContext | None = None
    host: str = "127.0.0.1"
    port: int = 0
    requests: list[Exchange] = field(default_factory=list)
    connections: int = 0
    sent: int = 0
    at_once: int = 0
    most_at_once: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __enter__(self) -> Self:
        self._server = _Listener(self)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, _: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    @property
    def asked(self) -> list[tuple[str, str]]:
        """Method and target of each request."""
        return [(request.method, request.target) for request in self.requests]

    def forget(self) -> None:
        self.requests, self.sent, self.connections, self.most_at_once = [], 0, 0, 0

    def count(self, sent: int) -> None:
        with self._lock:
            self.sent += sent

    def answer(self, exchange: Exchange) -> None:
        with self._lock:
            self.requests.append(exchange)
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            self.respond(exchange)
        finally:
            with self._lock:
                self.at_once -= 1


class _Listener(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, web: WebServer) -> None:
        self.web = web
        self.address_family = socket.AF_INET6 if ":" in web.host else socket.AF_INET
        super().__init__((web.host, web.port), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is no news."""


class _Handler(socketserver.BaseRequestHandler):
    server: _Listener

    def handle(self) -> None:
        web = self.server.web
        web.connections += 1
        connection: socket.socket = self.request
        connection.settimeout(30)
        if web.tls:
            connection = web.tls.wrap_socket(connection, server_side=True)
        with connection:
            rest = b""
            while True:
                head, rest = _read_head(connection, rest)
                if head is None:
                    return
                exchange = _parsed(web, connection, head)
                exchange.body, rest = _read_body(connection, rest, int(exchange.headers.get("content-length", "0")))
                web.answer(exchange)
                if not exchange.keep:
                    return


def _read_head(connection: socket.socket, data: bytes) -> tuple[bytes | None, bytes]:
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65536)
        if not piece:
            return None, b""
        data += piece
    head, _, rest = data.partition(b"\r\n\r\n")
    return head, rest


def _read_body(connection: socket.socket, data: bytes, length: int) -> tuple[bytes, bytes]:
    while len(data) < length and (piece := connection.recv(65536)):
        data += piece
    return data[:length], data[length:]


def _parsed(web: WebServer, connection: socket.socket, head: bytes) -> Exchange:
    first, *lines = head.decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ", 2)
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return Exchange(web, connection, method, target, headers)


@dataclass
class Site:
    """A folder as a brand would publish it: with ETags, which it is asked about."""

    folder: Path
    latency: float = 0.0
    etags: bool = True
    headers: dict[str, str] = field(default_factory=dict)

    def __call__(self, exchange: Exchange) -> None:
        time.sleep(self.latency)
        file = self.folder / exchange.path.lstrip("/")
        if not file.is_file():
            exchange.reply(404, b"nothing here")
            return
        data = file.read_bytes()
        if not self.etags:
            exchange.reply(200, data, **self.headers)
            return
        etag = f'"{hashlib.sha256(data).hexdigest()[:16]}"'
        if exchange.headers.get("if-none-match") == etag:
            exchange.reply(304, etag=etag)
        else:
            exchange.reply(200, data, etag=etag, **self.headers)

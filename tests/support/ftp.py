"""FTP servers: a real one, pyftpdlib's, and one that answers what it is told to."""

import socket
import socketserver
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import trustme
from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.handlers import FTPHandler, TLS_FTPHandler
from pyftpdlib.ioloop import IOLoop
from pyftpdlib.servers import FTPServer

USER, PASSWORD = "node", "s3cret-word"


@dataclass
class FtpServer:
    """Serves a folder on loopback, read only, for as long as it is entered; with `tls`, to who asks for it alone."""

    folder: Path
    tls: trustme.CA | None = None
    anonymous: bool = True
    unknown: frozenset[str] = frozenset()
    host: str = "127.0.0.1"
    commands: list[tuple[str, str]] = field(default_factory=list)
    connections: int = 0
    _handlers: list[Any] = field(default_factory=list)

    def __enter__(self) -> Self:
        authorizer = DummyAuthorizer()
        authorizer.add_user(USER, PASSWORD, str(self.folder), perm="elr")
        if self.anonymous:
            authorizer.add_anonymous(str(self.folder))
        handler = self._handler(TLS_FTPHandler if self.tls else FTPHandler)
        handler.authorizer = authorizer
        handler.auth_failed_timeout = 0
        self._server = FTPServer((self.host, 0), handler, ioloop=IOLoop())
        self.port = self._server.address[1]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(5)

    def _serve(self) -> None:
        while not self._stop.is_set():
            self._server.ioloop.loop(timeout=0.02, blocking=False)
        self._server.close_all()

    @property
    def url(self) -> str:
        return f"{'ftps' if self.tls else 'ftp'}://{in_url(self.host)}:{self.port}"

    def drop(self) -> None:
        """Hangs up on everybody."""
        for handler in self._handlers:
            handler.socket.shutdown(socket.SHUT_RDWR)

    def _handler(self, base: Any) -> Any:
        server = self

        class Handler(base):
            def on_connect(self) -> None:
                server.connections += 1
                server._handlers.append(self)

            def pre_process_command(self, line: str, cmd: str, arg: str) -> None:
                server.commands.append((cmd, arg))
                if cmd in server.unknown:
                    self.respond(f"500 {cmd} is not known")
                else:
                    super().pre_process_command(line, cmd, arg)

        if self.tls:
            with self.tls.issue_cert(self.host).private_key_and_cert_chain_pem.tempfile() as certificate:
                Handler.certfile, Handler.ssl_context = certificate, None
                Handler.get_ssl_context()
            Handler.tls_control_required = Handler.tls_data_required = True
        return Handler


class _Listener(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads, block_on_close = True, False

    def __init__(self, host: str, port: int, handler: type[socketserver.BaseRequestHandler]) -> None:
        self.address_family = family(host)
        super().__init__((host, port), handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is no news."""


def family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


@dataclass
class ScriptedServer:
    """Answers each command as it is told to; None hangs up, "" says nothing. Sends `data` from a port of its own."""

    replies: dict[str, str | None]
    data: bytes = b""
    drip: float = 0.0
    host: str = "127.0.0.1"
    port: int = 0
    commands: list[str] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._data = socket.create_server((self.host, 0), family=family(self.host))
        self.data_port = self._data.getsockname()[1]
        self._stop = threading.Event()
        script = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                script.serve(self.wfile.write, self.rfile)

        self._server = _Listener(self.host, self.port, Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._server.shutdown()
        self._server.server_close()
        self._data.close()

    @property
    def url(self) -> str:
        return f"ftp://{in_url(self.host)}:{self.port}"

    def passive(self, host: str | None = None, port: int | None = None) -> str:
        host = host or self.host
        number = self.data_port if port is None else port
        return f"227 Entering ({host.replace('.', ',')},{number >> 8},{number & 255})"

    def serve(self, send: Callable[[bytes], object], lines: Any) -> None:
        usual = {
            "": "220 ready", "USER": "331 go on", "PASS": "230 in", "TYPE": "200 yes", "NOOP": "200 yes",
            "PASV": "" if ":" in self.host else self.passive(),
            "EPSV": f"229 Entering (|||{self.data_port}|)", "RETR": "150 it comes",
            "MDTM": "500 what?", "SIZE": "500 what?",
        }  # fmt: skip
        answers = usual | self.replies
        command = ""
        while True:
            reply = answers.get(command, "502 no")
            if reply is None:
                return
            self._send(send, reply)
            if command == "RETR" and reply.startswith("150"):
                connection, _ = self._data.accept()
                with connection:
                    connection.sendall(self.data)
                self._send(send, answers.get("226", "226 done") or "")
            line = lines.readline()
            if not line:
                return
            self.commands.append(line.decode().strip())
            command = line.decode().split()[0]

    def _send(self, send: Callable[[bytes], object], reply: str) -> None:
        if not self.drip:
            send(f"{reply}\r\n".encode() if reply else b"")
            return
        for character in reply:
            if self._stop.wait(self.drip):
                return
            send(character.encode())

"""The same brand's FTP server, one for each attack: honest, but for what the attack makes of single commands."""

import socket
import socketserver
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.hostile.brand import HONEST, SECOND, reset, wait

SETTLED, LATER = "20010909014640", "20200101000000"  # MDTM of what is honest, and of what is not


@dataclass
class Talk:
    """A control connection: the command that is to be answered, and the file that it is about."""

    brand: "FtpBrand"
    connection: socket.socket
    data: socket.socket
    argument: str = ""
    file: str = ""

    def say(self, *lines: str) -> None:
        self.send("".join(f"{line}\r\n" for line in lines).encode())

    def send(self, data: bytes) -> None:
        self.connection.sendall(data)

    def deliver(self, *pieces: bytes, pause: float = 0.0, forever: bool = False, ends: bool = True) -> None:
        """Sends over the data connection; it is reset if it is not to end as it should."""
        self.say("150 it comes")
        connection, _ = self.data.accept()
        with connection:
            while True:
                for piece in pieces:
                    connection.sendall(piece)
                    wait(pause)
                if not forever:
                    break
            if not ends:
                reset(connection)

    def hang_up(self) -> None:
        self.connection.shutdown(socket.SHUT_RDWR)


Act = Callable[[Talk], None]


@dataclass
class FtpBrand:
    """Commands are looked up with the file they are about (`RETR feed/b.json`, also `PASV feed/b.json`), then alone;
    the greeting answers no command."""

    commands: Mapping[str, Act]
    trap: int = 9
    is_hostile: bool = True
    port: int = 0
    asked: list[str] = field(default_factory=list)

    @contextmanager
    def running(self, port: int = 0) -> Iterator["FtpBrand"]:
        brand = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                with socket.create_server(("127.0.0.1", 0)) as data:
                    data.settimeout(5)
                    brand.talk(Talk(brand, self.connection, data), self.rfile)

        with _Listener(("127.0.0.1", port), Handler) as server:
            self.port = server.server_address[1]
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
            yield self
            server.shutdown()

    def talk(self, talk: Talk, lines: Any) -> None:
        self._answer(talk, "")
        for line in lines:
            command, _, talk.argument = line.decode().strip().partition(" ")
            self.asked.append(command)
            if command in {"MDTM", "SIZE", "RETR"}:
                talk.file = talk.argument
            self._answer(talk, command)

    def _answer(self, talk: Talk, command: str) -> None:
        hostile = self.commands if self.is_hostile else {}
        act = hostile.get(f"{command} {talk.file}") or hostile.get(command) or USUAL.get(command, says("502 no"))
        act(talk)


class _Listener(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads, block_on_close = True, False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is no news."""


# --- what a server may do


def says(*lines: str) -> Act:
    return lambda talk: talk.say(*lines)


def says_forever(data: bytes, pause: float = 0.0) -> Act:
    def act(talk: Talk) -> None:
        while True:
            talk.send(data)
            wait(pause)

    return act


def keeps_silent(seconds: float = 2.0) -> Act:
    return lambda talk: wait(seconds)


def hangs_up(talk: Talk) -> None:
    talk.hang_up()


def names_port(port: int | None = None, host: str = "127.0.0.1") -> Act:
    """Without a port: that where the data really are."""

    def act(talk: Talk) -> None:
        number = talk.data.getsockname()[1] if port is None else port or talk.brand.trap
        talk.say(f"227 Entering ({host.replace('.', ',')},{number >> 8},{number & 255})")

    return act


def delivers(*pieces: bytes, then: str | None = "226 done", **how: Any) -> Act:
    """Data, then that reply; without one it hangs up."""

    def act(talk: Talk) -> None:
        talk.deliver(*pieces, **how)
        talk.hang_up() if then is None else talk.say(then)

    return act


def publishes(file: str, data: bytes) -> dict[str, Act]:
    """A file that is another than the honest one."""
    size, time = says(f"213 {len(data)}"), says(f"213 {LATER}")
    return {f"RETR {file}": delivers(data), f"SIZE {file}": size, f"MDTM {file}": time}


def _known(tell: Callable[[Talk, bytes], None]) -> Act:
    def act(talk: Talk) -> None:
        data = HONEST.get(talk.argument)
        talk.say("550 there is no such file") if data is None else tell(talk, data)

    return act


def _time(talk: Talk, _data: bytes) -> None:
    is_other = talk.brand.is_hostile and talk.argument == SECOND
    talk.say(f"213 {LATER if is_other else SETTLED}")


USUAL: dict[str, Act] = {
    "": says("220 ready"), "USER": says("331 go on"), "PASS": says("230 in"), "TYPE": says("200 yes"),
    "NOOP": says("200 yes"), "PASV": names_port(), "MDTM": _known(_time),
    "SIZE": _known(lambda talk, data: talk.say(f"213 {len(data)}")),
    "RETR": _known(lambda talk, data: delivers(data)(talk)),
}  # fmt: skip

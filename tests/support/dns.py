"""A name server that says something else each time it is asked, and things no honest one would."""

import socketserver
import struct
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Self

A, CNAME, AAAA = 1, 5, 28
_NO_SUCH_NAME = 3

Answer = Sequence[str] | None
"""Addresses of both kinds, after any number of `=alias`; None is no answer at all."""


@dataclass
class DnsServer:
    """Answers over UDP on loopback for as long as it is entered. The nth question about a name and a kind of address
    gets the nth answer of `names`, and the last one from then on."""

    names: Mapping[str, Sequence[Answer]]
    host: str = "127.0.0.1"
    port: int = 53
    asked: Counter[tuple[str, int]] = field(default_factory=Counter)

    def __enter__(self) -> Self:
        dns = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                question, connection = self.request
                if reply := dns.reply(question):
                    connection.sendto(reply, self.client_address)

        self._server = socketserver.UDPServer((self.host, self.port), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def reply(self, question: bytes) -> bytes | None:
        name, end = _read_name(question, 12)
        (kind,) = struct.unpack_from("!H", question, end)
        answers = self.names.get(name)
        number = self.asked[name, kind]
        self.asked[name, kind] += 1
        answer = () if answers is None else answers[min(number, len(answers) - 1)]
        if answer is None:
            return None
        records = list(_records(name, kind, answer))
        flags = 0x8180 | (_NO_SUCH_NAME if answers is None else 0)
        head = question[:2] + struct.pack("!HHHHH", flags, 1, len(records), 0, 0)
        return head + question[12 : end + 4] + b"".join(records)


def _read_name(message: bytes, start: int) -> tuple[str, int]:
    """A name, lowercase, and where it ends."""
    labels = []
    while length := message[start]:
        labels.append(message[start + 1 : start + 1 + length].decode("ascii").lower())
        start += 1 + length
    return ".".join(labels), start + 1


def _records(name: str, kind: int, answer: Sequence[str]) -> Iterator[bytes]:
    for told in answer:
        if told.startswith("="):
            yield _record(name, CNAME, _written(told[1:]))
            name = told[1:]
        elif kind == (AAAA if ":" in told else A):
            yield _record(name, kind, ip_address(told).packed)


def _record(name: str, kind: int, data: bytes) -> bytes:
    """One that is not to be remembered."""
    return _written(name) + struct.pack("!HHIH", kind, 1, 0, len(data)) + data


def _written(name: str) -> bytes:
    return b"".join(bytes([len(label)]) + label.encode("ascii") for label in name.split(".")) + b"\0"

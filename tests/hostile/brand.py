"""A brand that publishes an honest feed until it turns hostile."""

import hashlib
import socket
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from tests.support.feeds import ORGANIZATION, encode, item_list, organization_entry, product
from tests.support.web import Exchange, WebServer

EACH = 15  # products of a shard
REGISTRY, INDEX, FIRST, SECOND = "registry.json", "feed/index.json", "feed/a.json", "feed/b.json"


@dataclass
class Brand:
    """Serves each attack below a folder of its name: while `is_hostile` as the attack wants, else honestly. `trap` is
    the port of a listener on this machine that nothing may ever connect to."""

    attacks: dict[str, "Attack"]
    trap: int = 9
    is_hostile: bool = True
    server: WebServer = field(init=False)

    def __call__(self, exchange: Exchange) -> None:
        name, _, document = exchange.path.lstrip("/").partition("/")
        attack = self.attacks.get(name)
        hostile = attack.documents.get(document) if attack else None
        if self.is_hostile and hostile is not None:
            hostile(exchange, self)
        elif attack and document in HONEST:
            serve(exchange, HONEST[document])
        else:
            exchange.reply(404)

    @contextmanager
    def running(self, port: int = 0) -> Iterator["Brand"]:
        with WebServer(self, port=port) as self.server:
            yield self

    def fill(self, text: str) -> str:
        """A URL with the ports of the trap and of the brand itself."""
        return text.replace("{trap}", str(self.trap)).replace("{own}", str(self.server.port))


Hostile = Callable[[Exchange, Brand], None]


@dataclass(frozen=True)
class Attack:
    """What the brand does to whom. `told` is what the node has to say of it (a regular expression), `status` what
    becomes of the run; what is live may only change where the publication `is_applied`."""

    name: str
    told: str
    documents: dict[str, Hostile]
    status: str = "failed"
    is_applied: bool = False
    seconds: float = 4.0
    source: Literal["remote", "s3", "ftp"] = "remote"
    is_secure: bool = False  # TLS is asked for, which the honest server does not speak
    commands: Mapping[str, Any] = field(default_factory=dict)
    """What an FTP server makes of them (`tests.hostile.ftp`)."""


def serve(exchange: Exchange, data: bytes) -> None:
    etag = f'"{hashlib.sha256(data).hexdigest()[:16]}"'
    if exchange.headers.get("if-none-match") == etag:
        exchange.reply(304, etag=etag)
    else:
        exchange.reply(200, data, etag=etag)


def index(**changes: Any) -> bytes:
    shards = [{"url": "a.json"}, {"url": "b.json"}]
    return encode({"@type": "ProductFeedIndex", "orgid": ORGANIZATION, "totalShards": 2, "shards": shards} | changes)


def shard(first: int, count: int = EACH, **changes: Any) -> bytes:
    return encode(item_list(*(product(number, **changes) for number in range(first, first + count))))


HONEST = {
    REGISTRY: encode(organization_entry()),
    INDEX: index(),
    FIRST: shard(0),
    SECOND: shard(EACH),
}

# --- what a server may do


def replies(status: int = 200, body: bytes = b"", **headers: str) -> Hostile:
    return lambda exchange, brand: exchange.reply(status, body, **headers)


def redirects(place: str, status: int = 302) -> Hostile:
    return lambda exchange, brand: exchange.reply(status, location=brand.fill(place))


def lists(*urls: str) -> Hostile:
    """An index of other shards."""
    return lambda exchange, brand: exchange.reply(200, index(shards=[{"url": brand.fill(url)} for url in urls]))


def names_feed(url: str) -> Hostile:
    """A registry whose feed is elsewhere."""

    def respond(exchange: Exchange, brand: Brand) -> None:
        feed = {"@type": "DataFeed", "url": brand.fill(url)}
        exchange.reply(200, encode(organization_entry(productFeed=feed)))

    return respond


def sends(*pieces: bytes, pause: float = 0.0, forever: bool = False) -> Hostile:
    """Bytes as they are, then the end of the connection."""

    def respond(exchange: Exchange, _brand: Brand) -> None:
        exchange.hang_up()
        while True:
            for piece in pieces:
                exchange.send(piece)
                wait(pause)
            if not forever:
                return

    return respond


def then(*steps: Hostile) -> Hostile:
    def respond(exchange: Exchange, brand: Brand) -> None:
        for step in steps:
            step(exchange, brand)

    return respond


def silence(seconds: float = 3.0) -> Hostile:
    return lambda exchange, brand: wait(seconds)


def resets(exchange: Exchange, _brand: Brand) -> None:
    reset(exchange.connection)
    exchange.hang_up()


def circles(exchange: Exchange, _brand: Brand) -> None:
    exchange.reply(302, location=exchange.target)


def reset(connection: socket.socket) -> None:
    """Lets a connection end with a reset when it is closed."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def wait(seconds: float) -> None:
    time.sleep(seconds)

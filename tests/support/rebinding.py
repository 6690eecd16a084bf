"""`python -m tests.support.rebinding`: what the node does with names that turn against it, as JSON.

To be run in a network of its own (`unshare --net`) where a public address is one of this machine, and whose resolver
asks 127.0.0.1: so names are resolved as on any machine, and nothing is opened to the node that would not be otherwise.
"""

import json
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from pydantic import SecretStr

from app.core.config import Settings
from app.ingestors.base import SourceError
from app.ingestors.sources.factory import SourceConfig, SourceFactory
from app.ingestors.validation import validate
from tests.support.dns import A, DnsServer
from tests.support.feeds import ORGANIZATION, encode
from tests.support.ftp import ScriptedServer
from tests.support.web import Exchange, WebServer

PUBLIC, PUBLIC_6, INSIDE = "93.184.216.34", "2606:2800:220:1::1", "127.0.0.1"
TURNING = ([PUBLIC], [INSIDE])
NAMES: dict[str, tuple[list[str] | None, ...]] = {
    "honest.example": ([PUBLIC],),
    "turns.example": TURNING,
    "turns-6.example": ([PUBLIC_6], ["::1"]),
    "feed.example": TURNING,
    "files.example": TURNING,
    "store.example": TURNING,
    "mixed.example": ([PUBLIC, INSIDE],),
    "mixed-6.example": ([PUBLIC, "::1"],),
    "mapped.example": ([f"::ffff:{INSIDE}"],),
    "nat64.example": (["64:ff9b::7f00:1"],),
    "link.example": (["fe80::1"],),
    "chain.example": (["=one.example", "=two.example", INSIDE],),
    "chain-of-many.example": ([*(f"=n{number}.example" for number in range(12)), "169.254.169.254"],),
    "nothing.example": ([],),
    "circle.example": (["=circle.example"],),
    "silent.example": (None,),
}


@dataclass
class Network:
    """Who listens where in it."""

    dns: DnsServer
    public: list[WebServer | ScriptedServer]
    inside: list[WebServer]
    said: list[str] = field(default_factory=list)

    def fetch(self, url: str, source_type: str = "remote", **config: Any) -> None:
        """Notes what a source of its own gets, or the error it ends with."""
        settings = Settings(_env_file=None, fetch_retries=0, connect_timeout=0.5, first_byte_timeout=0.5)
        try:
            self.said.append(SourceFactory.create(source_type, SourceConfig(settings=settings, **config)).fetch(url))
        except SourceError as error:
            self.said.append(f"{type(error).__name__}: {error}")

    def lint(self, url: str) -> None:
        settings = Settings(_env_file=None, fetch_retries=0)
        self.said += [f"{issue.code}: {issue.message}" for issue in validate(url, settings=settings).issues]

    def report(self) -> dict[str, Any]:
        return {
            "said": self.said,
            "public": sum(len(server.commands) if isinstance(server, ScriptedServer) else len(server.requests)
                          for server in self.public),
            "inside": sum(server.connections for server in self.inside),
            "resolved": {name: count for (name, kind), count in self.dns.asked.items() if kind == A},
        }  # fmt: skip


def _twice(url: str, source_type: str = "remote", **config: Any) -> Callable[[Network], None]:
    def run(network: Network) -> None:
        network.fetch(url, source_type, **config)
        network.fetch(url, source_type, **config)

    return run


def _once(url: str) -> Callable[[Network], None]:
    return lambda network: network.fetch(url)


_KEY = {"username": "AKIDEXAMPLE", "password": SecretStr("secret"), "region": "us-east-1"}
SCENES: dict[str, Callable[[Network], None]] = {
    "turns": _twice("http://turns.example/one.json"),
    "turns-6": _twice("http://turns-6.example/one.json"),
    "turns-between-shards": lambda network: network.lint("http://feed.example/index.json"),
    "files": _twice("ftp://files.example/one.json", "ftp"),
    "store": _twice("s3://bucket/one.json", "s3", endpoint_url="http://store.example", **_KEY),
    "redirect": _once("http://honest.example/to-mixed.json"),
    **{
        name: _once(f"http://{name}.example/one.json")
        for name in (
            "mixed", "mixed-6", "mapped", "nat64", "link", "chain", "chain-of-many", "nothing", "circle", "silent",
        )
    },
}  # fmt: skip


def main() -> None:
    reports = {}
    for name, scene in SCENES.items():
        with ExitStack() as stack:
            network = _network(stack)
            scene(network)
            reports[name] = network.report()
    json.dump(reports, sys.stdout)


def _network(stack: ExitStack) -> Network:
    public = [stack.enter_context(WebServer(_publish, host=host, port=80)) for host in (PUBLIC, PUBLIC_6)]
    files = stack.enter_context(ScriptedServer({}, data=b"[1]", host=PUBLIC, port=21))
    inside = [
        stack.enter_context(WebServer(_publish, host=host, port=port)) for host in (INSIDE, "::1") for port in (80, 21)
    ]
    return Network(stack.enter_context(DnsServer(NAMES)), [*public, files], inside)


def _publish(exchange: Exchange) -> None:
    """Each document over a connection of its own, so that each needs its name resolved."""
    exchange.hang_up()
    if exchange.path == "/to-mixed.json":
        exchange.reply(302, location="http://mixed.example/one.json", connection="close")
    elif exchange.path == "/index.json":
        index = {"@type": "ProductFeedIndex", "orgid": ORGANIZATION, "totalShards": 1, "shards": [{"url": "one.json"}]}
        exchange.reply(200, encode(index), connection="close")
    else:
        exchange.reply(200, b"[1]", etag='"1"', connection="close")


if __name__ == "__main__":
    main()

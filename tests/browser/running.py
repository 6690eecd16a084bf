"""A node as it is run: `serve` and a worker as processes, brands that publish, and ingestions of them."""

import re
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app.core.config import Settings
from app.db.session import LiveDatabase
from app.ingestors.ingestion import STEPS
from app.services import keys
from tests.support.feeds import OTHER_ORGANIZATION, FeedFolder, encode, offer, organization_entry, product
from tests.support.nodes import Node
from tests.support.services import ROOT, Services, services
from tests.support.web import Exchange, Site, WebServer

SHARD = 10  # lamps


@dataclass
class Gate:
    """A brand's site that keeps a file back for as long as it is told to."""

    site: Site
    _held: str = ""
    _open: threading.Event = field(default_factory=threading.Event)

    def __call__(self, exchange: Exchange) -> None:
        if self._held and exchange.path.endswith(self._held):
            self._open.wait(60)
        self.site(exchange)

    @contextmanager
    def holding(self, file: str) -> Iterator[None]:
        self._held = file
        self._open.clear()
        try:
            yield
        finally:
            self._held = ""
            self._open.set()


@dataclass
class LiveNode:
    """Serves what two sample brands, a brand of lamps on the web, and one that makes mistakes have published."""

    url: str
    node: Node
    processes: Services
    lamps: FeedFolder
    gate: Gate

    def key(self, scope: keys.Scope = "admin") -> str:
        with self.node.database.transaction() as connection:
            key, _ = keys.create(connection, scope)
        return key

    def publish_lamps(self, first: int = 0, last: int = 3 * SHARD) -> None:
        """In shards `a.json`, `b.json`, …"""
        numbers = range(first, last)
        shards = [numbers[at : at + SHARD] for at in range(0, len(numbers), SHARD)]
        self.lamps.publish(*([lamp(number) for number in shard] for shard in shards))
        self.lamps.registry.write_bytes(encode(organization_entry(name="Northlight")))

    def ingest(self, name: str) -> str:
        """How the ingestion of a brand ended; in this process."""
        return self.node.run(name, steps=STEPS)["status"]


def lamp(number: int) -> dict[str, Any]:
    made = product(
        number, name=f"Northlight lamp No. {number}", description="A lamp of oak and linen", sku=f"NL-{number}"
    )
    return made | {"offers": offer(price=40 + number)}


@contextmanager
def live_node(database_url: str, folder: Path) -> Iterator[LiveNode]:
    """One of the database, which is filled by ingesting; its worker is started by who needs it."""
    lamps = FeedFolder(folder / "lamps")
    _publish_mistakes(FeedFolder(folder / "clay", OTHER_ORGANIZATION))
    shutil.copytree(ROOT / "samples", folder / "samples")
    gate = Gate(Site(lamps.path))
    private = {"ALLOWED_PRIVATE_HOSTS": "127.0.0.1", "DATABASE_URL": database_url, "DATA_DIR": str(folder / "data")}
    with WebServer(gate) as site, services(folder, API_RATE_LIMIT="0", **private) as processes:
        entries = _entries(site.url)
        (folder / "ingestion.yaml").write_bytes(encode({"ingestion": entries}))  # JSON is YAML
        settings = Settings(
            _env_file=None, database_url=database_url, data_dir=folder / "data", log_level="error",
            allowed_private_hosts="127.0.0.1",
        )  # fmt: skip
        node = Node(LiveDatabase(database_url), settings, folder, entries)
        for name in ("acme-corp", "another-brand", "clay"):
            node.run(name, steps=STEPS)
        yield LiveNode(_serve(processes), node, processes, lamps, gate)
        node.database.engine.dispose()


def _serve(processes: Services) -> str:
    serving = processes.start("discovery-node", "serve", "--port", "0", "--workers", "1")
    serving.says("Ctrl-C")
    found = re.search(r"http://[\d.:]+", serving.said())
    assert found
    return found[0]


def _entries(site: str) -> list[dict[str, Any]]:
    samples = "samples/acme-solutions"
    return [
        {"name": "acme-corp", "source_type": "local", "registry": f"{samples}/brand-registory.json",
         "feed_path": f"{samples}/feed/feed.json", "schedule": "0 */4 * * *"},
        {"name": "another-brand", "source_type": "local", "registry": "samples/another-brand/registry.json",
         "feed_path": "samples/another-brand/feed.json", "schedule": "30 */6 * * *"},
        {"name": "northlight", "source_type": "remote", "registry": f"{site}/registry.json"},
        {"name": "clay", "source_type": "local", "registry": "clay/registry.json"},
    ]  # fmt: skip


def _publish_mistakes(folder: FeedFolder) -> None:
    shop = "https://juniper-clay.example"
    wares = [
        product(number, OTHER_ORGANIZATION, name=name, description="Thrown and glazed by hand", sku=f"JC-{number}",
                category="Kitchen > Tableware", brand={"@type": "Brand", "name": "Juniper & Clay"},
                url=f"{shop}/{number}", image=f"{shop}/{number}.jpg")
        for number, name in enumerate(("Stoneware bowl", "Serving plate", "Espresso cup", "Salt pig"), 1)
    ]  # fmt: skip
    wares[1]["offers"] = [offer(), offer(price="twelve euros")]
    wares[2].pop("name")
    wares[3]["url"] = "shop/salt-pig"
    folder.publish(wares)
    folder.registry.write_bytes(encode(organization_entry(OTHER_ORGANIZATION, name="Juniper & Clay")))

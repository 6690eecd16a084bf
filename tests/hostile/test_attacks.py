"""Whatever a brand does, the node goes nowhere it should not, loses nothing, and says what happened in bounded time."""

import re
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from app.core.config import Settings
from app.db.session import LiveDatabase
from app.ingestors.sources import tries
from tests.hostile.brand import Attack, Brand
from tests.hostile.ftp import FtpBrand
from tests.hostile.stored import ATTACKS
from tests.support.feeds import OTHER_ORGANIZATION, FeedFolder, product
from tests.support.nodes import Node
from tests.support.web import Exchange, WebServer

HURRY = {"connect_timeout": 0.5, "first_byte_timeout": 0.4, "stall_timeout": 0.4, "max_transfer_seconds": 1.2}
PATIENCE = dict.fromkeys(HURRY, 20.0)  # where nothing is about time: how long it takes depends on the machine, too
ABOUT_TIME = re.compile("did not answer|sent nothing|took longer|broke off")
LIMITS = {
    "fetch_retries": 0, "max_document_bytes": 2_000_000, "max_unpack_ratio": 500, "max_unpacked_bytes": 70 * 1024**2,
    "max_shards_per_feed": 50, "max_items_per_shard": 2000, "max_item_bytes": 500_000, "max_nesting": 50,
}  # fmt: skip
MEMORY = 60 * 1024**2  # what an attack may take at most, besides what the node takes anyway
GREEDY = [
    name for name in ATTACKS if re.search("bomb|endless|length-huge|members|noise|nested|gzip-in-gzip|entities", name)
]
WITHOUT_FEED = ("feed-at", "registry", "ftp-greeting", "ftp-tls")  # nothing of the feed is known that could have issues


@dataclass
class Field:
    """A node that has read the honest brand, and a bystander's feed; traps on two addresses; and the brand."""

    node: Node
    brand: Brand
    traps: tuple[WebServer, WebServer]
    bystander: dict[str, Any] = field(default_factory=dict)
    ftp: FtpBrand = field(default_factory=lambda: FtpBrand({}))

    @contextmanager
    def facing(self, attack: Attack) -> Iterator[None]:
        """With the servers of an attack, which the node may visit; those of the web are there anyway."""
        self.ftp = FtpBrand(attack.commands, self.traps[1].port)
        with self.ftp.running():
            opened = f"127.0.0.1:{self.brand.server.port},127.0.0.1:{self.ftp.port}"
            self.node.settings = self.node.settings.model_copy(update={"allowed_private_hosts": opened})
            yield

    def ingest(self, attack: Attack) -> dict[str, Any]:
        """The report of the brand's run. An attack that takes its time is given little."""
        is_slow = self.brand.is_hostile and ABOUT_TIME.search(attack.told)
        self.node.settings = self.node.settings.model_copy(update=HURRY if is_slow else PATIENCE)
        self.node.configure({"name": "acme", "source_type": attack.source} | self._entry(attack))
        (report,) = self.node.start("acme")["runs"]
        return dict(report)

    def be_honest(self, attack: Attack) -> dict[str, Any]:
        self.brand.is_hostile = self.ftp.is_hostile = False
        assert self.ingest(attack)["status"] == "success"
        self.brand.is_hostile = self.ftp.is_hostile = True
        return catalogue(self.node)

    def _entry(self, attack: Attack) -> dict[str, Any]:
        url = self.brand.server.url
        if attack.source == "ftp":
            scheme = "ftps" if attack.is_secure and self.ftp.is_hostile else "ftp"
            return {"registry": f"{scheme}://127.0.0.1:{self.ftp.port}/registry.json"}
        if attack.source == "s3":
            key = {"endpoint_url": url, "region": "us-east-1", "username": "AKIDEXAMPLE", "password": "secret"}
            return {"registry": f"s3://{attack.name}/registry.json"} | key
        return {"registry": f"{url}/{attack.name}/registry.json"}


def catalogue(node: Node) -> dict[str, Any]:
    """What readers see of the brand."""
    return {name: rows for name, rows in node.snapshot().items() if name in {"products", "offers", "groups"}}


@pytest.fixture(scope="module")
def scene(shared_database: LiveDatabase, shared_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Field]:
    root = tmp_path_factory.mktemp("hostile")
    with ExitStack() as stack:
        traps = tuple(stack.enter_context(WebServer(_trapped, host=host)) for host in ("127.0.0.1", "127.0.0.2"))
        brand = stack.enter_context(Brand(ATTACKS, traps[0].port).running())
        settings = Settings(_env_file=None, database_url=shared_url, data_dir=root, log_level="error", **LIMITS)
        node = Node(shared_database, settings, root, [])
        node.empty()
        yield Field(node, brand, traps, _bystander(node, root))


def _trapped(exchange: Exchange) -> None:
    exchange.reply(200, b"[]")


def _bystander(node: Node, root: Path) -> dict[str, Any]:
    other = FeedFolder(root / "other", OTHER_ORGANIZATION)
    other.publish([product(number, OTHER_ORGANIZATION) for number in range(40)])
    node.configure({"name": "other", "registry": "other/registry.json"})
    assert node.run()["status"] == "success"
    return node.snapshot(OTHER_ORGANIZATION)


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tries, "_BACKOFF", 0.01)


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_an_attack_gets_nowhere(scene: Field, attack: Attack) -> None:
    with scene.facing(attack):
        before = scene.be_honest(attack)
        began = time.monotonic()
        report = scene.ingest(attack)
        assert time.monotonic() - began < attack.seconds
        assert report["status"] == attack.status, report["error"]
        assert re.search(attack.told, report["error"] or "")
        assert [trap.connections for trap in scene.traps] == [0, 0]
        assert scene.node.snapshot(OTHER_ORGANIZATION) == scene.bystander
        if attack.status == "failed" and not attack.name.startswith(WITHOUT_FEED):
            assert any(re.search(attack.told, issue["message"]) for issue in scene.node.issues(attempted=True))
        if not attack.is_applied:
            assert catalogue(scene.node) == before
        assert scene.be_honest(attack) == before


@pytest.mark.parametrize("name", GREEDY)
def test_an_attack_takes_little_memory(scene: Field, name: str) -> None:
    with scene.facing(ATTACKS[name]):
        scene.be_honest(ATTACKS[name])
        with Watched() as memory:
            scene.ingest(ATTACKS[name])
    assert memory.growth < MEMORY


def test_nobody_is_logged_in_without_the_tls_that_was_asked_for(scene: Field) -> None:
    for attack in ATTACKS.values():
        if attack.is_secure:
            with scene.facing(attack):
                scene.ingest(attack)
            assert set(scene.ftp.asked) == {"AUTH"}


class Watched:
    """How much more anonymous memory this process takes meanwhile."""

    def __enter__(self) -> "Watched":
        self._start = self._most = _anonymous()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    @property
    def growth(self) -> int:
        return self._most - self._start

    def _watch(self) -> None:
        while not self._over.wait(0.01):
            self._most = max(self._most, _anonymous())


def _anonymous() -> int:
    text = Path("/proc/self/smaps_rollup").read_text()
    return int(re.search(r"Anonymous:\s+(\d+)", text)[1]) * 1024

"""What the manager promises beside ingesting: what is configured, whether a feed changed, single steps by path."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from app.core import unforeseen
from app.ingestors.manager import IngestorManager
from app.ingestors.sources.local import LocalSource
from tests.support.embedders import forget_generations
from tests.support.feeds import FeedFolder, product
from tests.support.nodes import Node


@pytest.fixture
def manager(node: Node, folder: FeedFolder) -> Iterator[IngestorManager]:
    """Of a node whose ingestor names its feed."""
    node.configure({"name": "acme", "registry": "publisher/registry.json", "feed_path": "publisher/feed/index.json"})
    folder.publish([product(1), product(2)], [product(3)])
    yield node.manager
    forget_generations(node.database)


def test_ingestors_are_those_of_the_file(manager: IngestorManager) -> None:
    (entry,) = manager.get_ingestors()
    assert entry == {
        "name": "acme",
        "source_type": "local",
        "registry": "publisher/registry.json",
        "feed_path": "publisher/feed/index.json",
        "schedule": None,
    }


def test_a_feed_has_updates_until_it_is_ingested_and_when_it_changes(
    manager: IngestorManager, folder: FeedFolder, node: Node
) -> None:
    def changed() -> bool:
        return manager.has_feed_updates("local", "publisher/feed/index.json")

    assert changed()
    node.run()
    assert not changed()
    folder.publish([product(1), product(2)], [product(3, name="Another")])
    assert changed()
    node.run()
    folder.publish([product(1), product(2)])
    assert changed()


@pytest.mark.parametrize("broken", [b"{", b'{"itemListElement": 5}'])
def test_a_bad_publication_that_was_tried_is_no_update(
    manager: IngestorManager, folder: FeedFolder, node: Node, broken: bytes
) -> None:
    node.run()
    folder.publish([product(1), product(2)], broken)
    assert manager.has_feed_updates("local", "publisher/feed/index.json")
    assert node.start()["status"] == "failed"
    assert not manager.has_feed_updates("local", "publisher/feed/index.json")
    folder.publish([product(1), product(2)], [product(3)])
    assert not manager.has_feed_updates("local", "publisher/feed/index.json")


def test_a_feed_whose_check_breaks_hides_no_other(
    manager: IngestorManager, folder: FeedFolder, node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when nobody foresaw what breaks it."""
    other = "urn:cmp:org:other.example"
    other_folder = FeedFolder(node.root / "other", other)
    other_folder.publish([product(1, other)])
    mine = {"name": "acme", "registry": "publisher/registry.json", "feed_path": "publisher/feed/index.json"}
    node.configure(mine, {"name": "other", "registry": "other/registry.json", "feed_path": "other/feed/index.json"})
    node.start()
    other_folder.publish([product(2, other)])
    open_file = LocalSource.open

    def open_other(source: LocalSource, path: str) -> Any:
        if "publisher/feed" in path:
            raise RuntimeError("out of order")
        return open_file(source, path)

    monkeypatch.setattr(LocalSource, "open", open_other)
    heard: list[BaseException] = []
    monkeypatch.setattr(unforeseen, "_listeners", [heard.append])
    mine_check, other_check = node.manager.check_feed_updates()
    assert mine_check.errors == {"publisher/feed/index.json": "RuntimeError: out of order"}
    assert other_check.changed == [other]
    assert [str(error) for error in heard] == ["out of order"]


def test_steps_are_taken_one_by_one(manager: IngestorManager, node: Node) -> None:
    registry = manager.ingest_registry("local", "publisher/registry.json")
    assert registry["status"] == "success"
    assert registry["runs"][0]["registry"]["organizations"]["inserted"] == 1
    assert registry["runs"][0]["feed"] == {}
    feed = manager.ingest_feed("local", "publisher/feed/index.json")
    assert feed["runs"][0]["feed"]["products"]["inserted"] == 3
    assert feed["runs"][0]["vector"] == {}
    vector = manager.ingest_vector("local", "publisher/registry.json")
    assert vector["runs"][0]["vector"] == {"pending": 3, "indexed": 3, "deleted": 0, "failed": 0, "refused": 0}


def test_vectors_of_a_feed_without_a_registry_are_brought_in_step(node: Node, folder: FeedFolder) -> None:
    node.configure({"name": "acme", "feed_path": "publisher/feed/index.json"})
    folder.publish([product(1), product(2)])
    node.run()
    assert node.run(steps=("vector",), dry_run=True)["vector"]["pending"] == 2


def settle(folder: FeedFolder) -> None:
    """As if the files had been published a while ago."""
    for file in (folder.registry, *folder.index.parent.iterdir()):
        os.utime(file, (1_000_000_000, 1_000_000_000))


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that are read, by name."""
    names: list[str] = []
    open_file = LocalSource.open
    monkeypatch.setattr(LocalSource, "open", lambda self, path: names.append(Path(path).name) or open_file(self, path))
    return names


def test_what_the_source_says_of_versions_spares_reading(
    manager: IngestorManager, folder: FeedFolder, node: Node, opened: list[str]
) -> None:
    settle(folder)
    node.run()
    opened.clear()
    assert not manager.has_feed_updates("local", "publisher/feed/index.json")
    assert opened == []
    os.utime(folder.shard("a.json"), (1_000_000_001, 1_000_000_001))
    assert not manager.has_feed_updates("local", "publisher/feed/index.json")
    assert opened == ["index.json", "a.json", "b.json"]  # another time, and the same bytes
    opened.clear()
    assert not manager.has_feed_updates("local", "publisher/feed/index.json")
    assert opened == []


def test_a_file_that_was_just_written_has_no_version(
    manager: IngestorManager, folder: FeedFolder, node: Node, opened: list[str]
) -> None:
    node.run()
    opened.clear()
    assert not manager.has_feed_updates("local", "publisher/feed/index.json")
    assert opened == ["index.json", "a.json", "b.json"]


def test_a_feed_that_is_read_in_another_way_has_updates(
    manager: IngestorManager, folder: FeedFolder, node: Node
) -> None:
    settle(folder)
    node.run()
    with node.database.transaction() as connection:
        connection.execute(text("UPDATE organizations SET content_hash = 'another'"))
    assert manager.has_feed_updates("local", "publisher/feed/index.json")


def test_checks_of_many_feeds_hide_nothing(node: Node, folder: FeedFolder) -> None:
    others = [f"urn:cmp:org:other{n}.example" for n in range(20)]
    for number, organization in enumerate(others):
        FeedFolder(node.root / f"other{number}", organization).publish([product(1, organization)])
    entries = [{"name": f"other{n}", "registry": f"other{n}/registry.json"} for n in range(20)]
    node.configure(*entries)
    assert [check.is_new for check in node.manager.check_feed_updates()] == [True] * 20
    node.start()
    (node.root / "other3" / "feed" / "index.json").unlink()
    (node.root / "other4" / "feed" / "a.json").unlink()
    (node.root / "other5" / "feed" / "a.json").write_bytes(b"[]")
    checks = node.manager.check_feed_updates()
    assert not any(check.is_new for check in checks)
    assert sum(check.checked for check in checks) == 20
    assert {check.entry.name: check.changed for check in checks if check.changed} == {
        "other4": [others[4]],
        "other5": [others[5]],
    }
    assert [check.entry.name for check in checks if check.errors] == ["other3"]

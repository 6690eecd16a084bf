"""What the manager promises beside ingesting: what is configured, whether a feed changed, single steps by path."""

from collections.abc import Iterator
from typing import Any

import pytest

from app.core.config import Settings
from app.core.errors import ConfigurationError
from app.ingestors.ingestion import Options
from app.ingestors.manager import IngestorManager
from tests.support.embedders import forget_generations
from tests.support.feeds import FeedFolder, product
from tests.support.nodes import Node, config


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


def test_steps_are_taken_one_by_one(manager: IngestorManager, node: Node) -> None:
    registry = manager.ingest_registry("local", "publisher/registry.json")
    assert registry["status"] == "success"
    assert registry["runs"][0]["registry"]["organizations"]["inserted"] == 1
    assert registry["runs"][0]["feed"] == {}
    feed = manager.ingest_feed("local", "publisher/feed/index.json")
    assert feed["runs"][0]["feed"]["products"]["inserted"] == 3
    assert feed["runs"][0]["vector"] == {}
    vector = manager.ingest_vector("local", "publisher/registry.json")
    assert vector["runs"][0]["vector"] == {"pending": 3, "indexed": 3, "deleted": 0, "failed": 0}


def test_an_index_there_is_not_is_refused_before_anything_is_done(node: Node, folder: FeedFolder) -> None:
    pinecone: dict[str, Any] = {
        "pinecone_api_key": "key", "pinecone_dense_index": "dense", "pinecone_sparse_index": "sparse",
    }  # fmt: skip
    folder.publish([product(1)])
    entries = [{"name": "acme", "registry": "publisher/registry.json"}]
    settings = Settings(_env_file=None, **pinecone)
    manager = IngestorManager(settings, database=node.database, config=config(entries, node.root))
    with pytest.raises(ConfigurationError, match="VECTOR_PROVIDER=pinecone is not supported"):
        manager.ingest()
    assert node.value("SELECT count(*) FROM runs") == 0
    assert manager.ingest(options=Options(steps=("registry", "feed")))["status"] == "success"


def test_vectors_of_a_feed_without_a_registry_are_brought_in_step(node: Node, folder: FeedFolder) -> None:
    node.configure({"name": "acme", "feed_path": "publisher/feed/index.json"})
    folder.publish([product(1), product(2)])
    node.run()
    assert node.run(steps=("vector",), dry_run=True)["vector"]["pending"] == 2

"""The search index follows the catalogue: what changed is embedded, once, and nothing else."""

import threading
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
import structlog
from pydantic import SecretStr
from sqlalchemy import text

from app.core.config import Settings
from app.db.session import LiveDatabase
from app.ingestors.handlers.vector import VectorHandler
from app.services import generations, issues, metrics, vectors
from app.services.generations import live_generation
from app.services.issues import IssueFilter
from app.services.search import search
from app.services.vectors import VectorReport
from app.vectors.embedders import Embedded
from app.vectors.indexes import pgvector
from app.vectors.indexes.base import Block, Entry
from tests.integration.test_mcp import call
from tests.support.api import api
from tests.support.embedders import DIMENSIONS, HashEmbedder, by_cpu, factory, forget_generations
from tests.support.embedding_service import EmbeddingService, settings_for, status
from tests.support.feeds import OTHER_ORGANIZATION, FeedFolder, offer, product
from tests.support.nodes import Node
from tests.support.web import WebServer


@pytest.fixture
def database(node: Node) -> Iterator[LiveDatabase]:
    """The node's, without vectors."""
    forget_generations(node.database)
    yield node.database
    forget_generations(node.database)


@pytest.fixture
def settings(node: Node) -> Settings:
    return node.settings


@pytest.fixture
def embedder() -> HashEmbedder:
    return HashEmbedder()


@pytest.fixture
def step(database, settings, embedder) -> VectorHandler:
    return VectorHandler(database, settings, create=factory(embedder))


@pytest.fixture
def publish(node: Node, folder: FeedFolder):
    """Publishes products and ingests them, without the vector step."""

    def publish(*items) -> None:
        folder.publish(list(items))
        assert node.run(accept_deletions=True)["status"] == "success"

    return publish


def indexed(node: Node) -> dict[str, str]:
    """SKUs in the live generation's table, with the words of their names."""
    with node.database.transaction() as connection:
        generation = live_generation(connection)
        rows = connection.execute(
            text(f"SELECT p.sku, v.tsv FROM {generation.index.table} v JOIN products p ON p.id = v.product_id")
        )
        return {row.sku: row.tsv for row in rows}


def tables(node: Node) -> list[str]:
    found = node.rows(r"SELECT tablename FROM pg_tables WHERE tablename LIKE 'vectors\_%' ORDER BY 1")
    return [row["tablename"] for row in found]


def test_what_is_pending_is_embedded_once(node, publish, step, embedder):
    publish(*(product(key) for key in range(5)))

    assert step.run() == VectorReport(pending=5, indexed=5)
    assert sorted(embedder.texts) == [f"Lamp {key}\nAcme\nA lamp, number {key}" for key in range(5)]
    assert sorted(indexed(node)) == [f"SKU-{key}" for key in range(5)]

    assert step.run() == VectorReport()
    assert len(embedder.calls) == 1


def test_a_new_text_is_embedded_and_a_new_price_is_not(node, publish, step, embedder):
    publish(product(1), product(2), product(3))
    step.run()
    embedder.calls.clear()

    publish(product(1, name="Chandelier"), product(2, offers=offer(price=99)), product(3, category="Home > Home"))

    assert step.run() == VectorReport(pending=2, indexed=2)
    assert embedder.texts == ["Chandelier\nAcme\nA lamp, number 1"]
    assert "chandeli" in indexed(node)["SKU-1"]
    assert "home" in indexed(node)["SKU-3"]


def test_rows_of_deleted_products_go_and_come_back_with_them(node, publish, step):
    publish(product(1), product(2))
    step.run()

    publish(product(1))
    assert step.run() == VectorReport(deleted=1)
    assert list(indexed(node)) == ["SKU-1"]

    publish(product(1), product(2))
    assert step.run() == VectorReport(pending=1, indexed=1)
    assert sorted(indexed(node)) == ["SKU-1", "SKU-2"]


def test_rows_of_products_that_are_gone_for_good_go_too(node, publish, step):
    publish(product(1), product(2))
    step.run()

    with node.database.transaction() as connection:
        connection.exec_driver_sql("DELETE FROM products")

    assert step.run() == VectorReport(deleted=2)


def test_only_the_given_organizations_are_looked_at(node, publish, step):
    publish(product(1))
    own = node.value("SELECT id FROM organizations")

    assert step.run([own + 1]) == VectorReport()
    assert step.run([own]) == VectorReport(pending=1, indexed=1)


def test_equal_texts_of_a_batch_are_embedded_once(node, publish, step, embedder):
    publish(*(product(key, name="Lamp", description="A lamp") for key in range(4)), product(9))

    assert step.run() == VectorReport(pending=5, indexed=5)
    assert len(embedder.texts) == 2
    assert node.value(f"SELECT count(DISTINCT embedding) FROM {tables(node)[0]}") == 2


def test_a_step_that_was_killed_loses_one_batch(node, publish, database, settings, monkeypatch):
    monkeypatch.setattr(vectors, "BATCH", 4)
    publish(*(product(key) for key in range(10)))

    class Dying(HashEmbedder):
        def embed(self, texts: Sequence[str]):
            if len(self.calls) == 2:
                raise KeyboardInterrupt
            return super().embed(texts)

    with pytest.raises(KeyboardInterrupt):
        VectorHandler(database, settings, create=factory(Dying())).run()
    assert len(indexed(node)) == 8

    survivor = HashEmbedder()
    assert VectorHandler(database, settings, create=factory(survivor)).run() == VectorReport(pending=2, indexed=2)
    assert len(survivor.texts) == 2


def test_progress_is_told_before_and_after_each_batch(node, publish, database, settings, embedder, monkeypatch):
    monkeypatch.setattr(vectors, "BATCH", 4)
    publish(*(product(key) for key in range(10)))
    told = []

    class Watching:
        def staging(self, done: int, total: int) -> None: ...

        def embedding(self, done: int, total: int) -> None:
            told.append((done, total))

    VectorHandler(database, settings, Watching(), create=factory(embedder)).run()

    assert told == [(0, 10), (4, 10), (8, 10), (10, 10)]


def test_a_text_that_changes_while_it_is_embedded_stays_pending(node, publish, database, settings):
    publish(product(1), product(2))

    class Overtaken(HashEmbedder):
        def embed(self, texts: Sequence[str]):
            if not self.calls:
                publish(product(1, name="Chandelier"), product(2))
            return super().embed(texts)

    step = VectorHandler(database, settings, create=factory(Overtaken()))

    assert step.run() == VectorReport(pending=2, indexed=1)
    assert step.run() == VectorReport(pending=1, indexed=1)
    assert "chandeli" in indexed(node)["SKU-1"]


class Refusing(HashEmbedder):
    """Refuses texts that begin so."""

    def __init__(self, beginning: str, **identity: str) -> None:
        super().__init__(**identity)
        self.beginning = beginning

    def embed(self, texts: Sequence[str]) -> Embedded:
        found = super().embed(texts)
        refused = {row: "HTTP 413, too long" for row, text in enumerate(texts) if text.startswith(self.beginning)}
        found.vectors[list(refused)] = np.nan
        return Embedded(found.vectors, refused)


def told(node: Node) -> list[tuple]:
    """The issues of refused texts, as they are listed."""
    with node.database.transaction() as connection:
        found = issues.listed(connection, IssueFilter(code="text-refused"))
        assert issues.counts(connection, node.value("SELECT id FROM organizations"))["error"] == len(found)
    return [(row["ingestor"], row["shard"].rpartition("/")[2], row["position"], row["message"]) for row in found]


def test_a_text_that_is_refused_is_an_issue_of_its_product_alone(node, publish, database, settings):
    publish(product(1), product(2))
    embedder = Refusing("Lamp 2")
    step = VectorHandler(database, settings, create=factory(embedder))

    assert step.run() == VectorReport(pending=2, indexed=1, failed=1)
    assert list(indexed(node)) == ["SKU-1"]
    assert told(node) == [("acme", "a.json", 2, f"{product(2)['@id']}: HTTP 413, too long")]

    assert step.run() == VectorReport(refused=1)
    assert len(embedder.texts) == 2
    dry = VectorHandler(database, settings, dry_run=True, create=factory(embedder))
    assert dry.run() == VectorReport(refused=1)
    with database.transaction() as connection:
        assert metrics.pending(connection) == metrics.Pending(0, 0.0)


def test_a_refused_text_is_tried_again_when_it_changed(node, publish, database, settings):
    step = VectorHandler(database, settings, create=factory(Refusing("Lamp")))
    publish(product(1), product(2))
    assert step.run() == VectorReport(pending=2, failed=2)

    publish(product(1, name="Chandelier"), product(2, offers=offer(price=5)))
    assert step.run() == VectorReport(pending=1, indexed=1, refused=1)
    assert len(told(node)) == 1
    publish(product(1, name="Chandelier"))
    assert told(node) == []
    assert step.run() == VectorReport()
    assert node.value("SELECT count(*) FROM refused_texts") == 0


def test_what_was_indexed_serves_until_there_is_a_new_vector(node, publish, database, settings):
    publish(product(1))
    VectorHandler(database, settings, create=factory(HashEmbedder())).run()

    publish(product(1, name="Chandelier"))
    report = VectorHandler(database, settings, create=factory(Refusing("Chandelier"))).run()

    assert report == VectorReport(pending=1, failed=1)
    assert "lamp" in indexed(node)["SKU-1"]
    with database.transaction() as connection:
        assert [hit.name for hit in search(connection, HashEmbedder(), "lamp")] == ["Chandelier"]


def test_refused_texts_are_tried_again_on_demand(node, publish, database, settings):
    publish(product(1), product(2))
    embedder = Refusing("Lamp 2")
    VectorHandler(database, settings, create=factory(embedder)).run()

    embedder.beginning = "nothing"
    step = VectorHandler(database, settings, retry_refused=True, create=factory(embedder))
    assert step.run() == VectorReport(pending=1, indexed=1)
    assert told(node) == []


@pytest.mark.parametrize("code", [503, 400])
def test_a_service_that_is_away_leaves_products_pending_and_what_is_found_as_it_is(
    node, publish, database, settings, code
):
    service = EmbeddingService()
    with WebServer(service) as server:
        asking = settings_for(server, database_url=settings.database_url, embedding_batch_size=2, fetch_retries=0)
        node.settings = asking
        node.configure({"name": "acme", "registry": "publisher/registry.json"})
        publish(product(1), product(2), product(3))
        report = node.run(steps=["vector"])
        assert (report["status"], report["vector"]["indexed"]) == ("success", 3)

        publish(product(1, name="Chandelier"), product(2), product(3))
        service.always, service.on_probe = status(code), True
        report = node.run(steps=["vector"])
        assert report["status"] == "failed"
        assert f"HTTP {code}" in report["error"]
        assert "lamp" in indexed(node)["SKU-1"]
        assert told(node) == []

        service.always = None
        assert node.run(steps=["vector"])["vector"]["indexed"] == 1
        assert "chandeli" in indexed(node)["SKU-1"]


def found_by_words(node: Node, query: str) -> list[str]:
    """What a search finds that says it goes by words alone."""
    with node.database.transaction() as connection, structlog.testing.capture_logs() as logged:
        hits = search(connection, generations.query_embedder(connection, node.settings), query)
    assert [event["event"] for event in logged if "words alone" in event["event"]]
    return [hit.name for hit in hits]


def test_search_goes_by_words_where_a_service_gives_no_vector(node, publish, database, settings):
    service = EmbeddingService()
    with WebServer(service) as server:
        node.settings = settings_for(server, database_url=settings.database_url, fetch_retries=0)
        node.configure({"name": "acme", "registry": "publisher/registry.json"})
        publish(product(1), product(2, name="Chandelier"), product(3, name="Chandelier, a small lamp"))
        node.run(steps=["vector"])
        assert len(node.found("a chandelier")) == 3

        service.refused = "chandelier"
        assert found_by_words(node, "chandelier") == ["Chandelier", "Chandelier, a small lamp"]
        service.refused = None
        assert len(node.found("chandelier")) == 3
        service.always = status(503)
        assert found_by_words(node, "small chandelier") == ["Chandelier, a small lamp", "Chandelier"]

        node.settings = node.settings.model_copy(update={"embedding_api_key": SecretStr("another")})
        assert found_by_words(node, "chandelier") == ["Chandelier", "Chandelier, a small lamp"]
        service.always, service.on_probe = status(503), True
        node.settings = node.settings.model_copy(update={"contact": "another process"})
        assert found_by_words(node, "chandelier") == ["Chandelier", "Chandelier, a small lamp"]
        assert found_by_words(node, "-lamp") == []


def test_a_service_that_hangs_is_waited_for_once_and_the_answers_say_so(node, publish, database, settings):
    service, released = EmbeddingService(), threading.Event()
    with WebServer(service) as server:
        node.settings = settings_for(server, database_url=settings.database_url)
        node.configure({"name": "acme", "registry": "publisher/registry.json"})
        publish(product(1), product(2, name="Chandelier"))
        node.run(steps=["vector"])
        with api(node.database, node.settings) as served:
            answer = served.get("/products?q=a+chandelier").json()
            assert (len(answer["products"]), "degraded" in answer) == (2, False)

        service.always, service.on_probe = lambda *_: released.wait(60), True
        asked = len(service.asked)
        with api(node.database, node.settings, contact="another process", query_embedding_timeout=0.3) as served:
            for _ in range(3):
                answer = served.get("/products?q=chandelier").json()
                assert [each["name"] for each in answer["products"]] == ["Chandelier"]
                assert answer["degraded"] is True
            assert "Part of the search is away" in served.get("/products?q=lamp", headers={"Accept": "text/html"}).text
            told = call(served, "search_products", query="chandelier")
            assert told.structured_content["degraded"] is True
            assert "words and identifiers alone" in told.content[0].text
        assert len(service.asked) == asked + 1
        released.set()


def test_a_text_that_a_service_refuses_is_told_with_its_reason(node, publish, database, settings):
    service = EmbeddingService(refused="Lamp 2")
    with WebServer(service) as server:
        node.settings = settings_for(server, database_url=settings.database_url)
        node.configure({"name": "acme", "registry": "publisher/registry.json"})
        publish(*(product(key) for key in range(5)))

        report = node.run(steps=["vector"])
        assert (report["status"], report["vector"]["indexed"], report["issues"]["error"]) == ("degraded", 4, 1)
        assert "--code text-refused" in report["error"]
        [(_, shard, position, message)] = told(node)
        assert (shard, position) == ("a.json", 3)
        assert "HTTP 422, the input is longer than this model's context" in message

        asked = len(service.asked)
        assert node.run(steps=["vector"])["status"] == "success"
        assert len(service.asked) == asked
        service.refused = None
        assert node.run(steps=["vector"], full=True)["vector"]["indexed"] == 1
        assert told(node) == []


def test_a_dry_run_counts_and_writes_nothing(node, publish, database, settings, step, embedder):
    dry = VectorHandler(database, settings, dry_run=True, create=factory(embedder))
    publish(product(1), product(2))

    assert dry.run() == VectorReport(pending=2)
    assert tables(node) == []

    step.run()
    publish(product(1, name="Chandelier"))
    assert dry.run() == VectorReport(pending=1, deleted=1)
    assert sorted(indexed(node)) == ["SKU-1", "SKU-2"]


def test_an_equal_text_is_embedded_once_whoever_sells_it(node, database, settings, embedder):
    folders = [FeedFolder(node.root / "a"), FeedFolder(node.root / "b", OTHER_ORGANIZATION)]
    for folder in folders:
        folder.publish([product(key, folder.organization, name="Lamp", description=f"A {key}") for key in range(3)])
    node.configure(*({"name": f.path.name, "registry": f"{f.path.name}/registry.json"} for f in folders))
    node.start()

    assert VectorHandler(database, settings, create=factory(embedder)).run() == VectorReport(pending=6, indexed=6)
    assert len(embedder.texts) == 3
    assert node.value(f"SELECT count(DISTINCT embedding) FROM {tables(node)[0]}") == 3


def test_a_text_whose_twin_is_gone_meanwhile_is_embedded_next_time(node, publish, step, embedder, database):
    publish(product(1, name="Lamp", description="A lamp"))
    step.run()
    publish(product(1, name="Lamp", description="A lamp"), product(2, name="Lamp", description="A lamp"))
    with database.transaction() as connection:
        index = live_generation(connection).index
        (outdated,) = index.outdated(connection, None)
        (pending,) = index.pending(connection, Block(outdated.organization_id, 0, 2**63 - 1), 10)
        connection.exec_driver_sql(f"DELETE FROM {index.table}")
        assert index.acknowledge(connection, [Entry(pending, None)]) == 0
    embedder.calls.clear()

    assert step.run() == VectorReport(pending=2, indexed=2)
    assert len(embedder.texts) == 1


def test_search_structures_come_with_size(node, publish, step, database):
    publish(*(product(key) for key in range(30)))
    step.run()
    with database.transaction() as connection:
        index = live_generation(connection).index

        assert not index.ensure_search_structures(connection, min_rows=31)
        assert not index.is_indexed(connection)
        assert index.ensure_search_structures(connection, min_rows=30)
        assert index.is_indexed(connection)
        assert not index.ensure_search_structures(connection, min_rows=30)
        assert index.count(connection) == 30
        known = connection.exec_driver_sql("SELECT reltuples FROM pg_class WHERE relname IN ('products', 'offers')")
        assert known.scalars().all() == [30, 30], (
            "what a search is planned by is not left to a later visit of autovacuum"
        )


def test_an_old_pgvector_is_refused_with_the_reason(database, monkeypatch):
    monkeypatch.setattr(pgvector, "_MIN_VERSION", (99, 0, 0))

    with pytest.raises(pgvector.PgVectorOutdatedError, match="CVE-2026-3172"):
        generations.open_generation(database, by_cpu("int8"))


def test_the_real_embedder_fills_an_index(node, publish, database, settings):
    publish(product(1, name="Steel bottle that keeps coffee hot"), product(2))

    assert VectorHandler(database, settings).run() == VectorReport(pending=2, indexed=2)
    assert node.value(f"SELECT vector_dims(embedding) FROM {tables(node)[0]} LIMIT 1") == 384 != DIMENSIONS

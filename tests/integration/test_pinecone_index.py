"""An index at Pinecone: killed in the midst of it, answers that are lost, filters that pass too much."""

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from app.api.routes import products
from app.cmp.text import search_text
from app.ingestors.handlers.vector import VectorHandler
from app.services import index_state, vectors
from app.services.generations import Recipe, configured, live_generation
from app.services.metrics import pending
from app.services.search import SearchHit, search
from app.vectors.embedders import Embedder
from app.vectors.indexes import pinecone_index
from app.vectors.indexes.base import Candidates, Condition, SearchFilters
from app.vectors.indexes.pinecone import PineconeRefusedError, PineconeUnavailableError
from tests.acceptance.conftest import ROOT
from tests.integration.test_mcp import call
from tests.integration.test_search import Shop
from tests.support import backends
from tests.support.api import api
from tests.support.backends import Backend
from tests.support.embedders import DIMENSIONS, direction, forget_generations
from tests.support.feeds import offer, product
from tests.support.nodes import Node
from tests.support.outages import database_away
from tests.support.pinecone import Fault, Lateness, PineconeServer
from tests.support.pinecone.opening import pinecone_settings
from tests.support.processes import until

BATCH = 8
_STEP = """
import sys
from app.core.config import Settings
from app.db.session import LiveDatabase
from app.cmp.text import search_text
from app.ingestors.handlers.vector import VectorHandler
from app.services import vectors
from app.vectors.embedders import Embedder
from app.vectors.indexes import pinecone_index
from tests.support.backends import pinecone_recipe
from tests.support.embedders import HashEmbedder
vectors.BATCH = int(sys.argv[3])
settings = Settings.model_validate_json(sys.argv[2], context=None)
pinecone_index.get_settings = lambda: settings
database = LiveDatabase(sys.argv[1])
VectorHandler(database, settings, create=pinecone_recipe(settings, HashEmbedder())).run()
"""


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> Iterator[Backend]:
    with backends.own_vectors(monkeypatch) as backend:
        yield backend


@pytest.fixture
def server(backend: Backend) -> PineconeServer:
    assert backend.server is not None
    return backend.server


@pytest.fixture
def shop(node: Node, backend: Backend) -> Iterator[Shop]:
    forget_generations(node.database)
    shop = Shop(node)
    shop.vectors = VectorHandler(node.database, node.settings, create=backend.recipe(shop.embedder))
    yield shop
    forget_generations(node.database)


def test_a_step_that_is_killed_loses_nothing_and_sends_one_batch_again(shop, node, server, monkeypatch):
    monkeypatch.setattr(vectors, "BATCH", BATCH)
    shop.publish([product(key) for key in range(5 * BATCH)], [], index=False)
    dense = server.indexes["dense"]
    url = node.database.engine.url.render_as_string(hide_password=False)
    server.faults.add(Fault("records/", times=2))
    server.faults.add(Fault("records/", delay=30))
    step = subprocess.Popen(
        [sys.executable, "-c", _STEP, url, pinecone_json(server), str(BATCH)], stderr=subprocess.PIPE
    )
    until(lambda: dense.counted.records >= 3 * BATCH, 60)
    step.kill()
    step.communicate()

    shop.vectors.run()

    assert len(shop.skus("lamp", limit=100)) == 5 * BATCH
    assert not index_state.compare(node.database)
    assert dense.counted.records == 6 * BATCH
    assert len(shop.embedder.texts) == 3 * BATCH + 1  # and the query


def pinecone_json(server: PineconeServer) -> str:
    return (
        f'{{"pinecone_api_key": "pcsk_example_of-a-key", "pinecone_dense_index": "dense", '
        f'"pinecone_sparse_index": "sparse", "pinecone_controller_host": "{server.url}", '
        f'"allowed_private_hosts": "127.0.0.1"}}'
    )


def test_an_answer_that_is_lost_embeds_nothing_twice(shop, node, server):
    shop.publish([product(key) for key in range(4)], [], index=False)
    before = counted(node)
    server.faults.add(Fault("upsert", lost=True, times=2))
    server.faults.add(Fault("upsert", status=429))

    shop.vectors.run()

    assert len(shop.embedder.texts) == 4
    assert not index_state.compare(node.database)
    told = {name: value - before.get(name, 0) for name, value in counted(node).items()}
    assert told["index_throttled"] >= 1
    assert told["index_records"] == 8


def counted(node: Node) -> dict[str, float]:
    rows = node.rows("SELECT name, sum(value) AS value FROM counters WHERE name LIKE 'index%' GROUP BY name")
    return {row["name"]: row["value"] for row in rows}


def test_what_it_refuses_stays_pending_and_is_told(shop, node, server):
    shop.publish([product(1)], [], index=False)
    server.faults.add(Fault("upsert", status=403, times=10))
    with pytest.raises(PineconeRefusedError):
        shop.vectors.run()
    with node.database.transaction() as connection:
        assert pending(connection).products == 1
    server.faults.clear()
    shop.vectors.run()
    with node.database.transaction() as connection:
        assert pending(connection).products == 0


def test_only_metadata_is_sent_when_only_that_is_new(shop, server):
    shop.publish([product(key, offers=offer(price=10)) for key in range(3)], [])
    dense, sparse = server.indexes["dense"].counted, server.indexes["sparse"].counted
    written = dense.records, sparse.records, sparse.embedded

    shop.publish([product(key, offers=offer(price=10 + key), image="https://a.example/b.png") for key in range(3)], [])

    assert (dense.records, sparse.records, sparse.embedded) == written
    assert dense.requests["/vectors/update"] == 2  # the third has another image, which is not filtered by
    assert sparse.requests["/vectors/update"] == 2


def test_attributes_are_words_of_the_sparse_index_and_sent_to_it_alone(shop, server):
    shop.publish([product(1, additionalProperty=[shade("turquoise")]), product(2)], [])
    dense, sparse = server.indexes["dense"].counted, server.indexes["sparse"].counted
    assert len(legs(shop, "turquoise").text) == 1
    written = dense.records, sparse.records

    shop.publish([product(1, additionalProperty=[shade("vermilion")]), product(2)], [])

    assert (dense.records, sparse.records) == (written[0], written[1] + 1)
    assert (len(legs(shop, "vermilion").text), len(legs(shop, "turquoise").text)) == (1, 0)
    assert len(shop.embedder.texts) == 2
    assert not index_state.compare(shop.node.database)


@pytest.mark.parametrize("lateness", [0, 3600])
def test_equal_texts_are_embedded_once_whoever_sells_them_and_whenever(shop, server, monkeypatch, lateness):
    monkeypatch.setattr(vectors, "BATCH", 4)
    for index in server.indexes.values():
        index.lateness = Lateness(seconds=lateness)
    same = [lamp(key, "The same") for key in range(10)]
    shop.publish(same[:6], same[6:])
    assert len(shop.embedder.texts) == 1
    server.settle()
    forget_recent()
    shop.publish([*same[:6], lamp(11, "The same")], same[6:])
    assert len(shop.embedder.texts) == 1
    server.settle()
    assert [round(score, 3) for score in legs(shop, "The same").dense.values()] == [1.0] * 11


def test_a_text_that_is_not_seen_there_yet_is_embedded_again_and_not_taken_for_an_older_one(shop, server):
    shop.publish([lamp(1, "Before")], [])
    for index in server.indexes.values():
        index.lateness = Lateness(seconds=3600)
    shop.publish([lamp(1, "After")], [])
    forget_recent()
    shop.publish([lamp(1, "After"), lamp(2, "After")], [])
    assert [text.partition("\n")[0] for text in shop.embedder.texts] == ["Before", "After", "After"]
    server.settle()
    assert [round(score, 3) for score in legs(shop, "After").dense.values()] == [1.0, 1.0]


def shade(value: str) -> dict[str, str]:
    return {"@type": "PropertyValue", "name": "Shade", "value": value}


def lamp(key: int, name: str) -> dict[str, Any]:
    return product(key, name=name, description="A lamp")


def legs(shop: Shop, name: str) -> Candidates:
    """Both rankings of all products, asked for by a lamp's text and by its name."""
    with shop.node.database.transaction() as connection:
        index = live_generation(connection).index
        return index.candidates(connection, name, direction(search_text(name, "Acme", "A lamp")), Condition(), 100)


def forget_recent() -> None:
    """What this process sent lately, which another does not know."""
    pinecone_index.connected(pinecone_index.get_settings(), DIMENSIONS).recent.__init__()


@pytest.mark.parametrize("most", [10_000, 16])
def test_as_many_hits_as_exist_are_found_though_the_filter_passes_more(shop, node, monkeypatch, most):
    """Each has an offer in stock, and one of the right price: in a third of them it is the same one."""
    items = [
        product(
            key,
            offers=[
                offer(price=10 if key % 3 == 0 else 90, availability="InStock"),
                offer(price=10 if key % 3 else 90, availability="OutOfStock" if key % 2 else "InStock"),
                offer(price=11, priceCurrency="USD", availability="InStock"),
            ],
        )
        for key in range(60)
    ]
    shop.publish(items, [])
    monkeypatch.setattr(pinecone_index, "FEW", 0)
    monkeypatch.setattr(pinecone_index, "MAX_FOUND", most)
    condition = Condition("p.deleted_at IS NULL AND p.sku ~ '[05]$'", is_filter=True, filters=SearchFilters())
    with node.database.transaction() as connection:
        index = live_generation(connection).index
        found = index.candidates(connection, "lamp", shop.embedder.embed(["lamp"]).vectors[0], condition, 8)
        everything = index.candidates(connection, "lamp", shop.embedder.embed(["lamp"]).vectors[0], condition, 100)

    assert len(found.dense) == 8
    assert len(everything.dense) == 12
    assert list(everything.dense)[:8] == list(found.dense)
    cheap = shop.search("lamp", limit=100, max_price=20, in_stock=True, currency="EUR")
    assert len(cheap) == sum(key % 3 == 0 or key % 2 == 0 for key in range(60))


def test_what_is_not_seen_yet_is_found_later_and_is_not_sent_again(shop, node, server):
    for index in server.indexes.values():
        index.lateness = Lateness(seconds=3600)
    shop.publish([product(key) for key in range(3)], [])
    assert shop.skus("lamp") == []
    assert index_state.compare(node.database).missing

    server.settle()
    assert len(shop.skus("lamp")) == 3
    shop.vectors.run()
    assert server.indexes["dense"].counted.records == 3


def test_missing_indexes_are_created_and_filled_with_the_real_model(node, monkeypatch):
    with PineconeServer() as server, backends.connected(settings := pinecone_settings(server), monkeypatch):
        forget_generations(node.database)
        recipe: Recipe = configured(settings)
        assert sorted(recipe.set_up()) == ["dense", "sparse"]
        assert recipe.set_up() == []
        shop = Shop(node)
        shop.publish([product(1, name="Steel bottle that keeps coffee hot"), product(2)], [], index=False)
        assert vectors.rebuild(node.database, recipe, lambda done, total: None).is_live
        with node.database.transaction() as connection:
            hits = search(connection, recipe.embedder(None), "thermos flask")
        assert [hit.sku for hit in hits] == ["SKU-1", "SKU-2"]
        assert server.indexes["dense"].dimension == 384 != DIMENSIONS
        forget_generations(node.database)


def test_what_searching_sends_is_counted_by_whoever_asks_for_metrics(node, monkeypatch):
    with PineconeServer() as server, backends.connected(settings := pinecone_settings(server), monkeypatch):
        forget_generations(node.database)
        recipe = configured(settings)
        recipe.set_up()
        Shop(node).publish([product(1)], [], index=False)
        vectors.rebuild(node.database, recipe, lambda done, total: None)
        with api(node.database, node.settings) as served:
            before = [counted(node).get(f"index_{what}", 0) for what in ("requests", "bytes", "records")]
            throttled = _throttled(served.get("/metrics").text)
            assert served.get("/products?q=lamp").json()["products"]
            server.faults.add(Fault("query", status=429))
            assert served.get("/products?q=another").status_code == 200
            with database_away(node.database.engine.url.render_as_string(hide_password=False)):
                served.get("/metrics")
            told = served.get("/metrics").text
            assert _throttled(told) == throttled + 1
            after = [counted(node)[f"index_{what}"] for what in ("requests", "bytes", "records")]
            assert after[0] >= before[0] + 5  # two questions to two indexes, one of them twice
            assert (after[1] > before[1], after[2]) == (True, before[2])
            served.get("/products?q=third")
        assert counted(node)["index_requests"] > after[0]  # written down when the server ends
        forget_generations(node.database)


AWAY = {
    "broken": Fault(times=1000, status=503),
    "busy": Fault(times=1000, status=429, retry_after="20"),
    "slow": Fault(times=1000, delay=1),
}


@pytest.mark.parametrize("fault", AWAY)
def test_while_it_is_away_what_identifiers_name_is_found_and_nobody_waits(node, monkeypatch, fault):
    with PineconeServer() as server:
        settings = pinecone_settings(server, pinecone_query_timeout=0.3)
        with backends.connected(settings, monkeypatch), api(node.database, node.settings) as served:
            forget_generations(node.database)
            recipe = configured(settings)
            recipe.set_up()
            Shop(node).publish([product(1), product(2)], [], index=False)
            vectors.rebuild(node.database, recipe, lambda done, total: None)
            server.faults.add(replace(AWAY[fault]))

            answer = served.get("/products?q=SKU-1").json()
            asked = len(server.asked)
            again = served.get("/products?q=SKU-2").json()
            nothing = call(served, "search_products", query="lamp")
            assert [each["sku"] for each in (*answer["products"], *again["products"])] == ["SKU-1", "SKU-2"]
            assert (answer["degraded"], again["degraded"]) == (True, True)
            assert nothing.structured_content["degraded"] is True
            assert len(server.asked) == asked

            server.faults.clear()
            pinecone_index._breaker.cache_clear()
            answer = served.get("/products?q=lamp").json()
            assert (len(answer["products"]), "degraded" in answer) == (2, False)
            forget_generations(node.database)


def test_an_index_that_does_not_answer_is_told_from_a_setting_that_is_missing(node, monkeypatch):
    def away(*_: object) -> None:
        raise PineconeUnavailableError("secret-index.svc.pinecone.io does not answer")

    monkeypatch.setattr(products, "first_page", away)
    with api(node.database, node.settings) as served:
        assert served.problem(503, "GET", "/products?q=lamp")["detail"] == "The search index does not answer"


def _throttled(told: str) -> float:
    found = re.search(r'^cmp_index_throttled_total\{index="dense"\} (\S+)$', told, re.MULTILINE)
    return float(found[1]) if found else 0.0


def test_the_index_can_move_from_the_database_to_pinecone_and_back(shop, node, backend, server):
    here, there = Recipe(lambda variant: shop.embedder), backend.recipe(shop.embedder)
    shop.publish([product(1), product(2)], [], index=False)
    for recipe in (here, there, here):
        assert vectors.rebuild(node.database, recipe, lambda done, total: None).is_live
        assert len(shop.skus("lamp")) == 2
    with node.database.transaction() as connection:
        assert [state.status for state in index_state.states(connection)] == ["live", "retired"]


def test_the_same_ingestion_gives_the_same_answers_as_in_the_database(node, monkeypatch):
    """The samples with the real model. The rankings by vector are the same but for half precision. Those by words are
    not, since PostgreSQL wants every word of the query and Pinecone's model any: of the first ten, half agree."""
    with PineconeServer() as server, backends.connected(settings := pinecone_settings(server), monkeypatch):
        forget_generations(node.database)
        node.configure(*SAMPLES)
        node.start()
        there, here = configured(settings), configured(node.settings)
        there.set_up()
        answers = {}
        for name, recipe in (("there", there), ("here", here)):
            assert vectors.rebuild(node.database, recipe, lambda done, total: None).is_live
            answers[name] = [answered(node, recipe.embedder(None), query) for query in QUERIES]
        forget_generations(node.database)

    for (dense_here, here), (dense_there, there) in zip(answers["here"], answers["there"], strict=True):
        assert dense_here[0] == dense_there[0]
        assert len(set(dense_here) & set(dense_there)) >= 49
        assert here[0] in there[:3]
        assert len(set(here) & set(there)) >= 5


SAMPLES = [
    {
        "name": name,
        "registry": str(ROOT / "samples" / name / registry),
        "feed_path": str(ROOT / "samples" / name / feed),
    }
    for name, registry, feed in (
        ("acme-solutions", "brand-registory.json", "feed/feed.json"),
        ("another-brand", "registry.json", "feed.json"),
    )
]
QUERIES = ("wireless headphones", "desk lamp", "running shoes", "water bottle", "coffee", "usb cable")


def _group(hit: SearchHit) -> str:
    """One name for whichever variant is the best."""
    return min([hit.urn, *(variant.urn for variant in hit.variants)])


def answered(node: Node, embedder: Embedder, query: str) -> tuple[list[int], list[str]]:
    """Product ids by vector, and what is found, a name for each group."""
    with node.database.transaction() as connection:
        index = live_generation(connection).index
        found = index.candidates(connection, query, embedder.embed([query]).vectors[0], Condition(), 50)
        return list(found.dense), [_group(hit) for hit in search(connection, embedder, query, limit=10)]

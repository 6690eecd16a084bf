"""What every index promises, from an ingestion to a hit: the one in the database, and those at Pinecone."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from uuid import uuid4

import numpy as np
import pytest

from app.ingestors.handlers.vector import VectorHandler
from app.services import counters, generations, index_state, retired, vectors
from app.services.generations import live_generation, open_generation
from app.services.pieces import Piece, PieceLostError
from app.services.vectors import VectorReport
from app.vectors.embedders import Embedded, EmbeddingUnavailableError, HostedEmbedder
from app.vectors.indexes import pinecone_index
from app.vectors.indexes.base import Block, Condition
from app.vectors.indexes.pinecone import PineconeRefusedError
from tests.integration.test_search import Shop, catalogue, every_filter, passes
from tests.support import backends
from tests.support.backends import Backend
from tests.support.embedders import HashEmbedder, forget_generations
from tests.support.feeds import offer, product
from tests.support.nodes import Node
from tests.support.pinecone import Fault

KINDS = {"pgvector": backends.pgvector, "pinecone": backends.own_vectors, "hosted": backends.hosted}


@pytest.fixture(params=list(KINDS))
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Backend]:
    with KINDS[request.param](monkeypatch) as backend:
        yield backend


@pytest.fixture
def shop(node: Node, backend: Backend) -> Iterator[Shop]:
    forget_generations(node.database)
    yield opened(node, backend)
    forget_generations(node.database)


def opened(node: Node, backend: Backend, embedder: HashEmbedder | None = None) -> Shop:
    shop = Shop(node)
    recipe = backend.recipe(embedder or shop.embedder)
    shop.embedder = recipe.embedder(None)
    shop.vectors = VectorHandler(node.database, node.settings, create=recipe)
    return shop


def ids(shop: Shop) -> dict[str, int]:
    return {row["sku"]: row["id"] for row in shop.node.rows("SELECT sku, id FROM products")}


def test_what_is_published_is_found_and_what_is_not_any_more_is_not(shop):
    shop.publish([product(1), product(2, name="Chandelier")], [])
    assert sorted(shop.skus("chandelier")) == ["SKU-1", "SKU-2"]
    assert not index_state.compare(shop.node.database)

    shop.publish([product(2, name="Chandelier"), product(3)], [])
    assert sorted(shop.skus("chandelier")) == ["SKU-2", "SKU-3"]
    assert not index_state.compare(shop.node.database)

    shop.publish([product(1), product(3)], [])
    assert sorted(shop.skus("lamp")) == ["SKU-1", "SKU-3"]
    assert not index_state.compare(shop.node.database)
    assert shop.vectors.run() == VectorReport()


def test_all_that_passes_the_filters_is_found_as_the_catalogue_is_now(shop):
    feeds = [(f.organization, catalogue(f.organization, 60)) for f in shop.folders]
    shop.publish(*(items for _, items in feeds))
    published = {item["@id"]: (item, organization) for organization, items in feeds for item in items}
    for wanted in random.Random(1).sample(every_filter(), 40):  # noqa: S311 - no secret
        expected = {urn for urn, (item, organization) in published.items() if passes(item, organization, wanted)}
        assert {hit.urn for hit in shop.search("red lamp", limit=200, **wanted)} == expected, wanted
        assert len(shop.search("red lamp", limit=7, **wanted)) == min(7, len(expected)), wanted


def test_a_new_price_is_filtered_by_and_nothing_is_embedded(shop, backend):
    shop.publish([product(1, offers=offer(price=10)), product(2, offers=offer(price=10))], [])
    counted = embedded(shop, backend)

    shop.publish([product(1, offers=offer(price=99)), product(2, offers=offer(price=10))], [])

    assert embedded(shop, backend) == counted
    assert shop.skus("lamp", min_price=50) == ["SKU-1"]
    assert not index_state.compare(shop.node.database)


def embedded(shop: Shop, backend: Backend) -> int:
    """Texts that were embedded, here or there."""
    here = len(getattr(shop.embedder, "texts", ()))
    return here + sum(index.counted.embedded for index in (backend.server.indexes.values() if backend.server else ()))


def test_a_step_that_dies_before_the_acknowledgement_loses_one_batch(shop, backend, monkeypatch):
    monkeypatch.setattr(vectors, "BATCH", 4)
    shop.publish([product(key) for key in range(10)], [], index=False)
    acknowledged = []

    def dying(connection, amounts):
        acknowledged.append(connection)
        if len(acknowledged) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(counters, "add", dying)
    with pytest.raises(KeyboardInterrupt):
        shop.vectors.run()

    assert shop.vectors.run() == VectorReport(pending=6, indexed=6)
    assert len(shop.skus("lamp")) == 10
    assert not index_state.compare(shop.node.database)


def test_a_product_that_was_sent_and_deleted_before_the_acknowledgement_is_taken_out(shop, monkeypatch):
    shop.publish([product(1), product(2)], [], index=False)

    def dying(connection, amounts):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(counters, "add", dying)
        with pytest.raises(KeyboardInterrupt):
            shop.vectors.run()
    shop.publish([product(2)], [])

    assert shop.skus("lamp") == ["SKU-2"]
    assert not index_state.compare(shop.node.database)


def test_an_index_that_is_replaced_is_dropped_with_all_that_is_in_it(shop, backend, node):
    shop.publish([product(1)], [])
    other = generations.Recipe(lambda variant: HashEmbedder(model="better"))
    assert vectors.rebuild(node.database, other, lambda done, total: None).is_live

    assert retired.drop_retired(node.database, grace=0) == 1
    assert node.value(r"SELECT count(*) FROM pg_tables WHERE tablename ~ '^(vectors|acknowledged)_\d+$'") == 1
    if backend.server:
        assert all(not index.namespaces for index in backend.server.indexes.values())


def test_two_that_send_the_same_product_leave_it_as_the_catalogue_has_it(shop, node, backend):
    """The one with the old text sends last, the one with the new text is acknowledged last."""
    shop.publish([product(1)], [])
    opened = open_generation(node.database, backend.recipe(shop.embedder))
    index, batches = opened.generation.index, []
    for name in ("Old", "New"):
        shop.publish([product(1, name=name)], [], index=False)
        found = vectors._pending(node.database, opened.generation, whole_block(node))
        batches.append(vectors._entries(shop.embedder, found)[0])
    old, new = batches
    index.send(new)
    index.send(old)
    for batch in (old, new):
        with node.database.transaction() as connection:
            index.acknowledge(connection, batch)

    shop.vectors.run()
    assert not index_state.compare(node.database)
    assert shop.vectors.run() == VectorReport()


def test_one_that_lost_its_piece_and_was_late_leaves_a_product_as_the_catalogue_has_it(shop, node, backend):
    shop.publish([product(1)], [])
    shop.publish([product(1, name="Old")], [], index=False)
    opened = open_generation(node.database, backend.recipe(shop.embedder))
    late = vectors._pending(node.database, opened.generation, whole_block(node))
    shop.publish([product(1, name="New")], [], index=False)
    shop.vectors.run()

    with pytest.raises(PieceLostError):
        vectors._put_in(node.database, opened, late, Piece(uuid4(), 0, {}))
    shop.vectors.run()

    assert not index_state.compare(node.database)
    assert shop.vectors.run() == VectorReport()


def whole_block(node: Node) -> Block:
    return Block(node.value("SELECT min(organization_id) FROM products"), 0, 2**63 - 1)


def test_the_ranking_by_vector_is_the_exact_one_within_filters(shop, node):
    shop.publish(*(catalogue(f.organization, 60) for f in shop.folders))
    if not hasattr(shop.embedder, "texts"):
        pytest.skip("the model is the index's own")
    rows = node.rows("SELECT id, name, brand_name, description FROM products")
    query = shop.embedder.embed(["red lamp"]).vectors[0]
    texts = ["\n".join(part for part in (r["name"], r["brand_name"], r["description"]) if part) for r in rows]
    scores = shop.embedder.embed(texts).vectors @ query
    exact = [row["id"] for _, row in sorted(zip(scores, rows, strict=True), key=lambda each: -each[0])]
    condition = Condition("p.deleted_at IS NULL AND p.id % 3 = 0", is_filter=True)
    with node.database.transaction() as connection:
        index = live_generation(connection).index
        everything = index.candidates(connection, "red lamp", query, Condition(), 50)
        some = index.candidates(connection, "red lamp", query, condition, 50)

    # Half precision may swap neighbours whose scores agree to three digits.
    assert len(set(everything.dense) & set(exact[:50])) >= 49
    assert list(everything.dense)[:5] == exact[:5]
    third = [each for each in exact if each % 3 == 0]
    assert len(set(some.dense) & set(third[:50])) >= len(third[:50]) - 1
    assert list(some.dense)[:5] == third[:5]


def test_what_differs_is_found_and_mended(shop, node, backend):
    shop.publish([product(key) for key in range(4)], [])
    keys = ids(shop)
    with node.database.transaction() as connection:
        index = live_generation(connection).index
        connection.exec_driver_sql(f"UPDATE products SET deleted_at = now() WHERE id = {keys['SKU-2']}")
        connection.exec_driver_sql(f"UPDATE products SET text_hash = 'other' WHERE id = {keys['SKU-1']}")
        if index.is_in_database:
            connection.exec_driver_sql(f"DELETE FROM {index.table} WHERE product_id = {keys['SKU-0']}")
    if backend.server:
        index.erase([keys["SKU-0"]])

    differences = index_state.compare(node.database)
    found = (differences.missing, differences.stale, differences.surplus)
    assert found == ([keys["SKU-0"]], [keys["SKU-1"]], [keys["SKU-2"]])
    recipe = backend.recipe(shop.embedder)
    assert not index_state.repair(node.database, recipe, differences, lambda done, total: None)
    assert shop.vectors.run() == VectorReport()


class Choosy(HashEmbedder):
    """Refuses some texts, and everything while it is away; knows the texts of products that it was asked for."""

    is_away = False

    @property
    def documents(self) -> list[str]:
        return [text for text in self.texts if "\n" in text]

    def embed(self, texts: Sequence[str]) -> Embedded:
        if self.is_away:
            raise EmbeddingUnavailableError("away")
        embedded = super().embed(texts)
        refused = [row for row, text in enumerate(texts) if "Forbidden" in text]
        embedded.vectors[refused] = np.nan
        return replace(embedded, refused=dict.fromkeys(refused, "forbidden"))


@pytest.fixture
def choosy(node: Node, backend: Backend, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    """Whose filters the index has to know, where it does not ask the catalogue."""
    forget_generations(node.database)
    monkeypatch.setattr(pinecone_index, "FEW", 0)
    shop = opened(node, backend, Choosy())
    if isinstance(shop.embedder, HostedEmbedder):
        pytest.skip("the model is the index's own")
    yield shop
    forget_generations(node.database)


def test_new_prices_are_filtered_by_while_no_text_can_be_embedded(choosy, monkeypatch):
    monkeypatch.setattr(vectors, "BATCH", 4)
    choosy.publish([product(key, offers=offer(price=10)) for key in range(6)], [])
    known = len(choosy.embedder.documents)
    dearer = [product(key, offers=offer(price=99)) for key in range(1, 8)]
    choosy.publish([product(0, name="New", offers=offer(price=99)), *dearer], [], index=False)
    choosy.embedder.is_away = True

    for _ in range(2):
        with pytest.raises(EmbeddingUnavailableError):
            choosy.vectors.run()
    assert sorted(choosy.skus("lamp", min_price=50)) == [f"SKU-{key}" for key in range(6)]

    choosy.embedder.is_away = False
    assert choosy.vectors.run() == VectorReport(pending=3, indexed=3)
    assert len(choosy.embedder.documents) == known + 3
    assert not index_state.compare(choosy.node.database)


def test_new_prices_are_filtered_by_while_it_cannot_be_told_which_model_it_is(choosy, node, backend):
    def away() -> dict[str, str]:
        raise EmbeddingUnavailableError("away")

    def step(recipe: generations.Recipe) -> None:
        with pytest.raises(EmbeddingUnavailableError):
            VectorHandler(node.database, node.settings, create=recipe).run()

    recipe = replace(backend.recipe(choosy.embedder), place=away)
    choosy.publish([product(1, offers=offer(price=10))], [])
    choosy.publish([product(1, offers=offer(price=99))], [], index=False)
    sent = requests(backend)
    step(replace(recipe, made_with={"embedding_model": "another"}))
    assert requests(backend) == sent
    step(recipe)
    assert choosy.skus("lamp", min_price=50) == ["SKU-1"]
    assert not index_state.compare(node.database)


def test_a_step_that_fails_forgets_no_text_that_is_in_the_index(shop, backend, monkeypatch):
    shop.publish([product(key, offers=offer(price=10)) for key in range(4)], [])
    counted = embedded(shop, backend)
    shop.publish([product(key, offers=offer(price=99)) for key in range(4)], [], index=False)
    if backend.server:
        backend.server.faults.add(Fault("vectors/update", times=1000, status=403))
        with pytest.raises(PineconeRefusedError):
            shop.vectors.run()
        backend.server.faults.clear()

    def dying(connection, amounts):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(counters, "add", dying)
        if backend.server:
            with pytest.raises(KeyboardInterrupt):
                shop.vectors.run()

    shop.vectors.run()
    assert embedded(shop, backend) == counted
    assert not index_state.compare(shop.node.database)


def test_a_product_whose_text_is_refused_is_filtered_by_as_it_is_now(choosy, backend):
    def publish(name: str, price: int) -> None:
        choosy.publish([product(1, name=name, offers=offer(price=price)), product(2, offers=offer(price=99))], [])

    for name, price in (("Lamp", 10), ("Forbidden", 10), ("Forbidden", 99)):
        publish(name, price)
    assert sorted(choosy.skus("lamp", min_price=50)) == ["SKU-1", "SKU-2"]
    assert not index_state.compare(choosy.node.database)
    sent = requests(backend)
    assert choosy.vectors.run() == VectorReport(refused=1)
    assert requests(backend) == sent

    publish("Forbidden", 20)
    assert choosy.skus("lamp", min_price=50) == ["SKU-2"]
    asked = len(choosy.embedder.documents)
    publish("Lamp", 20)
    assert len(choosy.embedder.documents) == asked  # its old text never left the index
    assert not index_state.compare(choosy.node.database)
    assert choosy.vectors.run() == VectorReport()


def requests(backend: Backend) -> int:
    return sum(index.counted.total for index in (backend.server.indexes.values() if backend.server else ()))


def test_what_a_product_whose_text_is_refused_is_filtered_by_is_verified(choosy, node, backend):
    for name in ("Lamp", "Forbidden"):
        choosy.publish([product(1, name=name, offers=offer(price=10))], [])
    assert not index_state.compare(node.database)
    if not backend.server:
        pytest.skip("the catalogue is asked")
    with node.database.transaction() as connection:
        connection.exec_driver_sql("UPDATE offers SET price = 99")

    differences = index_state.compare(node.database)
    assert differences.stale == [ids(choosy)["SKU-1"]]
    recipe = backend.recipe(choosy.embedder)
    assert not index_state.repair(node.database, recipe, differences, lambda done, total: None)
    assert choosy.skus("lamp", min_price=50) == ["SKU-1"]

"""What every index promises, from an ingestion to a hit: the one in the database, and those at Pinecone."""

import random
from collections.abc import Iterator
from uuid import uuid4

import pytest

from app.ingestors.handlers.vector import VectorHandler
from app.services import counters, generations, index_state, retired, vectors
from app.services.generations import live_generation, open_generation
from app.services.pieces import Piece, PieceLostError
from app.services.vectors import VectorReport
from app.vectors.indexes.base import Block, Condition
from tests.integration.test_search import Shop, catalogue, every_filter, passes
from tests.support import backends
from tests.support.backends import Backend
from tests.support.embedders import HashEmbedder, forget_generations
from tests.support.feeds import offer, product
from tests.support.nodes import Node

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

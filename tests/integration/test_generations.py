"""Another model: its index is built beside the one that is searched, and takes its place in one step."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from app.core.config import Settings
from app.db.session import LiveDatabase
from app.ingestors.handlers.vector import VectorHandler
from app.services import generations, index_state, issues, retired, vectors
from app.services.generations import GenerationReplacedError, OtherModelError, live_generation, open_generation
from app.services.issues import IssueFilter
from app.services.search import search
from app.services.takeover import TextsRefusedError
from app.services.vectors import VectorReport
from app.vectors.embedders import Embedded
from tests.support.embedders import HashEmbedder, by_cpu, factory, forget_generations
from tests.support.feeds import OTHER_ORGANIZATION, FeedFolder, product
from tests.support.nodes import Node


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
def publish(node: Node, folder: FeedFolder):
    """Publishes products and ingests them, without the vector step."""

    def publish(*items) -> None:
        folder.publish(list(items))
        assert node.run(accept_deletions=True)["status"] == "success"

    return publish


OLD, NEW = HashEmbedder(), HashEmbedder(model="better")


def indexed(database: LiveDatabase, settings: Settings, embedder: HashEmbedder) -> VectorReport:
    step = VectorHandler(database, settings, create=factory(embedder))
    report = step.run()
    step.finish()
    return report


def rebuilt(database: LiveDatabase, embedder: HashEmbedder) -> generations.Generation:
    return vectors.rebuild(database, factory(embedder), lambda done, total: None)


def states(database: LiveDatabase) -> dict[str, str]:
    """Models by status."""
    with database.transaction() as connection:
        return {state.identity["model"]: state.status for state in index_state.states(connection)}


def found(database: LiveDatabase, embedder: HashEmbedder, query: str = "lamp") -> set[str]:
    with database.transaction() as connection:
        return {hit.sku for hit in search(connection, embedder, query)}


def tables(node: Node) -> int:
    return node.value(r"SELECT count(*) FROM pg_tables WHERE tablename LIKE 'vectors\_%'")


def test_ten_that_start_at_once_share_one_generation_and_its_variant(node, database):
    create = by_cpu("int8", "fp32")

    with ThreadPoolExecutor(10) as pool:
        opened = list(pool.map(lambda _: open_generation(database, create), range(10)))

    assert len({o.generation.id for o in opened}) == 1
    assert len({o.embedder.identity for o in opened}) == 1
    assert all(o.generation.is_live for o in opened)
    assert tables(node) == 1
    assert node.value("SELECT count(*) FROM index_generations") == 1


def test_another_model_is_built_beside_and_goes_live_when_nothing_is_pending(node, database, settings):
    folders = [FeedFolder(node.root / "a"), FeedFolder(node.root / "b", OTHER_ORGANIZATION)]
    for folder in folders:
        folder.publish([product(1, folder.organization), product(2, folder.organization)])
    node.configure(*({"name": f.path.name, "registry": f"{f.path.name}/registry.json"} for f in folders))
    node.start()
    first, second = (row["id"] for row in node.rows("SELECT id FROM organizations ORDER BY id"))
    indexed(database, settings, OLD)

    step = VectorHandler(database, settings, create=factory(NEW))
    assert step.run([first]) == VectorReport(pending=2, indexed=2)
    step.finish()
    assert states(database) == {"hash": "live", "better": "building"}
    assert found(database, OLD) == {"SKU-1", "SKU-2"}
    with pytest.raises(OtherModelError, match="better"):
        found(database, NEW)

    assert step.run([second]) == VectorReport(pending=2, indexed=2)
    step.finish()
    assert states(database) == {"better": "live", "hash": "retired"}
    assert found(database, NEW) == {"SKU-1", "SKU-2"}


def test_the_old_index_serves_who_knows_only_its_model_until_it_is_dropped(node, publish, database, settings):
    publish(product(1))
    indexed(database, settings, OLD)
    rebuilt(database, NEW)

    assert found(database, OLD) == {"SKU-1"}
    assert retired.drop_retired(database) == 0
    assert retired.drop_retired(database, grace=0, dry_run=True) == 1
    assert tables(node) == 2
    assert retired.drop_retired(database, grace=0) == 1
    assert (tables(node), states(database)) == (1, {"better": "live"})
    with pytest.raises(OtherModelError, match="hash"):
        found(database, OLD)


def search_goes_on(node: Node, database: LiveDatabase) -> None:
    """Searches while somebody waits until nobody looks at generations."""
    waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND mode = 'ExclusiveLock' AND NOT granted"
    deadline = time.monotonic() + 20
    while not node.value(waiting):
        assert time.monotonic() < deadline, "nobody waits"
        time.sleep(0.01)
    with database.reading(patience=5) as connection:
        assert {hit.sku for hit in search(connection, OLD, "lamp")} == {"SKU-1"}


@pytest.mark.parametrize(
    "change",
    [
        lambda database, generation: generations.make_live(database, generation),
        lambda database, _: open_generation(database, factory(HashEmbedder(model="third"))),
    ],
    ids=["takes over", "is begun"],
)
def test_search_goes_on_while_an_index_waits_for_one_that_is_worked_on(
    node, publish, database, settings, change: Callable[[LiveDatabase, generations.Generation], object]
):
    publish(product(1))
    indexed(database, settings, OLD)
    new = open_generation(database, factory(NEW)).generation

    with ThreadPoolExecutor(1) as pool:
        with database.transaction() as connection:
            generations.hold(connection, new)  # as who builds its graph does, for minutes
            changing = pool.submit(change, database, new)
            search_goes_on(node, database)
            assert not changing.done()
        changing.result(timeout=20)


def test_the_clean_up_waits_for_no_index_that_is_worked_on(node, publish, database, settings):
    publish(product(1))
    indexed(database, settings, OLD)

    def dropped(grace: int) -> int:
        with ThreadPoolExecutor(1) as pool, database.transaction() as connection:
            generations.hold(connection, live_generation(connection))
            dropping = pool.submit(retired.drop_retired, database, grace=grace)
            try:
                return dropping.result(timeout=20)
            finally:
                connection.rollback()

    assert dropped(grace=0) == 0
    rebuilt(database, NEW)
    assert (dropped(grace=0), tables(node)) == (0, 2)
    assert (retired.drop_retired(database, grace=0), tables(node)) == (1, 1)


def test_a_step_whose_index_was_replaced_says_so(publish, database, settings):
    publish(product(1))

    class Overtaken(HashEmbedder):
        def embed(self, texts: Sequence[str]):
            indexed(database, settings, NEW)
            return super().embed(texts)

    with pytest.raises(GenerationReplacedError):
        indexed(database, settings, Overtaken())
    with pytest.raises(GenerationReplacedError):
        indexed(database, settings, OLD)
    assert states(database) == {"better": "live", "hash": "retired"}


def test_a_step_whose_index_was_replaced_says_so_when_it_is_dropped_too(node, publish, database, settings):
    publish(product(1), product(2))
    indexed(database, settings, OLD)
    rebuilt(database, NEW)
    assert retired.drop_retired(database, grace=0) == 1
    old = HashEmbedder()

    for _ in range(2):
        with pytest.raises(GenerationReplacedError):
            indexed(database, settings, old)
    assert (states(database), tables(node), old.texts) == ({"better": "live"}, 1, [])
    indexed(database, settings, HashEmbedder(model="third"))  # what never was there may be begun
    assert rebuilt(database, old).is_live
    assert (len(old.texts), states(database)["hash"]) == (2, "live")
    assert indexed(database, settings, old) == VectorReport()
    with pytest.raises(GenerationReplacedError):
        indexed(database, settings, NEW)


def test_a_rebuild_goes_on_where_it_was_left(publish, database, settings, monkeypatch):
    monkeypatch.setattr(vectors, "BATCH", 4)
    publish(*(product(key) for key in range(10)))
    indexed(database, settings, OLD)

    class Dying(HashEmbedder):
        def embed(self, texts: Sequence[str]):
            if len(self.calls) == 2:
                raise KeyboardInterrupt
            return super().embed(texts)

    with pytest.raises(KeyboardInterrupt):
        rebuilt(database, Dying(model="better"))
    assert states(database) == {"hash": "live", "better": "building"}
    survivor = HashEmbedder(model="better")
    assert rebuilt(database, survivor).is_live
    assert len(survivor.texts) == 2


def test_a_rebuild_goes_back_to_the_old_model_and_embeds_what_changed_since(publish, database, settings):
    publish(product(1), product(2))
    indexed(database, settings, OLD)
    rebuilt(database, NEW)
    publish(product(1), product(2, name="Chandelier"))
    again = HashEmbedder()

    assert rebuilt(database, again).is_live
    assert [text.partition("\n")[0] for text in again.texts] == ["Chandelier"]
    assert states(database) == {"hash": "live", "better": "retired"}


def test_a_rebuild_of_the_live_model_gives_up_what_was_begun_beside_it(node, publish, database, settings):
    publish(product(1))
    indexed(database, settings, OLD)
    open_generation(database, factory(NEW))

    assert rebuilt(database, OLD).is_live
    assert states(database) == {"hash": "live", "better": "retired"}


def test_a_text_that_no_vector_is_found_for_does_not_hold_up_the_others(publish, database, settings):
    publish(product(1), product(2))
    indexed(database, settings, OLD)

    class Broken(HashEmbedder):
        def embed(self, texts: Sequence[str]):
            vectors = super().embed(texts).vectors
            refused = {row: "too long" for row, text in enumerate(texts) if text.startswith("Lamp 1")}
            vectors[list(refused)] = np.nan
            return Embedded(vectors, refused)

    assert rebuilt(database, Broken(model="better")).is_live
    assert found(database, NEW) == {"SKU-2"}
    assert not index_state.compare(database)
    with database.transaction() as connection:
        assert [(state.pending, state.refused) for state in index_state.states(connection)] == [(0, 1), (0, 0)]
        assert [issue["code"] for issue in issues.listed(connection, IssueFilter(code="text-refused"))]
    rebuilt(database, OLD)
    with database.transaction() as connection:
        assert issues.listed(connection, IssueFilter(code="text-refused")) == []


def test_an_index_whose_model_refuses_much_goes_live_only_when_that_is_accepted(publish, database, settings):
    publish(*(product(key) for key in range(20)))
    indexed(database, settings, OLD)

    class Refusing(HashEmbedder):
        def embed(self, texts: Sequence[str]):
            vectors = super().embed(texts).vectors
            vectors[9:] = np.nan
            return Embedded(vectors, dict.fromkeys(range(9, len(texts)), "HTTP 400, no budget"))

    new = Refusing(model="better")
    for build in (rebuilt, lambda database, new: indexed(database, settings, new)):
        with pytest.raises(TextsRefusedError, match="11 of 20 products"):
            build(database, new)
    assert states(database) == {"hash": "live", "better": "building"}
    assert len(found(database, OLD)) == 20
    assert vectors.rebuild(database, factory(new), lambda done, total: None, accept_refused=True).is_live
    third = Refusing(model="third")
    assert rebuilt(database, third).is_live, "search misses no more than before"


def test_the_model_of_the_live_index_is_made_again_when_the_settings_name_another(node, publish, database, settings):
    publish(product(1))
    step = VectorHandler(database, settings)
    step.run()
    changed = settings.model_copy(update={"embedding_model_path": Path("/nowhere")})

    with database.transaction() as connection:
        embedder = generations.query_embedder(connection, changed)
        assert live_generation(connection).understands(embedder)
        assert [hit.sku for hit in search(connection, embedder, "lamp")] == ["SKU-1"]


def test_the_state_tells_how_far_each_generation_is(publish, database, settings):
    publish(product(1), product(2))
    indexed(database, settings, OLD)
    open_generation(database, factory(NEW))
    publish(product(1))

    with database.transaction() as connection:
        old, new = index_state.states(connection)
    assert (old.products, old.pending, old.vanished, old.oldest) == (2, 0, 1, 0)
    assert (new.products, new.pending, new.vanished) == (0, 1, 0)
    assert new.oldest > 0


def test_what_differs_from_the_catalogue_is_found_and_mended(node, publish, database, settings):
    publish(*(product(key) for key in range(4)))
    indexed(database, settings, OLD)
    ids = [row["id"] for row in node.rows("SELECT id FROM products ORDER BY sku")]
    table = node.value(r"SELECT tablename FROM pg_tables WHERE tablename LIKE 'vectors\_%'")
    assert not index_state.compare(database)
    with database.transaction() as connection:
        connection.exec_driver_sql(f"DELETE FROM {table} WHERE product_id = {ids[0]}")
        connection.exec_driver_sql(f"UPDATE {table} SET text_hash = 'other' WHERE product_id = {ids[1]}")
        connection.exec_driver_sql(f"UPDATE products SET deleted_at = now() WHERE id = {ids[2]}")

    differences = index_state.compare(database)
    assert (differences.missing, differences.stale, differences.surplus) == ([ids[0]], [ids[1]], [ids[2]])
    with pytest.raises(OtherModelError):
        index_state.repair(database, factory(NEW), differences, lambda done, total: None)
    assert not index_state.repair(database, factory(OLD), differences, lambda done, total: None)
    assert not index_state.compare(database)

"""The clean-up removes what nothing needs any more, and nothing else, whatever is ingested meanwhile."""

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from app.db.session import LiveDatabase
from app.db.staging import StagingTables
from app.ingestors.handlers import feed
from app.ingestors.handlers.vector import VectorHandler
from app.services import categories, retention, runs, unneeded
from app.services import starts as ledger
from app.services.retention import expire_ledger, purge_products, remove_orphans
from app.services.search import search
from tests.support.embedders import HashEmbedder, factory, forget_generations
from tests.support.feeds import (
    BRAND,
    OTHER_ORGANIZATION,
    FeedFolder,
    group,
    organization_entry,
    product,
    registry_brand,
    variant,
)
from tests.support.nodes import _EMPTIED, Node

NOTHING_PURGED = {"products": 0, "offers": 0, "vectors": 0, "product_groups": 0, "skipped": 0}
NOTHING_ORPHANED = NOTHING_PURGED | {
    "organization_categories": 0, "occurrences": 0, "brands": 0, "categories": 0, "staging": 0, "generations": 0,
}  # fmt: skip
NOTHING_EXPIRED = {"starts": 0, "runs": 0, "issues": 0}
FEED_BRAND = {"@type": "Brand", "name": "Bolt"}
_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('organization', :organization))"


@pytest.fixture
def database(node: Node) -> Iterator[LiveDatabase]:
    """The node's, without vectors."""
    forget_generations(node.database)
    yield node.database
    forget_generations(node.database)


@pytest.fixture
def publish(node: Node, folder: FeedFolder):
    """Publishes items and ingests them, without the vector step."""

    def publish(*items: Any) -> None:
        folder.publish(list(items))
        report = node.run(accept_deletions=True)
        assert report["status"] == "success", report["error"]

    return publish


@pytest.fixture
def orphans(database: LiveDatabase) -> Callable[..., dict[str, int]]:
    def orphans(*, empty_categories: bool = False, **options: Any) -> dict[str, int]:
        return remove_orphans(database, delete_empty_categories=empty_categories, **options)

    return orphans


def execute(node: Node, statement: str, **parameters: Any) -> None:
    with node.database.transaction() as connection:
        connection.execute(text(statement), parameters)


def age(node: Node, table: str, column: str, period: str) -> None:
    """Moves times into the past."""
    execute(node, f"UPDATE {table} SET {column} = {column} - CAST(:period AS interval)", period=period)


def age_deletions(node: Node, period: str = "31 days") -> None:
    age(node, "products", "deleted_at", period)
    age(node, "product_groups", "deleted_at", period)


def everything(node: Node) -> dict[str, list[dict[str, Any]]]:
    """Every row of the node, staging tables by name."""
    tables = [*_EMPTIED, *index_tables(node)]
    found = {table: node.rows(f"SELECT * FROM {table} t ORDER BY CAST(t AS text)") for table in tables}
    return found | {"staging": [{"name": name} for name in sorted(node.staging_tables())]}


def index_tables(node: Node) -> list[str]:
    return [f"vectors_{row['id']}" for row in node.rows("SELECT id FROM index_generations ORDER BY id")]


def skus(node: Node, where: str = "true") -> list[str]:
    return [row["sku"] for row in node.rows(f"SELECT sku FROM products WHERE {where} ORDER BY sku")]


def names(node: Node, table: str) -> list[str]:
    return [row["name"] for row in node.rows(f"SELECT name FROM {table} ORDER BY name")]


def paths(node: Node) -> list[str]:
    return [row["path"] for row in node.rows("SELECT path FROM categories ORDER BY path")]


@contextmanager
def locked(node: Node, *organizations: int) -> Iterator[None]:
    """As if these were being merged; of none given, all."""
    with node.database.transaction() as connection:
        for identity in organizations or connection.execute(text("SELECT id FROM organizations")).scalars().all():
            connection.execute(text(_LOCK), {"organization": identity})
        yield


@contextmanager
def merging(monkeypatch: pytest.MonkeyPatch, ingest: Callable[[], Any]) -> Iterator[Future[Any]]:
    """An ingestion whose merge did all its work and does not commit before the block ends."""
    reached, release = threading.Event(), threading.Event()
    merge = feed.merge

    def pause(connection: Any, publication: Any) -> Any:
        report = merge(connection, publication)
        reached.set()
        assert release.wait(30)
        return report

    with monkeypatch.context() as patch, ThreadPoolExecutor(1) as pool:
        patch.setattr(feed, "merge", pause)
        running = pool.submit(ingest)
        try:
            assert reached.wait(30)
            yield running
        finally:
            release.set()
        running.result(30)


def wait_for_waiting(node: Node) -> None:
    """Until somebody waits for a lock in this database."""
    for _ in range(3000):
        if node.value("SELECT count(*) FROM pg_locks WHERE NOT granted"):
            return
        threading.Event().wait(0.01)
    raise AssertionError("nobody waits")


# --- products -------------------------------------------------------------------------------------------------------


def test_only_what_was_deleted_before_the_retention_is_purged(node, publish, database):
    publish(*(product(key) for key in range(5)))
    publish(product(0))
    deleted = "UPDATE products SET deleted_at = now() - CAST(:ago AS interval) WHERE sku = ANY(:skus)"
    execute(node, deleted, ago="30 days 1 minute", skus=["SKU-1", "SKU-2"])
    execute(node, deleted, ago="29 days 23 hours 59 minutes", skus=["SKU-3"])

    assert purge_products(database, 30) == NOTHING_PURGED | {"products": 2}
    assert skus(node) == ["SKU-0", "SKU-3", "SKU-4"]
    assert skus(node, "deleted_at IS NULL") == ["SKU-0"]

    assert purge_products(database, 30) == NOTHING_PURGED
    assert purge_products(database, 0) == NOTHING_PURGED | {"products": 2}


def test_offers_that_a_deleted_product_still_has_go_with_it(node, publish, database):
    publish(product(1), product(2))
    publish(product(1))
    age_deletions(node)
    execute(node, """INSERT INTO offers (product_id, ordinal, price, currency)
        SELECT id, n, 1, 'EUR' FROM products, generate_series(0, 2) n WHERE sku = 'SKU-2'""")  # fmt: skip

    assert purge_products(database, 30) == NOTHING_PURGED | {"products": 1, "offers": 3}
    assert node.value("SELECT count(*) FROM offers") == 1


def test_rows_of_every_generation_go_and_search_finds_what_stays(node, publish, database):
    old, new = HashEmbedder(), HashEmbedder(model="better")
    publish(*(product(key) for key in range(4)))
    for embedder in (old, new):
        VectorHandler(database, node.settings, create=factory(embedder)).run()
    publish(product(0), product(1))
    age_deletions(node)
    assert len(index_tables(node)) == 2

    assert purge_products(database, 30) == NOTHING_PURGED | {"products": 2, "vectors": 4}
    for table in index_tables(node):
        assert node.value(f"SELECT count(*) FROM {table}") == 2
    with database.transaction() as connection:
        assert {hit.sku for hit in search(connection, old, "lamp")} == {"SKU-0", "SKU-1"}
        assert "SKU-2" not in {hit.sku for hit in search(connection, old, "SKU-2")}


def test_groups_go_when_they_are_old_enough_and_no_product_is_left_of_them(node, publish, database):
    publish(product(0), group(1), variant(1, 1), group(2), variant(2, 2), group(3), variant(3, 3))
    publish(product(0), group(3))
    age_deletions(node)
    execute(node, "UPDATE products SET deleted_at = now() WHERE sku = 'SKU-2'")

    assert purge_products(database, 30) == NOTHING_PURGED | {"products": 2, "product_groups": 1}
    kept = [row["urn"].rpartition(":")[2] for row in node.rows("SELECT urn FROM product_groups ORDER BY urn")]
    assert kept == ["2", "3"]

    execute(node, "UPDATE product_groups SET deleted_at = now() WHERE urn LIKE '%2'")
    execute(node, "DELETE FROM products WHERE sku = 'SKU-2'")
    assert purge_products(database, 30) == NOTHING_PURGED
    age_deletions(node)
    assert purge_products(database, 30) == NOTHING_PURGED | {"product_groups": 1}


def test_a_purge_goes_in_batches_each_a_transaction_of_its_own(node, publish, database, monkeypatch):
    publish(product(0), *(variant(key, key) for key in range(1, 6)))
    publish(product(0))
    age_deletions(node)
    taken = []
    delete = unneeded.Unneeded.delete

    def watch(kind, connection, keys):
        taken.append((kind.table, len(keys), connection.exec_driver_sql("SELECT pg_current_xact_id()").scalar_one()))
        return delete(kind, connection, keys)

    monkeypatch.setattr(unneeded.Unneeded, "delete", watch)

    assert purge_products(database, 30, batch=2) == NOTHING_PURGED | {"products": 5, "product_groups": 5}
    assert [(table, number) for table, number, _ in taken] == [
        ("products", 2), ("products", 2), ("products", 1), ("product_groups", 2),
        ("products", 0), ("product_groups", 2), ("products", 0), ("product_groups", 1),
    ]  # fmt: skip
    assert len({transaction for *_, transaction in taken}) == 5


def test_a_dry_purge_counts_what_a_purge_removes(node, publish, database):
    publish(product(0), group(1), variant(1, 1), product(2))
    VectorHandler(database, node.settings, create=factory(HashEmbedder())).run()
    publish(product(0))
    age_deletions(node)
    execute(node, "INSERT INTO offers (product_id, ordinal, price, currency) SELECT id, 5, 1, 'EUR' FROM products "
                  "WHERE deleted_at IS NOT NULL LIMIT 1")  # fmt: skip
    before = everything(node)

    counted = purge_products(database, 30, dry_run=True)

    assert counted == {"products": 2, "offers": 1, "vectors": 2, "product_groups": 1, "skipped": 0}
    assert everything(node) == before
    assert purge_products(database, 30) == counted


def test_what_was_purged_comes_back_as_on_a_clean_node(node, folder, publish, database, orphans):
    lamps = [product(0), group(1), variant(1, 1), variant(2, 1, brand=FEED_BRAND), product(3, category="Bath > Taps")]
    publish(*lamps)
    publish(product(0))
    age_deletions(node)
    age(node, "categories", "created_at", "2 hours")
    assert purge_products(database, 30)["products"] == 3
    assert orphans(empty_categories=True)["categories"] == 2

    publish(*lamps)

    lived = node.snapshot()
    node.empty()
    assert node.run()["status"] == "success"
    assert lived == node.snapshot()


# --- beside ingestions ----------------------------------------------------------------------------------------------


def test_an_organization_that_is_being_merged_is_skipped_and_comes_next_time(node, database):
    folders = [FeedFolder(node.root / "a"), FeedFolder(node.root / "b", OTHER_ORGANIZATION)]
    node.configure(*({"name": f.path.name, "registry": f"{f.path.name}/registry.json"} for f in folders))
    for keys in (range(3), range(1)):
        for each in folders:
            each.publish([product(key, each.organization) for key in keys])
        node.start(accept_deletions=True)
    age_deletions(node)
    busy = node.value("SELECT id FROM organizations WHERE urn = :urn", urn=OTHER_ORGANIZATION)

    with locked(node, busy):
        assert purge_products(database, 30) == NOTHING_PURGED | {"products": 2, "skipped": 1}
    assert node.value("SELECT count(*) FROM products WHERE organization_id = :busy", busy=busy) == 3
    assert purge_products(database, 30) == NOTHING_PURGED | {"products": 2}


def test_a_merge_that_brings_products_back_keeps_them(node, publish, database, monkeypatch):
    lamps = [product(1), product(2), group(1), variant(3, 1)]
    publish(*lamps)
    publish(product(1))
    age_deletions(node)

    with merging(monkeypatch, lambda: publish(*lamps)):
        assert purge_products(database, 30) == NOTHING_PURGED | {"skipped": 1}

    assert purge_products(database, 30) == NOTHING_PURGED
    assert_as_clean(node)


def test_products_that_came_back_before_the_lock_was_had_are_kept(node, publish, database, monkeypatch):
    publish(product(1), product(2))
    publish(product(1))
    age_deletions(node)
    take = retention._try_lock

    def late(connection, organization_id):
        with ThreadPoolExecutor(1) as pool:
            pool.submit(publish, product(1), product(2)).result(30)
        return take(connection, organization_id)

    monkeypatch.setattr(retention, "_try_lock", late)

    assert purge_products(database, 30) == NOTHING_PURGED
    assert_as_clean(node)


def test_a_merge_that_comes_during_a_purge_waits_and_inserts_anew(node, publish, database, monkeypatch):
    lamps = [product(1), product(2), group(1), variant(3, 1)]
    publish(*lamps)
    publish(product(1))
    age_deletions(node)
    delete = unneeded.Unneeded.delete
    running = []

    with ThreadPoolExecutor(1) as pool:

        def slow(kind, connection, keys):
            if not running:
                running.append(pool.submit(publish, *lamps))
                wait_for_waiting(node)
            return delete(kind, connection, keys)

        monkeypatch.setattr(unneeded.Unneeded, "delete", slow)
        assert purge_products(database, 30) == NOTHING_PURGED | {"products": 2, "product_groups": 1}
        running[0].result(30)

    assert_as_clean(node)


def test_a_purge_waits_for_an_index_that_is_built_without_holding_up_a_merge(node, publish, database):
    publish(product(1), product(2))
    VectorHandler(database, node.settings, create=factory(HashEmbedder())).run()
    publish(product(1))
    age_deletions(node)

    with ThreadPoolExecutor(1) as pool:
        with database.transaction() as connection:
            connection.exec_driver_sql(f"LOCK TABLE {index_tables(node)[0]} IN SHARE MODE")  # as CREATE INDEX does
            purging = pool.submit(purge_products, database, 30)
            wait_for_waiting(node)
            publish(product(1, name="Chandelier"))
            assert not purging.done()
        assert purging.result(30) == NOTHING_PURGED | {"products": 1, "vectors": 1}


def test_cleaning_up_all_the_time_changes_nothing_for_readers(node, publish, database, orphans):
    """Products, groups, brands and categories come and go, all old enough to be removed between two publications."""
    lamps = [product(1), group(1), variant(2, 1, brand=FEED_BRAND), product(3, category="Bath > Taps")]
    stop = threading.Event()

    def clean() -> int:
        rounds = 0
        while not stop.is_set():
            purge_products(database, 0, batch=1)
            orphans(empty_categories=True, batch=1)
            rounds += 1
        return rounds

    with ThreadPoolExecutor(2) as pool:
        cleaning = [pool.submit(clean) for _ in range(2)]
        try:
            for _ in range(4):
                for items in ([product(1)], lamps):
                    age(node, "categories", "created_at", "2 hours")
                    publish(*items)
        finally:
            stop.set()
        assert all(each.result(60) for each in cleaning)
    assert_as_clean(node)


def assert_as_clean(node: Node) -> None:
    """The node is as one that ingested the last publication alone, and a full reading finds nothing to change."""
    lived = node.snapshot()
    node.empty()
    assert node.run()["status"] == "success"
    assert lived == node.snapshot()


def test_a_category_that_is_removed_before_the_merge_is_made_again(node, publish, orphans, monkeypatch):
    publish(product(1, category="Bath > Taps"))
    publish(product(1, category="Home"))
    age(node, "categories", "created_at", "2 hours")
    removed = []
    merge = feed.merge

    def after_a_clean_up(*arguments):
        if not removed:
            removed.append(orphans(empty_categories=True)["categories"])
        return merge(*arguments)

    monkeypatch.setattr(feed, "merge", after_a_clean_up)
    publish(product(1, category="Bath > Taps"))

    assert removed == [2]
    assert_as_clean(node)


def test_a_category_that_a_merge_is_linking_to_stays(node, publish, orphans, monkeypatch):
    publish(product(1, category="Bath > Taps"), product(2, category="Bath > Sinks"))
    publish(product(1, category="Home"), product(2, category="Home"))
    age(node, "categories", "created_at", "2 hours")

    with merging(monkeypatch, lambda: publish(product(1, category="Bath > Taps"), product(2, category="Home"))):
        assert orphans(empty_categories=True)["categories"] == 1

    assert paths(node) == ["Bath", "Bath > Taps", "Home", "things"]
    assert_as_clean(node)


def test_categories_that_somebody_asks_for_or_makes_a_child_of_stay(node, database, orphans):
    with database.transaction() as connection:
        categories.ensure(connection, ["Bath", "Garden", "Home"])
    age(node, "categories", "created_at", "2 hours")

    with database.transaction() as connection:
        categories.ensure(connection, ["Bath > Taps", "Garden"])
        assert orphans(empty_categories=True)["categories"] == 1

    assert paths(node) == ["Bath", "Bath > Taps", "Garden"]
    assert node.value("SELECT p.path FROM categories c JOIN categories p ON p.id = c.parent_id") == "Bath"


def test_a_category_that_is_being_removed_is_made_again_for_a_child(node, database):
    with database.transaction() as connection:
        categories.ensure(connection, ["Bath"])

    def ensure() -> None:
        with database.transaction() as connection:
            categories.ensure(connection, ["Bath > Taps"])

    with ThreadPoolExecutor(1) as pool:
        with database.transaction() as connection:
            connection.exec_driver_sql("DELETE FROM categories WHERE path = 'Bath'")
            ensuring = pool.submit(ensure)
            wait_for_waiting(node)
        ensuring.result(30)

    assert paths(node) == ["Bath", "Bath > Taps"]
    assert node.value("SELECT p.path FROM categories c JOIN categories p ON p.id = c.parent_id") == "Bath"


def test_a_brand_that_a_merge_has_just_made_stays(node, publish, orphans, monkeypatch):
    publish(product(1, brand=FEED_BRAND))
    publish(product(1))

    with merging(monkeypatch, lambda: publish(product(1, brand=FEED_BRAND))):
        assert orphans() == NOTHING_ORPHANED | {"skipped": 1}

    assert orphans() == NOTHING_ORPHANED
    assert_as_clean(node)


# --- orphans --------------------------------------------------------------------------------------------------------


def test_brands_go_when_not_even_a_deleted_product_or_a_group_refers_to_them(node, folder, publish, orphans):
    brands = {name: {"@type": "Brand", "name": name} for name in ("Deleted", "Grouped", "Live", "Unused")}
    publish(product(1), product(2, brand=brands["Deleted"]), product(3, brand=brands["Live"]),
            product(4, brand=brands["Unused"]), group(1, brand=brands["Grouped"]), variant(5, 1))  # fmt: skip
    publish(product(1), product(3, brand=brands["Live"]), product(4), group(1, brand=brands["Grouped"]), variant(5, 1))
    execute(node, """INSERT INTO brands (organization_id, origin, urn, name)
        SELECT id, origin, 'urn:' || origin, 'Mere ' || origin FROM organizations,
        unnest(ARRAY['retired', 'registry']) origin""")  # fmt: skip

    assert orphans(dry_run=True)["brands"] == 2
    assert orphans() == NOTHING_ORPHANED | {"brands": 2}
    assert names(node, "brands") == ["Acme", "Deleted", "Grouped", "Live", "Mere registry"]


def test_a_brand_that_left_the_registry_goes_with_its_last_product(node, folder, publish, orphans):
    publish(product(1))
    other = registry_brand("Other", f"{BRAND}0")
    folder.registry.write_text(json.dumps(organization_entry(brand=[other])))
    assert node.run()["status"] == "success"
    assert node.value("SELECT count(*) FROM brands WHERE origin = 'retired'") == 1
    assert orphans()["brands"] == 1
    assert node.value("SELECT count(*) FROM brands WHERE origin = 'retired'") == 0


def test_groups_go_when_they_are_stubs_or_deleted_and_no_product_is_left(node, publish, orphans):
    publish(product(0), group(1), variant(1, 1), group(2), variant(2, 2), group(3), variant(3, 9))
    publish(product(0), group(3), variant(3, 9))
    execute(node, "DELETE FROM products WHERE sku = 'SKU-1'")
    execute(node, "DELETE FROM offers WHERE product_id NOT IN (SELECT id FROM products)")

    assert orphans() == NOTHING_ORPHANED | {"product_groups": 1}
    assert [row["urn"][-1] for row in node.rows("SELECT urn FROM product_groups ORDER BY urn")] == ["2", "3", "9"]

    execute(node, "DELETE FROM offers")
    execute(node, "DELETE FROM products")
    assert orphans()["product_groups"] == 2
    assert [row["urn"][-1] for row in node.rows("SELECT urn FROM product_groups")] == ["3"]


def test_empty_categories_go_from_the_leaves_up_and_only_if_wanted(node, publish, orphans):
    publish(product(1, category="A > B > C > D"), product(2, category="A > E"), group(1, category="F > G"))
    publish(product(1, category="A > B"), product(3, category="H > I"), group(1, category="F > G"))
    publish(product(1, category="A > B"), group(1, category="F > G"))
    execute(node, "DELETE FROM products WHERE sku = 'SKU-2'")

    assert orphans(empty_categories=True)["categories"] == 0  # new
    age(node, "categories", "created_at", "59 minutes")
    assert orphans(empty_categories=True)["categories"] == 0
    age(node, "categories", "created_at", "2 minutes")
    assert orphans() == NOTHING_ORPHANED
    assert orphans(empty_categories=True, dry_run=True)["categories"] == 3
    assert orphans(empty_categories=True) == NOTHING_ORPHANED | {"categories": 3}
    assert paths(node) == ["A", "A > B", "F", "F > G", "H", "H > I", "things"]
    assert orphans(empty_categories=True) == NOTHING_ORPHANED


def test_a_new_category_keeps_the_old_ones_above_it(node, database, orphans):
    with database.transaction() as connection:
        categories.ensure(connection, ["A > B", "C"])
    age(node, "categories", "created_at", "2 hours")
    with database.transaction() as connection:
        categories.ensure(connection, ["A > B > D"])
    assert orphans(empty_categories=True)["categories"] == 1
    assert paths(node) == ["A", "A > B", "A > B > D"]


def test_empty_categories_go_in_batches_too(node, database, orphans):
    with database.transaction() as connection:
        categories.ensure(connection, ["A > B > C > D", "E > F"])
    age(node, "categories", "created_at", "2 hours")
    assert orphans(empty_categories=True, batch=2)["categories"] == 6
    assert paths(node) == []


def test_a_held_leaf_holds_what_is_above_it(node, database, orphans):
    with database.transaction() as connection:
        categories.ensure(connection, ["A > B", "C"])
    age(node, "categories", "created_at", "2 hours")
    with database.transaction() as connection:
        connection.exec_driver_sql("SELECT FROM categories WHERE path = 'A > B' FOR KEY SHARE")
        assert orphans(empty_categories=True)["categories"] == 1
    assert paths(node) == ["A", "A > B"]


def test_what_is_left_of_an_organization_that_is_gone_goes(node, folder, publish, database, orphans):
    publish(product(0), group(1), variant(1, 1), variant(2, 9))
    publish(product(0), group(1), variant(1, 1))
    VectorHandler(database, node.settings, create=factory(HashEmbedder())).run()
    execute(node, "DELETE FROM products WHERE sku = 'SKU-2'")
    execute(node, "DELETE FROM organizations")
    gone = NOTHING_ORPHANED | {"products": 2, "offers": 2, "vectors": 2, "product_groups": 2, "occurrences": 3}

    before = everything(node)
    assert orphans(dry_run=True) == gone
    assert everything(node) == before
    assert orphans(batch=2) == gone
    for table in ("products", "offers", "product_groups", "occurrences", "brands", *index_tables(node)):
        assert node.value(f"SELECT count(*) FROM {table}") == 0
    assert orphans() == NOTHING_ORPHANED


def test_offers_and_associations_of_what_is_gone_go(node, publish, orphans):
    publish(product(1), product(2))
    execute(node, "DELETE FROM products WHERE sku = 'SKU-2'")
    execute(node, "SET LOCAL session_replication_role = replica; DELETE FROM categories WHERE path = 'things'")

    gone = NOTHING_ORPHANED | {"offers": 1, "organization_categories": 1}
    assert orphans(dry_run=True) == gone
    assert orphans() == gone
    assert node.value("SELECT count(*) FROM offers") == 1


def test_staging_tables_of_runs_that_are_over_go(node, database, orphans):
    over = StagingTables(UUID(int=1))
    with ledger.opened(database, "acme", 60) as opened, runs.claimed(database, opened, None) as running:
        held = StagingTables(running.id)
        with database.transaction() as connection:
            over.create(connection)
            held.create(connection)

        assert orphans(dry_run=True) == NOTHING_ORPHANED | {"staging": 1}
        assert len(node.staging_tables()) == 10
        assert orphans() == NOTHING_ORPHANED | {"staging": 1}
        assert all(held.run_id.hex in name for name in node.staging_tables())

        runs.finish(database, running, "success", None)
        ledger.finish(database, opened, "success")


# --- the ledger -----------------------------------------------------------------------------------------------------


def start(node: Node, days: int, *organizations: int | None, ended: bool = True) -> UUID:
    """A start so many days ago, with a run of each organization."""
    identity = uuid4()
    times = {"start": identity, "days": days, "status": "success" if ended else "running", "ended": ended}
    when = "now() - make_interval(days => :days)"
    end = f"CASE WHEN :ended THEN {when} END"
    execute(node, f"""INSERT INTO starts (id, ingestor, status, worker, created_at, finished_at)
        VALUES (:start, 'acme', 'success', '-', {when}, {when})""", **times)  # fmt: skip
    for organization in organizations:
        execute(node, f"""INSERT INTO runs (id, start_id, ingestor, organization_id, status, created_at,
            finished_at) VALUES (:id, :start, 'acme', :organization, :status, {when}, {end})""",
            id=uuid4(), organization=organization, **times)  # fmt: skip
    return identity


def starts(node: Node) -> set[UUID]:
    return {row["id"] for row in node.rows("SELECT id FROM starts")}


@pytest.fixture
def organizations(node: Node) -> list[int]:
    for letter in "abc":
        execute(node, "INSERT INTO organizations (urn, ingestor, is_stub) VALUES (:urn, 'acme', true)", urn=letter)
    return [row["id"] for row in node.rows("SELECT id FROM organizations ORDER BY urn")]


def test_old_starts_go_but_for_the_latest_run_of_each_organization(node, database, organizations):
    a, b, c = organizations
    start(node, 50, a, b)
    start(node, 49, None)
    start(node, 48)
    latest_of_b = start(node, 40, a, b)
    young = start(node, 29, a)
    still_running = start(node, 45, c, ended=False)
    before = everything(node)

    expired = {"starts": 3, "runs": 3, "issues": 0}
    assert expire_ledger(database, run_retention_days=30, dry_run=True) == expired
    assert everything(node) == before
    assert expire_ledger(database, run_retention_days=30) == expired
    assert starts(node) == {latest_of_b, young, still_running}
    assert expire_ledger(database, run_retention_days=30) == NOTHING_EXPIRED


def test_the_ledger_keeps_what_ended_within_its_retention(node, database):
    kept, gone = start(node, 30), start(node, 30)
    execute(node, "UPDATE starts SET finished_at = finished_at + interval '1 minute' WHERE id = :id", id=kept)
    execute(node, "UPDATE starts SET finished_at = finished_at - interval '1 minute' WHERE id = :id", id=gone)
    unfinished = uuid4()
    execute(node, "INSERT INTO starts (id, ingestor, status) VALUES (:id, 'acme', 'queued')", id=unfinished)
    age(node, "starts", "created_at", "90 days")

    assert expire_ledger(database, run_retention_days=30) == NOTHING_EXPIRED | {"starts": 1}
    assert starts(node) == {kept, unfinished}


def test_the_ledger_expires_in_batches(node, database, organizations):
    for days in range(40, 47):
        start(node, days, organizations[0], None)
    assert expire_ledger(database, run_retention_days=30, batch=2) == {"starts": 6, "runs": 12, "issues": 0}
    assert node.value("SELECT count(*) FROM runs") == 2


def test_a_run_after_the_ledger_expired_goes_on_as_before(node, publish, database):
    publish(product(1))
    publish(product(1, name="Chandelier"))
    age(node, "starts", "finished_at", "31 days")
    age(node, "runs", "finished_at", "31 days")
    assert expire_ledger(database, run_retention_days=30) == {"starts": 1, "runs": 1, "issues": 0}
    publish(product(1))
    assert_as_clean(node)


def test_issues_of_ingestors_that_are_no_more_go_when_they_are_old(node, folder, publish, database):
    publish(product(1, category=5), {"@type": "Nothing"})
    folder.registry.write_bytes(b"[")
    node.configure({"name": "gone", "registry": "publisher/registry.json"})
    assert node.run()["status"] == "failed"
    own = len(node.issues(ingestor="acme"))
    assert own > 0
    assert node.codes(ingestor="gone") == ["registry-unreadable"]

    assert expire_ledger(database, run_retention_days=30)["issues"] == 0
    age(node, "issues", "created_at", "31 days")
    assert expire_ledger(database, run_retention_days=30, dry_run=True)["issues"] == 1
    assert expire_ledger(database, run_retention_days=30)["issues"] == 1
    assert len(node.issues()) == own


def test_issues_of_a_registry_stay_while_an_organization_or_a_feed_is_its_ingestors(node, database):
    execute(node, "INSERT INTO organizations (urn, ingestor, is_stub) VALUES ('a', 'registrar', true)")
    execute(node, "INSERT INTO feeds (organization_id, ingestor, source_type, path) "
                  "SELECT id, 'feeder', 'local', 'x' FROM organizations")  # fmt: skip
    execute(node, """INSERT INTO issues (ingestor, attempted, severity, code, path, message, count, created_at)
        SELECT ingestor, false, 'error', 'x', '', '', 1, now() - interval '31 days'
        FROM unnest(ARRAY['registrar', 'feeder', 'gone']) ingestor""")  # fmt: skip

    assert expire_ledger(database, run_retention_days=30)["issues"] == 1
    assert {issue["ingestor"] for issue in node.issues()} == {"registrar", "feeder"}


def test_issues_that_a_feed_keeps_from_its_former_ingestor_stay(node, publish, database):
    publish(product(1), {"@type": "Nothing"})
    execute(node, "UPDATE organizations SET ingestor = 'new'")
    execute(node, "UPDATE feeds SET ingestor = 'new'")
    age(node, "issues", "created_at", "31 days")
    kept = [issue["id"] for issue in node.issues() if issue["feed_id"] is not None]
    assert kept
    expire_ledger(database, run_retention_days=30)
    assert [issue["id"] for issue in node.issues()] == kept

"""What an ingestion does when nothing is wrong, and how little it does when little has changed."""

import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from app.ingestors.handlers import shards, staging
from app.ingestors.handlers.registry import RegistryHandler
from app.services import runs, starts
from tests.support.feeds import (
    ORGANIZATION,
    OTHER_ORGANIZATION,
    FeedFolder,
    Publication,
    Shard,
    encode,
    group,
    item_list,
    offer,
    organization_entry,
    product,
    product_urn,
    variant,
)
from tests.support.nodes import Node

SHARED = Path(__file__).parents[3] / "shared" / "data"
NOTHING = {"read": 0, "inserted": 0, "updated": 0, "unchanged": 0, "deleted": 0, "rejected": 0}


def verdicts(**counts: int) -> dict[str, int]:
    return NOTHING | counts


class Calls:
    """How often a function was called, which goes on doing what it does."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, module: Any, name: str) -> None:
        self._function: Callable[..., Any] = getattr(module, name)
        self.count = 0
        monkeypatch.setattr(module, name, self)

    def __call__(self, *arguments: Any) -> Any:
        self.count += 1
        return self._function(*arguments)


@pytest.fixture
def shards_parsed(monkeypatch: pytest.MonkeyPatch) -> Calls:
    return Calls(monkeypatch, staging, "read_shard")


@pytest.fixture
def items_parsed(monkeypatch: pytest.MonkeyPatch) -> Calls:
    return Calls(monkeypatch, shards, "parse_item")


# --- what is reported ----------------------------------------------------------------------------------------------


def test_a_first_ingestion_inserts_everything_and_says_so(node: Node, folder: FeedFolder) -> None:
    two = [offer(), offer(price=12, priceCurrency="USD")]
    folder.publish([group(1), variant(1, 1, offers=two), variant(2, 1)], [product(3), product(4, name=None)])
    run = node.run()
    assert run["status"] == "success"
    assert (run["ingestor"], run["organization"], run["error"]) == ("acme", ORGANIZATION, None)
    assert run["registry"]["organizations"] == {"read": 1, "inserted": 1, "updated": 0, "unchanged": 0}
    assert run["registry"]["brands"] == verdicts(read=1, inserted=1)
    assert run["feed"] == {
        "shards": {"read": 2, "unchanged": 0, "failed": 0},
        "product_groups": verdicts(read=1, inserted=1),
        "products": verdicts(read=4, inserted=3, rejected=1),
        "offers": verdicts(read=4, inserted=4),
    }
    assert run["vector"] == {}
    assert run["issues"]["error"] == 1
    assert run["timings"].keys() == {"registry", "feed", "staging", "merge"}
    assert node.rows("SELECT name, is_stub, ingestor FROM organizations") == [
        {"name": "Acme", "is_stub": False, "ingestor": "acme"}
    ]
    assert node.rows("SELECT path, depth FROM categories ORDER BY path") == [
        {"path": "Home", "depth": 0}, {"path": "Home > Lamps", "depth": 1}, {"path": "things", "depth": 0},
    ]  # fmt: skip


def test_what_was_ingested_is_what_was_published(node: Node, folder: FeedFolder) -> None:
    properties = [{"name": "colour", "value": {"hue": [1, 2.50]}}]
    published = variant(1, 7, mpn="M-1", gtin13="0021200977169", additionalProperty=properties)
    folder.publish([published, group(7)])
    node.run()
    [row] = node.snapshot()["products"]
    expected = {
        "urn": product_urn(1), "sku": "SKU-1", "name": "Lamp 1", "description": "A lamp, number 1",
        "url": "https://acme.example/p/1", "image": "https://acme.example/i/1.jpg", "brand_name": "Acme",
        "gtins": ["0021200977169"], "mpn": "M-1", "raw": published, "brand": "Acme", "brand_origin": "registry",
        "category": "Home > Lamps",
    }  # fmt: skip
    assert {name: row[name] for name in expected} == expected
    [stored] = node.snapshot()["offers"]
    assert (stored["price"], stored["currency"], stored["availability"]) == (Decimal("10.5"), "EUR", "InStock")


def test_the_same_again_changes_nothing_and_parses_nothing(
    node: Node, folder: FeedFolder, shards_parsed: Calls, items_parsed: Calls
) -> None:
    folder.publish([group(1), variant(1, 1)], [product(2), product(3, name=None)])
    node.run()
    before = node.snapshot()
    assert (shards_parsed.count, items_parsed.count) == (2, 4)
    run = node.run()
    assert (shards_parsed.count, items_parsed.count) == (2, 4)
    assert run["registry"]["organizations"]["unchanged"] == 1
    assert run["feed"] == {
        "shards": {"read": 0, "unchanged": 2, "failed": 0},
        "product_groups": verdicts(read=1, unchanged=1),
        "products": verdicts(read=3, unchanged=2, rejected=1),
        "offers": verdicts(read=2, unchanged=2),
    }
    assert node.snapshot() == before
    assert node.value("SELECT revision FROM feeds") == 1


def test_only_what_changed_in_a_changed_shard_is_parsed(
    node: Node, folder: FeedFolder, shards_parsed: Calls, items_parsed: Calls
) -> None:
    first, second = [product(key) for key in range(10)], [product(key) for key in range(10, 20)]
    folder.publish(first, second)
    node.run()
    stamps = node.rows("SELECT id, urn, updated_at FROM products ORDER BY id")
    shards_parsed.count = items_parsed.count = 0

    folder.publish([*first[:5], product(5, name="Changed"), *first[6:]], second)
    run = node.run()

    assert (shards_parsed.count, items_parsed.count) == (1, 1)
    assert run["feed"]["shards"] == {"read": 1, "unchanged": 1, "failed": 0}
    assert run["feed"]["products"] == verdicts(read=20, updated=1, unchanged=19)
    assert run["feed"]["offers"] == verdicts(read=20, unchanged=20)
    changed = [row["urn"] for row in stamps if row not in node.rows("SELECT id, urn, updated_at FROM products")]
    assert changed == [product_urn(5)]


def test_moved_items_are_not_parsed_again_within_their_shard(
    node: Node, folder: FeedFolder, items_parsed: Calls
) -> None:
    folder.publish([product(1), product(2), product(3)])
    node.run()
    items_parsed.count = 0
    folder.publish([product(4), product(3), product(1), product(2)])
    run = node.run()
    assert items_parsed.count == 1
    assert run["feed"]["products"] == verdicts(read=4, inserted=1, unchanged=3)
    positions = {row["urn"].rpartition(":")[2]: row["position"] for row in node.snapshot()["occurrences"]}
    assert positions == {"4": 1, "3": 2, "1": 3, "2": 4}


def test_removed_and_returned_products(node: Node, folder: FeedFolder) -> None:
    folder.publish([product(1), product(2, offers=[offer(), offer()])], [product(3)])
    node.run()
    identity = node.value("SELECT id FROM products WHERE urn = :urn", urn=product_urn(2))
    folder.publish([product(1)])
    run = node.run()
    assert run["feed"]["products"] == verdicts(read=1, unchanged=1, deleted=2)
    assert run["feed"]["offers"] == verdicts(read=1, unchanged=1, deleted=3)
    assert node.products() == {"1": "Lamp 1"}
    assert node.value("SELECT count(*) FROM products WHERE deleted_at IS NOT NULL") == 2
    folder.publish([product(1), product(2, offers=[offer(), offer()])])
    run = node.run()
    assert run["feed"]["products"] == verdicts(read=2, inserted=1, unchanged=1)
    assert run["feed"]["offers"] == verdicts(read=3, inserted=2, unchanged=1)
    assert node.value("SELECT id FROM products WHERE urn = :urn", urn=product_urn(2)) == identity


def test_a_price_change_is_no_change_of_text(node: Node, folder: FeedFolder) -> None:
    folder.publish([product(1), product(2)])
    node.run()
    before = node.snapshot()["products"]
    folder.publish([product(1, offers=offer(price=9)), product(2)])
    run = node.run()
    assert run["feed"]["products"] == verdicts(read=2, updated=1, unchanged=1)
    assert run["feed"]["offers"] == verdicts(read=2, updated=1, unchanged=1)
    after = node.snapshot()
    assert [row["price"] for row in after["offers"]] == [Decimal(9), Decimal("10.5")]
    assert [row["text_hash"] for row in after["products"]] == [row["text_hash"] for row in before]
    assert [row["content_hash"] != old["content_hash"] for row, old in zip(after["products"], before, strict=True)] == [
        True, False,
    ]  # fmt: skip


def test_a_change_of_layout_alone_updates_nothing(node: Node, folder: FeedFolder) -> None:
    folder.publish([product(1), group(1)])
    node.run()
    stamps = node.rows("SELECT updated_at FROM products")
    folder.write(Publication([Shard("a.json", [product(1), group(1)], style=3)]))
    run = node.run()
    assert run["feed"]["shards"]["read"] == 1
    assert run["feed"]["products"] == verdicts(read=1, unchanged=1)
    assert run["feed"]["product_groups"] == verdicts(read=1, unchanged=1)
    assert node.rows("SELECT updated_at FROM products") == stamps


def test_what_is_wrong_with_the_index_alone_is_told_and_taken_back(
    node: Node, folder: FeedFolder, shards_parsed: Calls
) -> None:
    folder.publish([product(1)])
    node.run()
    told = node.codes(shard=None)
    for spelling in (f"{ORGANIZATION} ", ORGANIZATION.upper()):
        folder.publish([product(1)], totalShards=7, orgid=spelling)
        assert node.run()["status"] == "success"
        assert node.codes(code="total-shards-mismatch") == ["total-shards-mismatch"]
        [issue] = node.issues(code="orgid-spelling")
        assert issue["value"] == spelling.strip()
    folder.publish([product(1)])
    node.run()
    assert node.codes(shard=None) == told
    assert shards_parsed.count == 1


def test_a_changed_registry_entry_reads_its_feed_again(node: Node, folder: FeedFolder, items_parsed: Calls) -> None:
    listed = [Shard("a.json", [product(1, brand={"name": "Bolt"}), product(2)])]
    folder.write(Publication(listed))
    node.run()
    assert [row["brand_origin"] for row in node.snapshot()["products"]] == ["feed", "registry"]
    items_parsed.count = 0
    bolt = {"name": "Bolt", "identifier": {"value": f"{ORGANIZATION}:brand:bolt"}}
    folder.write(Publication(listed, registry=organization_entry(brand=[bolt])))
    run = node.run()
    assert items_parsed.count == 2
    assert run["registry"]["organizations"]["updated"] == 1
    assert run["registry"]["brands"] == verdicts(read=1, inserted=1, deleted=1)
    assert run["feed"]["products"] == verdicts(read=2, updated=2)
    found = node.snapshot()["products"]
    assert [(row["brand"], row["brand_origin"]) for row in found] == [("Bolt", "registry"), ("Acme", "feed")]


def test_full_reads_everything_again_and_repairs(
    node: Node, folder: FeedFolder, shards_parsed: Calls, items_parsed: Calls
) -> None:
    folder.publish([product(1), product(2)], [product(3)])
    node.run()
    before = node.snapshot()
    with node.database.transaction() as connection:
        connection.exec_driver_sql("UPDATE products SET content_hash = '' WHERE sku = 'SKU-1'")
        connection.exec_driver_sql("UPDATE products SET name = '?' WHERE sku = 'SKU-1'")
        connection.exec_driver_sql("DELETE FROM occurrences WHERE position = 2")
    assert node.run()["feed"]["products"] == verdicts(read=3, unchanged=3)
    shards_parsed.count = items_parsed.count = 0
    run = node.run(full=True)
    assert (shards_parsed.count, items_parsed.count) == (2, 3)
    assert run["feed"]["shards"] == {"read": 2, "unchanged": 0, "failed": 0}
    assert run["feed"]["products"] == verdicts(read=3, updated=1, unchanged=2)
    assert node.snapshot() == before


# --- dry runs ------------------------------------------------------------------------------------------------------


def test_a_dry_run_tells_all_and_stores_nothing(node: Node, folder: FeedFolder) -> None:
    folder.publish([group(1), variant(1, 1), product(2)], [product(3), product(4, name=None)])
    told = node.run(dry_run=True)
    for table in ("organizations", "feeds", "products", "offers", "issues", "categories", "brands", "starts", "runs"):
        assert node.value(f"SELECT count(*) FROM {table}") == 0, table
    assert node.staging_tables() == []
    done = node.run()
    assert told["status"] == done["status"] == "success"
    assert (told["registry"], told["feed"], told["issues"]) == (done["registry"], done["feed"], done["issues"])


def test_a_dry_run_of_a_change_leaves_the_catalogue_as_it_is(node: Node, folder: FeedFolder) -> None:
    folder.publish([product(1), product(2)], [product(3)])
    node.run()
    before, runs = node.snapshot(), node.value("SELECT count(*) FROM runs")
    folder.publish([product(1, name="Changed")], [product(3), product(4)])
    run = node.run(dry_run=True)
    assert run["feed"]["products"] == verdicts(read=3, inserted=1, updated=1, unchanged=1, deleted=1)
    assert node.snapshot() == before
    assert node.value("SELECT count(*) FROM runs") == runs


def test_a_dry_run_of_a_broken_feed_fails_and_stores_nothing(node: Node, folder: FeedFolder) -> None:
    folder.publish([product(1)], b"{")
    run = node.run(dry_run=True)
    assert run["status"] == "failed"
    assert "b.json: is truncated (at byte 1)" in run["error"]
    assert node.value("SELECT count(*) FROM issues") == 0


# --- several organizations -----------------------------------------------------------------------------------------

THIRD_ORGANIZATION = "urn:cmp:org:third.example"


@pytest.fixture
def mall(tmp_path: Path) -> Path:
    """A registry of three organizations, each with a feed in a folder of its own."""
    organizations = (ORGANIZATION, OTHER_ORGANIZATION, THIRD_ORGANIZATION)
    entries = []
    for number, urn in enumerate(organizations, 1):
        FeedFolder(tmp_path / "mall" / str(number), urn).publish([product(number, urn)])
        feed = {"@type": "DataFeed", "url": f"{number}/feed/index.json"}
        entries.append(organization_entry(urn, name=f"Brand {number}", productFeed=feed))
    registry = tmp_path / "mall" / "registry.json"
    registry.write_bytes(encode(entries))
    return registry.parent


def test_one_broken_brand_does_not_stop_the_others(node: Node, mall: Path) -> None:
    node.configure({"name": "mall", "registry": "mall/registry.json"})
    (mall / "2" / "feed" / "a.json").write_bytes(b"{")
    report = node.start()
    assert report["status"] == "failed"
    statuses = {run["organization"]: run["status"] for run in report["runs"]}
    assert statuses == {ORGANIZATION: "success", OTHER_ORGANIZATION: "failed", THIRD_ORGANIZATION: "success"}
    assert node.products().keys() == {"1", "3"}
    assert node.value("SELECT status FROM starts") == "failed"
    assert sorted(row["status"] for row in node.rows("SELECT status FROM runs")) == ["failed", "success", "success"]
    (mall / "2" / "feed" / "a.json").write_bytes(encode(item_list(product(2, OTHER_ORGANIZATION))))
    assert node.start()["status"] == "success"
    assert node.products().keys() == {"1", "2", "3"}


def test_a_dry_run_of_several_organizations(node: Node, mall: Path) -> None:
    node.configure({"name": "mall", "registry": "mall/registry.json"})
    report = node.start(dry_run=True)
    assert [(run["status"], run["error"]) for run in report["runs"]] == [("success", None)] * 3
    assert [run["feed"]["products"]["inserted"] for run in report["runs"]] == [1, 1, 1]
    assert node.value("SELECT count(*) FROM organizations") == 0


# --- where the feed is ---------------------------------------------------------------------------------------------


def test_a_feed_that_moves_keeps_its_products(node: Node, folder: FeedFolder, tmp_path: Path) -> None:
    folder.publish([product(1), product(2)], [product(3)])
    node.run()
    rows = node.rows("SELECT id, urn, updated_at FROM products ORDER BY id")
    folder.path.rename(tmp_path / "moved")
    node.configure({"name": "acme", "registry": "moved/registry.json"})
    run = node.run()
    assert run["status"] == "success"
    assert run["feed"]["products"] == verdicts(read=3, unchanged=3)
    assert node.rows("SELECT id, urn, updated_at FROM products ORDER BY id") == rows
    assert node.rows("SELECT path FROM feeds") == [{"path": str(tmp_path / "moved" / "feed" / "index.json")}]


def test_a_feed_without_a_registry_makes_its_organization_a_stub(node: Node, folder: FeedFolder) -> None:
    node.configure({"name": "feeder", "feed_path": "publisher/feed/index.json"})
    folder.publish([product(1, brand={"name": "Acme"})])
    run = node.run()
    assert run["status"] == "success"
    assert run["organization"] == ORGANIZATION
    stub = "SELECT urn, ingestor, is_stub, name FROM organizations"
    assert node.rows(stub) == [{"urn": ORGANIZATION, "ingestor": "feeder", "is_stub": True, "name": None}]
    assert node.products() == {"1": "Lamp 1"}

    node.configure({"name": "acme", "registry": "publisher/registry.json"})
    assert node.run()["status"] == "success"
    assert node.rows(stub) == [{"urn": ORGANIZATION, "ingestor": "acme", "is_stub": False, "name": "Acme"}]
    assert node.products() == {"1": "Lamp 1"}


def test_a_feed_that_says_nobodys_name_needs_a_registry(node: Node, folder: FeedFolder) -> None:
    node.configure({"name": "feeder", "feed_path": "publisher/feed/a.json"})
    folder.publish([product(1)])
    run = node.run()
    assert run["status"] == "failed"
    assert "a.json does not say whose feed it is" in run["error"]
    node.configure({"name": "feeder", "feed_path": "publisher/feed/a.json", "registry": "publisher/registry.json"})
    assert node.run()["status"] == "success"
    assert node.products() == {"1": "Lamp 1"}
    assert "feed-is-shard" in node.codes()


def test_a_feed_alone_of_a_registry_nobody_read_is_an_error(node: Node, folder: FeedFolder) -> None:
    folder.publish([product(1)])
    report = node.start(steps=("feed",))
    assert report["status"] == "failed"
    assert "'acme'" in str(report["runs"][0]["error"])
    assert node.start(steps=("registry",))["status"] == "success"
    assert node.start(steps=("feed",))["status"] == "success"
    assert node.products() == {"1": "Lamp 1"}


def test_the_promised_ways_in(node: Node, folder: FeedFolder) -> None:
    folder.publish([product(1)])
    registry, feed = "publisher/registry.json", "publisher/feed/index.json"
    node.configure({"name": "acme", "registry": registry, "feed_path": feed, "schedule": "0 4 * * *"})
    assert node.manager.get_ingestors() == [
        {"name": "acme", "source_type": "local", "registry": registry, "feed_path": feed, "schedule": "0 4 * * *"}
    ]
    report = node.manager.ingest_registry("local", registry)
    assert (report["status"], report["runs"][0]["ingestor"], report["runs"][0]["feed"]) == ("success", "acme", {})
    assert node.products() == {}
    report = node.manager.ingest_feed("local", feed)
    assert (report["status"], report["runs"][0]["organization"]) == ("success", ORGANIZATION)
    assert node.products() == {"1": "Lamp 1"}


# --- real catalogues -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def spec() -> Path:
    path = SHARED / "cmp-spec"
    if not path.is_dir():
        pytest.skip("the specification's examples are not on this machine")
    return path


def test_the_specifications_own_examples_ingest_whole(node: Node, spec: Path) -> None:
    feed = spec / "product-feed-example.jsonld"
    node.configure({"name": "spec", "registry": str(spec / "brand-registry-example.jsonld"), "feed_path": str(feed)})
    run = node.run()
    assert run["status"] == "success", run["error"]
    items = [element["item"] for element in json.loads(feed.read_text())["itemListElement"]]
    products = {item["@id"] for item in items if item["@type"] == "Product"}
    groups = {item["@id"] for item in items if item["@type"] == "ProductGroup"}
    assert products
    stored = node.rows("SELECT urn FROM products WHERE deleted_at IS NULL")
    assert {row["urn"] for row in stored} == products
    stored = node.rows("SELECT urn FROM product_groups WHERE deleted_at IS NULL AND NOT is_stub")
    assert {row["urn"] for row in stored} == groups
    assert node.codes(severity="error") == []


@pytest.mark.parametrize("name", ["registry-brands.json", "registry-example-brands.json"])
def test_the_specifications_registries_ingest(node: Node, spec: Path, name: str) -> None:
    node.configure({"name": "spec", "registry": str(spec / name)})
    report = node.start(steps=("registry",))
    assert report["status"] == "success", report["runs"]
    document = json.loads((spec / name).read_text())
    listed = document if isinstance(document, list) else [document]
    assert node.value("SELECT count(*) FROM organizations WHERE NOT is_stub") == len(listed)


def test_a_dry_run_and_a_run_do_not_wait_for_each_others_end(node: Node, folder: FeedFolder) -> None:
    folder.publish([product(1)])
    node.run()
    organization = node.value("SELECT id FROM organizations")
    with starts.opened(node.database, "acme", 60) as start, runs.claimed(node.database, start, organization) as running:
        assert node.run(dry_run=True)["status"] == "success"
        runs.finish(node.database, running, "success", None)
        starts.finish(node.database, start, "success")


def test_a_dry_run_may_take_longer_than_a_lease(node: Node, folder: FeedFolder) -> None:
    node.settings = node.settings.model_copy(update={"lease_seconds": 0})
    node.configure({"name": "acme", "registry": "publisher/registry.json"})
    folder.publish([product(1)])
    assert node.run(dry_run=True)["feed"]["products"]["inserted"] == 1


def test_another_ingestor_does_not_get_at_a_feed_by_its_path(node: Node, folder: FeedFolder) -> None:
    path = "publisher/feed/index.json"
    folder.publish([product(1)])
    own = {"name": "acme", "registry": "publisher/registry.json", "feed_path": path}
    node.configure(own)
    node.run()
    node.configure(own, {"name": "thief", "feed_path": path})
    folder.publish([product(1), product(2)], orgid=None)
    report = node.run("thief")
    assert report["status"] == "failed"
    assert "registered by the ingestor 'acme'" in report["error"]
    assert node.value("SELECT count(*) FROM products") == 1


def test_a_start_that_is_interrupted_is_failed(node: Node, folder: FeedFolder, monkeypatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    folder.publish([product(1)])
    monkeypatch.setattr(RegistryHandler, "ingest", interrupt)
    with pytest.raises(KeyboardInterrupt):
        node.run()
    assert node.value("SELECT status FROM starts") == "failed"


def test_a_malformed_registrys_error_is_counted(node: Node, folder: FeedFolder) -> None:
    folder.publish([product(1)])
    (folder.path / "registry.json").write_text("{")
    report = node.run()
    assert (report["status"], report["issues"]) == ("failed", {"error": 1, "warning": 0})


def test_an_organization_that_left_its_registry_is_told_of(node: Node, folder: FeedFolder) -> None:
    folder.publish([product(1)])
    node.run()
    other = organization_entry(OTHER_ORGANIZATION)
    (folder.path / "registry.json").write_text(json.dumps(other))
    node.start()
    (issue,) = node.issues(code="organization-unlisted")
    assert issue["value"] == ORGANIZATION


def test_a_feed_path_leaves_the_registrys_other_organizations_a_run(node: Node, folder: FeedFolder) -> None:
    folder.publish([product(1)])
    both = [organization_entry(), organization_entry(OTHER_ORGANIZATION)]
    (folder.path / "registry.json").write_text(json.dumps(both))
    node.configure({"name": "acme", "registry": "publisher/registry.json", "feed_path": "publisher/feed/index.json"})
    reports = {report["organization"]: report for report in node.start()["runs"]}
    assert reports[ORGANIZATION]["feed"]["products"]["inserted"] == 1
    assert reports[OTHER_ORGANIZATION]["feed"] == {}
    assert reports[OTHER_ORGANIZATION]["registry"]["organizations"]["inserted"] == 1

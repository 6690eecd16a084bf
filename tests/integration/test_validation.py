"""The linter: it finds what an ingestion would, in one file or many, and stores nothing."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.cmp.issues import Issue
from app.ingestors import validation
from app.ingestors.base import SourceError
from app.ingestors.validation import ValidationReport, validate
from tests.support.feeds import (
    ORGANIZATION,
    OTHER_ORGANIZATION,
    FeedFolder,
    encode,
    group,
    group_urn,
    item_list,
    offer,
    organization_entry,
    product,
    product_urn,
    variant,
)
from tests.support.nodes import Node

Write = Callable[..., ValidationReport]


@pytest.fixture
def lint(tmp_path: Path) -> Write:
    """Lints a document: bytes, or what is written as JSON."""

    def lint(document: Any, name: str = "document.json") -> ValidationReport:
        path = tmp_path / name
        path.write_bytes(document if isinstance(document, bytes) else encode(document))
        return validate(str(path))

    return lint


def codes(report: ValidationReport) -> list[str]:
    return [issue.code for issue in report.issues]


def only(report: ValidationReport, code: str) -> Issue:
    """The one issue of that code."""
    [issue] = [issue for issue in report.issues if issue.code == code]
    return issue


def test_a_clean_feed_is_valid(folder: FeedFolder) -> None:
    folder.publish([group(1), variant(1, of=1)], [product(2, offers=[offer(), offer(price=11)])])
    report = validate(str(folder.index))
    assert report.valid
    assert report.kind == "feed"
    assert codes(report) == ["shard-url-relative"]
    counts = report.counts
    assert (counts.shards, counts.products, counts.product_groups, counts.offers) == (2, 2, 1, 3)
    assert (counts.rejected, counts.errors, counts.warnings) == (0, 0, 1)


@pytest.mark.parametrize(
    ("document", "kind"),
    [
        (organization_entry(), "registry"),
        ([organization_entry()], "registry"),
        ([{"@type": "cmp:DiscoveryNode"}, organization_entry()], "registry"),
        ({"@graph": [organization_entry()]}, "registry"),
        (item_list(product(1)), "shard"),
        ([product(1)], "shard"),
        (product(1), "shard"),
        ([], "shard"),
        ({"@type": "ProductFeedIndex", "shards": []}, "feed"),
        ({"version": "1.0", "shards": []}, "feed"),
        ({"some": "thing"}, "unknown"),
        (b"", "unknown"),
    ],
)
def test_documents_are_told_apart_by_content(lint: Write, document: Any, kind: str) -> None:
    assert lint(document).kind == kind


def test_a_registry_tells_what_is_wrong_with_its_entries(lint: Write) -> None:
    nameless = organization_entry(OTHER_ORGANIZATION, name=...)
    report = lint([organization_entry(logo=...), nameless, 5])
    assert not report.valid
    assert report.counts.organizations == 1
    assert report.counts.rejected == 2
    assert only(report, "organization-without-name").position == 2
    assert only(report, "entry-unusable").position == 3
    assert only(report, "organization-field-missing").path == "logo"


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b'{"@type": "ItemList", "itemListElement": [{"item" 1}]}', "shard-unreadable"),
        (b'{"@type": "ProductFeedIndex", "shards": [{"url": ', "index-unreadable"),
        (b'[{"@type": "Organization", "name": "Acme",,}]', "registry-unreadable"),
        (b'{"shards": [{"nothing": 1}]}', "index-unreadable"),
        (b"<html></html>", "shard-unreadable"),
        (b"\x1f\x8b\x08\x00broken", "shard-unreadable"),
    ],
)
def test_an_unreadable_document_is_one_error(lint: Write, content: bytes, code: str) -> None:
    report = lint(content)
    assert codes(report) == [code]
    assert not report.valid


def test_the_error_of_a_document_names_the_byte(lint: Write) -> None:
    content = b'[{"@type": "Product", "name" 1}]'
    [issue] = lint(content).issues
    assert f"(at byte {content.index(b'1')})" in issue.message


def test_each_broken_shard_is_told_and_the_others_are_read(folder: FeedFolder) -> None:
    folder.publish([product(1)], b'[{"@type": ', [product(2)], [product(3)])
    folder.shard("d.json").unlink()
    report = validate(str(folder.index))
    assert [(issue.code, issue.shard) for issue in report.issues if issue.severity == "error"] == [
        ("shard-unreadable", "b.json"),
        ("shard-missing", "d.json"),
    ]
    assert "(at byte " in only(report, "shard-unreadable").message
    assert report.counts.products == 2


def test_a_large_broken_shard_is_one_error(folder: FeedFolder) -> None:
    big = encode([product(1, description="x" * 9_000_000)])
    folder.publish(big[:-1] + b",")
    report = validate(str(folder.index))
    assert f"(at byte {len(big)})" in only(report, "shard-unreadable").message


def test_a_shard_outside_the_folder_is_not_read(folder: FeedFolder) -> None:
    folder.publish([product(1)], shards=[{"url": "../registry.json"}])
    assert only(validate(str(folder.index)), "path-outside").shard == "../registry.json"


def test_shards_that_are_listed_by_url_are_found_beside_the_index(folder: FeedFolder) -> None:
    urls = ["https://acme.example/.well-known/cmp/a.json", "https://acme.example/cmp/b.json"]
    folder.publish([product(1)], shards=[{"url": url} for url in urls], totalShards=2)
    report = validate(str(folder.index))
    assert report.counts.products == 1
    assert codes(report) == ["shard-missing"]
    assert only(report, "shard-missing").shard == urls[1]


def test_items_are_placed_by_shard_position_and_field(folder: FeedFolder) -> None:
    folder.publish([product(1)], [product(2), product(3, offers=offer(price="abc")), product(4, name=...)])
    report = validate(str(folder.index))
    price, name = only(report, "price-unusable"), only(report, "name-missing")
    assert (price.shard, price.position, price.path, price.value) == ("b.json", 2, "offers.price", "abc")
    assert (name.shard, name.position) == ("b.json", 3)
    assert (report.counts.products, report.counts.rejected) == (3, 1)
    assert (report.counts.offers, report.counts.offers_rejected) == (2, 1)
    assert not report.valid


def test_errors_come_first(folder: FeedFolder) -> None:
    folder.publish([product(1, category=...), product(2, name=...)])
    found = [issue.severity.value for issue in validate(str(folder.index)).issues]
    assert found == sorted(found)
    assert found[0] == "error"


def test_foreign_urns_are_those_of_another_organization_than_the_index_names(folder: FeedFolder) -> None:
    items = [product(1), product(2, id=product_urn(2, OTHER_ORGANIZATION))]
    folder.publish(items)
    assert only(validate(str(folder.index)), "foreign-urn").position == 2
    folder.publish(items, orgid=None)
    assert "foreign-urn" not in codes(validate(str(folder.index)))


def test_every_superseded_urn_is_told_with_its_successor(folder: FeedFolder) -> None:
    folder.publish([product(1), product(2)], [product(1), product(3)], [product(1)])
    told = [issue for issue in validate(str(folder.index)).issues if issue.code == "duplicate-urn"]
    assert [(issue.shard, issue.position) for issue in told] == [("a.json", 1), ("b.json", 1)]
    urn = product_urn(1)
    assert told[0].message == f"{urn} stands in a.json at 1 and again in c.json at 1: the last one counts"


def test_a_repeated_sku_is_told_once_and_not_for_superseded_products(folder: FeedFolder) -> None:
    folder.publish([product(1, sku="S"), product(4, sku="S")], [product(2, sku="S"), product(3, sku="S"), product(4)])
    issue = only(validate(str(folder.index)), "duplicate-sku")
    assert issue.message == f"SKU S is that of {product_urn(1)} and of {product_urn(2)}: both are kept"
    assert (issue.shard, issue.position, issue.value) == ("b.json", 1, "S")


def test_a_group_may_stand_in_any_shard(folder: FeedFolder) -> None:
    folder.publish([variant(1, of=1), variant(2, of=2), variant(3, of=2)], [group(1)])
    issue = only(validate(str(folder.index)), "group-missing")
    assert (issue.value, issue.shard, issue.position) == (group_urn(2), "a.json", 2)


def test_compressed_documents_are_read(lint: Write) -> None:
    report = lint(gzip.compress(encode(item_list(product(1)))), "shard.json.gz")
    assert report.valid
    assert report.counts.products == 1


def test_a_missing_file_is_no_finding(tmp_path: Path) -> None:
    with pytest.raises(SourceError):
        validate(str(tmp_path / "nowhere.json"))


def test_what_is_not_listed_is_counted(lint: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validation, "MAX_ERRORS", 3)
    monkeypatch.setattr(validation, "MAX_PER_WARNING", 2)
    report = lint([*(product(n, name=...) for n in range(5)), *(product(n, sku=...) for n in range(10, 14))])
    assert codes(report) == ["name-missing"] * 3 + ["feed-is-shard"] + ["sku-missing"] * 2
    assert (report.counts.errors, report.counts.warnings, report.counts.unlisted) == (5, 5, 4)
    assert report.totals["sku-missing"] == 4


def test_the_document_holds_what_was_promised(folder: FeedFolder) -> None:
    folder.publish([product(1, offers=offer(price="abc"))])
    document = json.loads(json.dumps(validate(str(folder.index)).as_dict()))
    assert list(document) == ["valid", "counts", "issues"]
    assert document["issues"][0] == {
        "severity": "error",
        "code": "price-unusable",
        "shard": "a.json",
        "position": 1,
        "path": "offers.price",
        "message": document["issues"][0]["message"],
        "value": "abc",
        "hint": document["issues"][0]["hint"],
    }
    assert document["issues"][0]["hint"]


def test_an_ingestion_finds_the_same(folder: FeedFolder, node: Node) -> None:
    node.configure({"name": "feed", "feed_path": "publisher/feed/index.json"})
    folder.publish(
        [
            product(1),
            product(2, sku="SKU-1"),
            variant(3, of=1),
            product(4, name=...),
            product(1, offers=offer(price=-1)),
        ],
        [product(5, id=product_urn(5, OTHER_ORGANIZATION), category=...), variant(6, of=2), group(2), 7],
        totalShards=3,
    )
    node.run()
    stored = {(issue["code"], issue["severity"]) for issue in node.issues()}
    report = validate(str(folder.index))
    assert {(issue.code, issue.severity.value) for issue in report.issues} == stored
    told = {issue["code"]: issue["message"] for issue in node.issues(shard=None)}
    for code in ("duplicate-urn", "duplicate-sku", "group-missing"):
        assert only(report, code).message == told[code]
    assert ORGANIZATION in told["group-missing"]

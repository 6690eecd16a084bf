"""What bad input gets: an item, a shard or a registry that is wrong harms nothing but itself, and is told in full."""

import gzip
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import zstandard

from app.ingestors.handlers import shards
from tests.support.feeds import (
    BRAND,
    ORGANIZATION,
    OTHER_ORGANIZATION,
    FeedFolder,
    Publication,
    Shard,
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

GOOD = encode(item_list(product(2)))
DEEP = b'{"@type": "ItemList", "itemListElement": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
LATIN_16 = GOOD.decode().encode("utf-16")


# --- shards that cannot be read ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "told"),
    [
        pytest.param(b"hello", "b.json: is not JSON: invalid character (at byte 0)", id="not JSON"),
        pytest.param(b"", "b.json: is empty (at byte 0)", id="empty"),
        pytest.param(GOOD[:-9], f"b.json: is truncated (at byte {len(GOOD) - 9})", id="truncated"),
        pytest.param(GOOD + b"]", f"b.json: is not JSON: trailing characters (at byte {len(GOOD)})", id="too long"),
        pytest.param(b"<html></html>", "b.json: is HTML or XML, not JSON (at byte 0)", id="a web page"),
        pytest.param(LATIN_16, "b.json: is UTF-16, not UTF-8 (at byte 0)", id="wrong encoding"),
        pytest.param(DEEP, "b.json: is nested more than 512 deep (at byte ", id="nested"),
        pytest.param(b'{"@type": "Person"}', "b.json: is neither a list of items nor an item", id="something else"),
        pytest.param(gzip.compress(GOOD)[:-12], "b.json: the compressed data is damaged", id="truncated gzip"),
        pytest.param(b"\x1f\x8bnonsense", "b.json: the compressed data is damaged", id="damaged gzip"),
        pytest.param(zstandard.compress(GOOD)[:-5], "b.json: the compressed data is damaged", id="truncated zstd"),
    ],
)
def test_an_unreadable_shard_stops_the_publication_and_a_good_one_repairs_all(
    node: Node, folder: FeedFolder, content: bytes, told: str
) -> None:
    folder.publish([product(1), product(9)], [product(2)])
    node.run()

    folder.publish([product(1, name="Renamed"), product(3, name=None)], content)
    run = node.run()

    assert run["status"] == "failed"
    assert told in run["error"]
    assert "The catalogue stays as it was" in run["error"]
    assert run["feed"]["shards"] == {"read": 1, "unchanged": 0, "failed": 1}
    assert node.products() == {"1": "Lamp 1", "2": "Lamp 2", "9": "Lamp 9"}
    [unreadable] = node.issues(attempted=True, code="shard-unreadable")
    assert (unreadable["shard"], unreadable["severity"]) == ("b.json", "error")
    assert told.partition(": ")[2] in unreadable["message"]
    # The other shard was read, and what is wrong in it is told as well.
    assert node.codes(attempted=True, shard="a.json") == ["name-missing"]
    assert node.staging_tables() == []

    folder.publish([product(1, name="Renamed"), product(3)], [product(2)])
    assert node.run()["status"] == "success"
    assert node.products() == {"1": "Renamed", "2": "Lamp 2", "3": "Lamp 3"}
    assert node.issues(attempted=True) == []


def test_every_unreadable_shard_is_listed(node: Node, folder: FeedFolder) -> None:
    folder.publish(*[b"[" * number for number in range(1, 7)])
    run = node.run()
    assert run["status"] == "failed"
    assert "a.json: is truncated (at byte 1)" in run["error"]
    assert "c.json: is truncated (at byte 3)" in run["error"]
    assert "and 3 more" in run["error"]
    assert [row["shard"] for row in node.issues(code="shard-unreadable")] == [f"{letter}.json" for letter in "abcdef"]


def test_a_string_of_100_mb_fails_its_shard(node: Node, folder: FeedFolder) -> None:
    folder.publish([product(1)], [product(2)])
    node.run()
    head = b'[{"@type": "Product", "sku": "2", "name": '
    folder.shard("b.json").write_bytes(head + b'"' + b"x" * 100_000_000 + b'"}]')
    run = node.run()
    assert run["status"] == "failed"
    assert (
        f"b.json: item 1 takes 100000044 bytes, the limit is 16777216 bytes (MAX_ITEM_BYTES) (at byte {len(head)})"
        in run["error"]
    )
    assert node.products() == {"1": "Lamp 1", "2": "Lamp 2"}


def test_a_missing_shard_fails_the_run(node: Node, folder: FeedFolder) -> None:
    folder.publish([product(1)], [product(2)])
    node.run()
    folder.publish([product(1, name="Renamed")], [product(2)])
    folder.shard("b.json").unlink()
    run = node.run()
    assert run["status"] == "failed"
    assert "b.json: No such file or directory" in run["error"]
    assert node.codes(attempted=True, shard="b.json") == ["shard-missing"]
    assert node.products() == {"1": "Lamp 1", "2": "Lamp 2"}


@pytest.mark.parametrize("reference", ["../outside.json", "file:///etc/hostname", "/etc/hostname", "link.json"])
def test_a_shard_outside_the_feeds_folder_is_not_read(node: Node, folder: FeedFolder, reference: str) -> None:
    folder.publish([product(1)])
    outside = folder.path / "outside.json"
    outside.write_bytes(encode(item_list(product(2))))
    folder.shard("link.json").symlink_to(outside)
    folder.index.write_bytes(encode({"orgid": ORGANIZATION, "shards": ["a.json", reference]}))
    run = node.run()
    assert run["status"] == "failed"
    assert "lies outside its folder" in run["error"]
    assert node.codes(attempted=True, shard=reference) == ["path-outside"]
    assert node.products() == {}


@pytest.mark.parametrize(
    ("index", "told"),
    [
        (b"{", "index.json: is truncated (at byte 1)"),
        (b'{"shards": 5}', "index.json: lists no shards: `shards` is not a list (at byte 11)"),
        (b'{"shards": [{"lastUpdated": 1}]}', "index.json: shard entry 1 has no URL (at byte 12)"),
        (b'{"shards": [5]}', "index.json: shard entry 1 is neither an object nor a string (at byte 12)"),
        (b'{"hello": 1}', "index.json: is neither a feed index nor a list of items (at byte 0)"),
        (b"[" * 100_000, "index.json: is "),
    ],
)
def test_an_unreadable_index_stops_the_publication(node: Node, folder: FeedFolder, index: bytes, told: str) -> None:
    folder.publish([product(1)])
    node.run()
    folder.index.write_bytes(index)
    run = node.run()
    assert run["status"] == "failed"
    assert told in run["error"]
    assert node.codes(attempted=True) == ["index-unreadable"]
    assert node.products() == {"1": "Lamp 1"}


@pytest.mark.parametrize(
    "pack",
    [
        pytest.param(gzip.compress, id="gzip"),
        pytest.param(zstandard.compress, id="zstd"),
        pytest.param(lambda data: b"\xef\xbb\xbf" + data, id="byte order mark"),
        pytest.param(lambda data: gzip.compress(data[:50]) + gzip.compress(data[50:]), id="gzip in two members"),
        pytest.param(lambda data: b"\n \t" + data + b"\n\n", id="space around"),
    ],
)
def test_packed_documents_are_read(node: Node, folder: FeedFolder, pack: Any) -> None:
    folder.publish(pack(encode(item_list(product(1), product(2)))))
    folder.index.write_bytes(pack(folder.index.read_bytes()))
    folder.registry.write_bytes(pack(folder.registry.read_bytes()))
    assert node.run()["status"] == "success"
    assert node.products() == {"1": "Lamp 1", "2": "Lamp 2"}


# --- items ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("item", "code"),
    [
        (b"5", "item-not-object"),
        (b'"text"', "item-not-object"),
        (b"null", "item-not-object"),
        (b"[]", "item-not-object"),
        (b"{}", "type-unknown"),
        (encode(product(2, type="Person")), "type-unknown"),
        (encode(product(2, type=7)), "type-unknown"),
        (encode(product(2, name=...)), "name-missing"),
        (encode(product(2, name="  ")), "name-missing"),
        (encode(product(2, name="\u202e\u0007")), "name-missing"),
        (encode(product(2, name=["a"])), "name-wrong-type"),
        (encode(product(2, id=..., sku=...)), "identity-missing"),
        (encode(product(2, id=5, sku={})), "identity-wrong-type"),
        (encode(product(2, id="urn:cmp:sku:" + "x" * 3000)), "urn-too-long"),
        (encode(product(2)).replace(b'"Lamp 2"', b'"\\u12"'), "shard-unreadable"),
        (b'{"@type": "Product", "sku": "2", "name": "x", "a": ' + b"[" * 500 + b"]" * 500 + b"}", None),
        (b'{"@type": "Product", "sku": "2", "name": "x", "a": [' + b"1," * 600_000 + b"1]}", "item-too-large"),
    ],
    ids=lambda value: value[:50].decode() if isinstance(value, bytes) else str(value),
)
def test_an_unusable_item_is_rejected_and_its_neighbours_land(
    node: Node, folder: FeedFolder, item: bytes, code: str | None
) -> None:
    folder.publish(b"[" + encode(product(1)) + b", " + item + b", " + encode(product(3)) + b"]")
    run = node.run()
    if code == "shard-unreadable":
        assert run["status"] == "failed"
        assert "a.json: is not JSON: invalid character in unicode escape (at byte " in run["error"]
        return
    assert run["status"] == "success", run["error"]
    assert {"1", "3"} <= node.products().keys()
    if code is None:
        assert len(node.products()) == 3
        return
    [issue] = node.issues(severity="error")
    assert (issue["code"], issue["shard"], issue["position"]) == (code, "a.json", 2)
    assert run["feed"]["products"] == {
        "read": 3, "inserted": 2, "updated": 0, "unchanged": 0, "deleted": 0, "rejected": 1,
    }  # fmt: skip
    assert run["issues"]["error"] == 1


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("description", {"a": 1}), ("description", 5), ("category", 7), ("category", [1, 2]), ("brand", 5),
        ("brand", [[]]), ("url", []), ("image", {"a": 1}), ("image", [[]]), ("mpn", {}), ("gtin", {}), ("gtin", True),
        ("isVariantOf", 5), ("isVariantOf", {"@id": {}}), ("sku", {}), ("additionalProperty", 5),
        ("@cmp:media", "x"), ("@context", 5), ("offers", "free"), ("offers", [[]]),
    ],
)  # fmt: skip
def test_an_optional_field_of_a_wrong_type_costs_the_field_alone(
    node: Node, folder: FeedFolder, member: str, value: Any
) -> None:
    folder.publish([product(1), product(2) | {member: value}, product(3)])
    run = node.run()
    assert run["status"] == "success", run["error"]
    assert node.products().keys() == {"1", "2", "3"}


PRICES: list[tuple[str, str, str | None]] = [
    ('"1,299.00"', "USD", "1299.00"),
    ('"299.99"', "USD", "299.99"),
    ('"$12"', "USD", "12"),
    ("0.1", "USD", "0.1"),
    ("19.99", "USD", "19.99"),
    ("123456789012.345678", "USD", "123456789012.345678"),
    ("0", "USD", "0"),
    ("1e2", "USD", "100"),
    ("null", "USD", None),
    ("NaN", "USD", None),
    ("Infinity", "USD", None),
    ('"NaN"', "USD", None),
    ("1e400", "USD", None),
    ("1e-400", "USD", None),
    ("-5", "USD", None),
    ('"-5"', "USD", None),
    ("true", "USD", None),
    ("[]", "USD", None),
    ('"1,299"', "USD", None),
    ('"twelve"', "USD", None),
    ('"€12"', "USD", None),
    ("0.1234567", "USD", None),
    ("9" * 400, "USD", None),
    ("12", "US Dollar", None),
    ("12", "", None),
]


def test_a_price_is_exact_or_there_is_no_offer(node: Node, folder: FeedFolder) -> None:
    listed = [
        encode(product(number, offers=offer(price="PRICE", priceCurrency=currency))).replace(b'"PRICE"', text.encode())
        for number, (text, currency, _) in enumerate(PRICES)
    ]
    folder.publish(b"[" + b", ".join(listed) + b"]")
    run = node.run()
    assert run["status"] == "success"
    assert run["feed"]["products"]["inserted"] == len(PRICES)
    stored = {row["urn"]: row["price"] for row in node.snapshot()["offers"]}
    for number, (text, currency, price) in enumerate(PRICES):
        assert stored.get(product_urn(number)) == (price and Decimal(price)), f"{text} {currency}"
    refused = [number + 1 for number, (_, _, price) in enumerate(PRICES) if price is None]
    assert [row["position"] for row in node.issues(severity="error")] == refused
    assert run["feed"]["offers"] == {
        "read": len(PRICES), "inserted": len(PRICES) - len(refused), "updated": 0, "unchanged": 0, "deleted": 0,
        "rejected": len(refused),
    }  # fmt: skip


def test_texts_are_cleaned_and_cut_and_never_fail_a_transaction(node: Node, folder: FeedFolder) -> None:
    listed = [
        encode(product(1, name="a\u0000b", description="\ud800\u202eevil", mpn="\u0000")),
        encode(product(2)).replace(b"Lamp 2", b"Lamp \xff\xfe2"),
        encode(product(3, sku="s" * 3000, category=" > ".join(["deep" * 50] * 20), mpn="m" * 3000)),
        encode(product(4, description="d" * 10_000_000, name="n" * 5000)),
        encode(product(5, offers=offer(priceValidUntil="300000-01-01", inventoryLevel={"value": 10**30}))),
        encode(product(6, brand={"name": "b" * 3000, "identifier": {"value": "urn:" + "u" * 3000}})),
        encode(product(7, url="https://acme.example/" + "u" * 3000, image="javascript:alert(1)")),
        encode(product(8, isVariantOf={"@id": "urn:cmp:" + "g" * 3000})),
        encode(product(9, brand={"identifier": {"value": "urn:cmp:brand:nameless"}})),
        encode(product(10, gtin=["1" * 13] * 1000, category="\U0001f4a1" * 1000, offers=[{}] * 40_000)),
        encode(product(11, category="> > >", brand={"name": "\u0000"}, sku="\ud83d")),
        encode(product(12, category="C" * 3000)),
        encode(group(1, variesBy=["v" * 3000] * 500, productGroupID="g" * 3000, name="\u0000G")),
    ]
    folder.publish(b"[" + b", ".join(listed) + b"]")
    run = node.run()
    assert run["status"] == "success", run["error"]
    found = {row["urn"].rpartition(":")[2]: row for row in node.snapshot()["products"]}
    assert found.keys() == {str(number) for number in range(1, 13)}
    assert (found["1"]["name"], found["1"]["description"], found["1"]["mpn"]) == ("ab", "\ufffdevil", None)
    assert found["2"]["name"] == "Lamp \ufffd\ufffd2"
    assert found["3"]["sku"] == "s" * 512
    assert len(found["3"]["category"]) <= 1024
    assert len(found["4"]["description"]) == 64 * 1024
    assert len(found["4"]["name"]) == 1024
    assert (found["7"]["url"], found["7"]["image"]) == (None, None)
    assert found["8"]["group_urn"] is None
    assert (found["9"]["brand_name"], found["9"]["brand"]) == (None, None)
    assert found["12"]["category"] == "C" * 1024
    [fifth] = [row for row in node.snapshot()["offers"] if row["urn"] == product_urn(5)]
    assert (fifth["valid_until"], fifth["inventory"], fifth["price"]) == (None, None, Decimal("10.5"))
    assert node.value("SELECT offers FROM occurrences WHERE position = 10") == 40_000
    codes = set(node.codes(shard="a.json"))
    assert {
        "text-cleaned", "invalid-utf8", "text-cut", "valid-until-unusable", "inventory-unusable", "url-unusable",
        "reference-unusable", "too-many-offers", "too-many-values",
    } <= codes  # fmt: skip
    before = node.snapshot()
    assert node.run(full=True)["status"] == "success"
    assert node.snapshot() == before


# --- duplicates and groups -----------------------------------------------------------------------------------------


def test_the_last_of_the_same_urn_wins_and_both_places_are_named(node: Node, folder: FeedFolder) -> None:
    folder.publish([product(1, name="First"), product(1, name="Second")], [product(2)], [product(1, name="Third")])
    run = node.run()
    assert node.products() == {"1": "Third", "2": "Lamp 2"}
    assert run["feed"]["products"]["inserted"] == 2
    [issue] = node.issues(code="duplicate-urn")
    assert (issue["severity"], issue["count"]) == ("warning", 2)
    places = [(place["shard"], place["position"], place["winner_shard"]) for place in issue["places"]]
    assert places == [("a.json", 1, "c.json"), ("a.json", 2, "c.json")]


def test_a_duplicate_in_an_unchanged_shard_takes_over_when_the_winner_goes(node: Node, folder: FeedFolder) -> None:
    folder.publish([product(1, name="First"), product(2)], [product(1, name="Second"), product(3)])
    node.run()
    assert node.products()["1"] == "Second"
    folder.publish([product(1, name="First"), product(2)], [product(3)])
    run = node.run()
    assert node.products() == {"1": "First", "2": "Lamp 2", "3": "Lamp 3"}
    assert run["feed"]["products"]["updated"] == 1
    assert run["feed"]["products"]["deleted"] == 0
    assert node.codes(code="duplicate-urn") == []


def test_shards_that_change_places_alone_change_the_winner(node: Node, folder: FeedFolder) -> None:
    shards = [Shard("a.json", [product(1, name="First")]), Shard("b.json", [product(1, name="Second")])]
    folder.write(Publication(shards))
    node.run()
    assert node.products() == {"1": "Second"}
    folder.write(Publication(shards[::-1]))
    run = node.run()
    assert node.products() == {"1": "First"}
    assert run["feed"]["products"]["updated"] == 1
    [issue] = node.issues(code="duplicate-urn")
    assert [place["shard"] for place in issue["places"]] == ["b.json"]


def test_the_same_sku_under_two_urns_is_a_warning_and_both_stay(node: Node, folder: FeedFolder) -> None:
    folder.publish([product(1, sku="S")], [product(2, sku="S")])
    node.run()
    assert node.products().keys() == {"1", "2"}
    [issue] = node.issues(code="duplicate-sku")
    assert (issue["severity"], issue["places"]) == ("warning", [{"sku": "S", "urns": [product_urn(1), product_urn(2)]}])


@pytest.mark.parametrize(
    "shards",
    [
        [[variant(1, 7), group(7)]],
        [[variant(1, 7)], [group(7)]],
        [[group(7)], [variant(1, 7)]],
    ],
)
def test_variants_find_their_group_wherever_it_stands(node: Node, folder: FeedFolder, shards: list[Any]) -> None:
    folder.publish(*shards)
    node.run()
    snapshot = node.snapshot()
    assert [(row["urn"], row["is_stub"], row["name"]) for row in snapshot["groups"]] == [
        (group_urn(7), False, "Lamps 7")
    ]
    assert [row["group_urn"] for row in snapshot["products"]] == [group_urn(7)]
    assert node.codes(code="group-missing") == []


def test_a_group_that_is_missing_or_removed_is_a_stub_until_nothing_names_it(node: Node, folder: FeedFolder) -> None:
    def groups() -> list[tuple[str, bool]]:
        return [(row["name"], row["is_stub"]) for row in node.snapshot()["groups"]]

    folder.publish([variant(1, 7)])
    node.run()
    assert groups() == [(None, True)]
    assert len(node.issues(code="group-missing")) == 1
    folder.publish([variant(1, 7)], [group(7)])
    assert node.run()["feed"]["product_groups"]["inserted"] == 1
    assert groups() == [("Lamps 7", False)]
    folder.publish([variant(1, 7)], [])
    assert node.run()["feed"]["product_groups"]["deleted"] == 1
    assert groups() == [(None, True)]
    assert node.snapshot()["products"][0]["group_urn"] == group_urn(7)
    folder.publish([product(1)], [])
    node.run()
    assert groups() == []


# --- whose is it ---------------------------------------------------------------------------------------------------


@pytest.fixture
def other(tmp_path: Path) -> FeedFolder:
    """Another publisher's folder."""
    return FeedFolder(tmp_path / "other", OTHER_ORGANIZATION)


@pytest.fixture
def two(node: Node, other: FeedFolder) -> Node:
    """A node with an ingestor for each of two publishers."""
    node.configure({"name": "acme", "registry": "publisher/registry.json"},
                   {"name": "other", "registry": "other/registry.json"})  # fmt: skip
    return node


def test_a_feed_of_another_organization_is_an_error_and_no_change(
    two: Node, folder: FeedFolder, other: FeedFolder
) -> None:
    folder.publish([product(1)])
    other.publish([product(1, OTHER_ORGANIZATION)])
    assert two.start()["status"] == "success"
    before = two.snapshot(), two.snapshot(OTHER_ORGANIZATION)

    folder.publish([product(1, name="Stolen"), product(1, OTHER_ORGANIZATION, name="Stolen")], orgid=OTHER_ORGANIZATION)
    run = two.run("acme")

    assert run["status"] == "failed"
    assert f"The feed is that of {OTHER_ORGANIZATION}, and was listed as that of {ORGANIZATION}" in run["error"]
    assert two.codes(attempted=True) == ["foreign-feed"] or "foreign-feed" in two.codes(attempted=True)
    assert two.snapshot()["products"] == before[0]["products"]
    assert two.snapshot(OTHER_ORGANIZATION) == before[1]


def test_the_two_spellings_of_an_organization_are_one(node: Node, folder: FeedFolder) -> None:
    folder.publish([product(1)], orgid=ORGANIZATION.replace(":org:", ":orgid:"))
    assert node.run()["status"] == "success"
    assert node.products() == {"1": "Lamp 1"}


def test_an_item_with_anothers_urn_stays_with_its_publisher_and_changes_nothing_else(
    two: Node, folder: FeedFolder, other: FeedFolder
) -> None:
    other.publish([product(1, OTHER_ORGANIZATION), product(2, OTHER_ORGANIZATION)])
    folder.publish([product(1)])
    two.start()
    theirs = two.snapshot(OTHER_ORGANIZATION)

    folder.publish([product(1), product(1, OTHER_ORGANIZATION, name="Fake", brand={"name": "Acme"})])
    run = two.run("acme")

    assert run["status"] == "success"
    assert two.snapshot(OTHER_ORGANIZATION) == theirs
    owned = [(row["urn"], row["name"]) for row in two.snapshot()["products"]]
    assert owned == sorted([(product_urn(1, OTHER_ORGANIZATION), "Fake"), (product_urn(1), "Lamp 1")])
    [issue] = two.issues(code="foreign-urn")
    assert (issue["severity"], issue["shard"], issue["position"]) == ("warning", "a.json", 2)

    folder.publish([product(1)])
    two.run("acme")
    assert two.snapshot(OTHER_ORGANIZATION) == theirs


def test_a_second_ingestor_of_an_organization_is_refused(two: Node, folder: FeedFolder, other: FeedFolder) -> None:
    folder.publish([product(1)])
    two.run("acme")
    before = two.snapshot()
    stolen = organization_entry(ORGANIZATION, name="Thief", brand=[])
    other.write(Publication([Shard("a.json", [product(1, name="Stolen")])], registry=stolen))
    run = two.run("other")
    assert run["status"] == "failed"
    assert f"{ORGANIZATION} is registered by the ingestor 'acme', which owns it" in run["error"]
    assert two.snapshot() == before
    [issue] = two.issues(code="foreign-organization")
    assert (issue["ingestor"], issue["severity"]) == ("other", "error")


def test_a_feed_without_a_registry_cannot_take_anothers_organization(
    node: Node, folder: FeedFolder, tmp_path: Path
) -> None:
    node.configure({"name": "acme", "registry": "publisher/registry.json"},
                   {"name": "thief", "feed_path": "thief/feed/index.json"})  # fmt: skip
    folder.publish([product(1)])
    node.run("acme")
    before = node.snapshot()
    FeedFolder(tmp_path / "thief").publish([product(1, name="Stolen")])
    run = node.run("thief")
    assert run["status"] == "failed"
    assert "is registered by the ingestor 'acme'" in run["error"]
    assert node.snapshot() == before


# --- registries ----------------------------------------------------------------------------------------------------


def test_a_known_registry_that_cannot_be_reached_leaves_the_run_degraded(node: Node, folder: FeedFolder) -> None:
    folder.publish([product(1)])
    node.run()
    folder.publish([product(1, name="Renamed")])
    folder.registry.unlink()
    run = node.run()
    assert run["status"] == "degraded"
    assert run["organization"] == ORGANIZATION
    assert "registry.json: No such file or directory" in run["error"]
    assert node.products() == {"1": "Renamed"}
    assert node.value("SELECT status FROM starts ORDER BY created_at DESC LIMIT 1") == "degraded"


def test_an_unknown_registry_that_cannot_be_reached_fails_and_names_the_field(node: Node, folder: FeedFolder) -> None:
    folder.publish([product(1)])
    folder.registry.unlink()
    run = node.run()
    assert run["status"] == "failed"
    assert "ingestor 'acme', field registry: publisher/registry.json: No such file or directory" in run["error"]
    assert node.products() == {}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"{", "registry.json: is truncated (at byte 1)"),
        (b"nope", "registry.json: is not JSON: invalid character (at byte 1)"),
        (b"[" * 100_000 + b"]" * 100_000, "registry.json: is nested more than 512 deep"),
        (encode({"@type": "Person"}), "registry.json: holds no organization"),
        (gzip.compress(encode(organization_entry()))[:-9], "registry.json: the compressed data is damaged"),
    ],
)
def test_a_malformed_registry_stops_the_run(node: Node, folder: FeedFolder, content: bytes, told: str) -> None:
    folder.publish([product(1)])
    node.run()
    before = node.snapshot()
    folder.publish([product(1, name="Renamed")])
    folder.registry.write_bytes(content)
    run = node.run()
    assert run["status"] == "failed", run["error"]
    assert told in run["error"]
    assert {**node.snapshot(), "issues": None} == {**before, "issues": None}
    assert "registry-unreadable" in node.codes(severity="error")
    folder.publish([product(1, name="Renamed")])
    assert node.run()["status"] == "success"
    assert node.codes(severity="error") == []
    assert node.products() == {"1": "Renamed"}


def test_hostile_registry_entries_are_told_and_the_good_one_lands(node: Node, folder: FeedFolder) -> None:
    entries = [
        5,
        {"@type": "cmp:DiscoveryNode"},
        organization_entry(OTHER_ORGANIZATION, name=...),
        organization_entry(identifier=..., url=...),
        organization_entry(
            ORGANIZATION, description="\u0000" + "d" * 10_000_000, sameAs=["javascript:x", "https://\ud800.example"],
            brand=[{"name": "b" * 3000}, 5, {"name": "\u0000"}, {"name": "Acme", "identifier": {"value": BRAND}}],
            category=["c" * 3000, "\u0000", 5],
        ),
    ]  # fmt: skip
    folder.write(Publication([Shard("a.json", [product(1)])], registry=entries))
    run = node.run()
    assert run["status"] == "success", run["error"]
    assert node.products() == {"1": "Lamp 1"}
    errors = [(row["position"], row["code"]) for row in node.issues(severity="error")]
    assert errors == [(1, "entry-unusable"), (3, "organization-without-name"), (4, "organization-without-identity")]
    assert node.rows("SELECT length(description) AS n FROM organizations") == [{"n": 64 * 1024}]


def test_what_is_told_can_be_printed_as_json(node: Node, folder: FeedFolder) -> None:
    folder.publish(encode([product(1, name="\ud800\u0000\u202e", sku="\udfff", brand=5), {"@type": "\u0000\ud800"}]))
    report = node.start()
    assert json.loads(json.dumps(report)) == report
    for issue in node.issues():
        assert "\0" not in f"{issue['message']}{issue['value']}"


def test_errors_beyond_a_shards_limit_are_summed_up(node: Node, folder: FeedFolder, monkeypatch) -> None:
    monkeypatch.setattr(shards, "MAX_ERRORS", 5)
    folder.publish([product(1), *range(30)])
    report = node.run()
    assert report["feed"]["products"]["rejected"] == 30
    assert report["issues"]["error"] == 30
    told = node.issues(code="item-not-object")
    assert [issue["count"] for issue in told] == [1] * 5 + [25]
    assert len(told[-1]["places"]) == 20

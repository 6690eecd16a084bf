import json
import random
import subprocess
import sys
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import uuid5

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.cmp import limits
from app.cmp.issues import CODES, Severity
from app.cmp.items import GroupItem, ItemContext, Offer, ParsedItem, ProductItem, RejectedItem, decode_item, parse_item
from app.cmp.recipe import RECIPE
from app.cmp.urns import NAMESPACE, fits
from tests.unit.cmp.samples import (
    BRAND,
    CONTEXT,
    GROUP,
    ORGANIZATION,
    PRODUCT,
    codes,
    encode,
    group,
    offer,
    parsed,
    parsed_product,
    product,
)


def test_a_clean_product() -> None:
    result = parsed(PRODUCT)
    assert result.kind == "product"
    assert result.issues == []
    item = result.item
    assert isinstance(item, ProductItem)
    assert item.urn == PRODUCT["@id"]
    assert (item.sku, item.name, item.mpn) == ("554656", "3M FR330 Gray", "FR330")
    assert (item.brand_name, item.brand_urn) == ("3M", BRAND)
    assert item.category == "Office > Furniture > Footrests"
    assert item.group_urn == "urn:cmp:product:FR"
    assert item.gtins == ["0021200977169"]
    assert (item.url, item.image) == ("https://3m.example/p/554656", "https://3m.example/i/554656.jpg")
    until = datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC)
    assert item.offers == [Offer(Decimal("60.95"), "USD", "InStock", 10, until, None)]
    assert (item.offers_read, item.offers_rejected) == (1, 0)
    assert len(item.content_hash) == len(item.text_hash) == 16


def test_a_clean_group() -> None:
    result = parsed(GROUP)
    assert result.kind == "group"
    assert result.issues == []
    item = result.item
    assert isinstance(item, GroupItem)
    assert (item.urn, item.group_id, item.name) == ("urn:cmp:product:FR", "FR", "Footrests")
    assert item.varies_by == ["Color", "Size"]
    assert item.brand_urn == BRAND


LONG = "x" * 3000

REJECTED: list[tuple[Any, str]] = [
    (5, "item-not-object"),
    ([], "item-not-object"),
    (None, "item-not-object"),
    (b"{", "item-unreadable"),
    (b"", "item-unreadable"),
    (b"\x00\x01", "item-unreadable"),
    (b'{"a":' * 100_000, "item-too-deep"),
    ({}, "type-unknown"),
    (product(type=...), "type-unknown"),
    (product(type="Offer"), "type-unknown"),
    (product(type=["Thing", 5]), "type-unknown"),
    (product(name=...), "name-missing"),
    (product(name=None), "name-missing"),
    (product(name=" \u0000 "), "name-missing"),
    (product(name=5), "name-wrong-type"),
    (product(name=["x"]), "name-wrong-type"),
    (product(name={}), "name-wrong-type"),
    (product(id=..., sku=...), "identity-missing"),
    (product(id="", sku=""), "identity-missing"),
    (product(id="#product", sku=...), "identity-missing"),
    (product(id=5, sku=...), "identity-wrong-type"),
    (product(id=..., sku=["a"]), "identity-wrong-type"),
    (product(id=..., sku=True), "identity-wrong-type"),
    (product(id=f"urn:cmp:sku:{LONG}"), "urn-too-long"),
    (group(id=..., productGroupID=...), "identity-missing"),
    (group(name=...), "name-missing"),
]


@pytest.mark.parametrize(("item", "code"), REJECTED)
def test_what_is_rejected(item: Any, code: str) -> None:
    result = parse_item(item if isinstance(item, bytes) else encode(item), CONTEXT)
    assert isinstance(result, RejectedItem)
    assert result.kind is None
    assert result.issues[-1].code == code
    assert result.issues[-1].severity is Severity.ERROR


WARNED: list[tuple[dict[str, Any], list[str], dict[str, Any]]] = [
    (product(type=["Thing", "Product"]), [], {}),
    (product(type="schema:Product"), [], {}),
    (product(type="https://schema.org/Product"), [], {}),
    (product(id=...), ["urn-derived"], {"urn": PRODUCT["@id"]}),
    (product(id="#product"), ["urn-derived"], {"urn": PRODUCT["@id"]}),
    (product(id=5), ["wrong-type", "urn-derived"], {"urn": PRODUCT["@id"]}),
    (product(id="https://3m.example/p/1"), ["id-not-urn"], {"urn": "https://3m.example/p/1"}),
    (product(id=f" {PRODUCT['@id']} "), [], {"urn": PRODUCT["@id"]}),
    (product(id="urn:cmp:sku:other.example:1"), ["foreign-urn"], {"urn": "urn:cmp:sku:other.example:1"}),
    (product(id="urn:cmp:sku:3m.example:1"), [], {}),
    (product(id="urn:cmp:sku:3m.example:<b>1</b>"), ["urn-derived"], {"urn": PRODUCT["@id"]}),
    (product(id="https://3m.example/<b>1"), ["urn-derived"], {"urn": PRODUCT["@id"]}),
    (
        product(id="urn:cmp:sku:3m.example:\u200b1\U000e0041"),
        ["text-cleaned"],
        {"urn": "urn:cmp:sku:3m.example:1"},
    ),
    (product(id="urn:cmp:sku:ACME:1"), [], {}),
    (product(sku=...), ["sku-missing"], {"sku": None}),
    (product(sku=554656), ["sku-number"], {"sku": "554656"}),
    (product(sku=55.50), ["sku-number"], {"sku": "55.5"}),
    (product(id=..., sku=554656), ["sku-number", "urn-derived"], {"urn": PRODUCT["@id"]}),
    (product(sku=[]), ["wrong-type", "sku-missing"], {"sku": None}),
    (product(sku=LONG), ["text-cut"], {"sku": LONG[: limits.MAX_SKU_BYTES]}),
    (product(name={"@value": "Name", "@language": "en"}), [], {"name": "Name"}),
    (product(name=" a\u0000b\u202e "), ["text-cleaned"], {"name": "ab"}),
    (product(name=LONG), ["text-cut"], {"name": LONG[: limits.MAX_NAME]}),
    (product(description=...), ["description-missing"], {"description": None}),
    (product(description=""), ["description-missing"], {"description": None}),
    (product(description=["a"]), ["wrong-type", "description-missing"], {"description": None}),
    (product(description="a\r\nb"), [], {"description": "a\nb"}),
    (product(description="d" * 10_000_000), ["text-cut"], {"description": "d" * 65536}),
    (product(category=...), ["category-missing"], {"category": None}),
    (product(category=" A>B "), [], {"category": "A > B"}),
    (product(category=["A", "B"]), ["category-as-list"], {"category": "A > B"}),
    (product(category=["A", 5]), ["wrong-type", "category-missing"], {"category": None}),
    (product(category={"name": "A > B"}), [], {"category": "A > B"}),
    (product(category=f"A > {LONG}"), ["text-cut"], {"category": "A"}),
    (product(brand=...), ["brand-missing"], {"brand_name": None, "brand_urn": None}),
    (product(brand={}), ["brand-missing"], {"brand_name": None, "brand_urn": None}),
    (product(brand=5), ["wrong-type", "brand-missing"], {"brand_urn": None}),
    (product(brand="3M"), ["brand-as-text", "brand-without-identifier"], {"brand_urn": BRAND}),
    (product(brand={"name": " 3m "}), ["brand-without-identifier"], {"brand_name": "3m", "brand_urn": BRAND}),
    (product(brand=[{"name": "3M", "identifier": BRAND}]), [], {"brand_urn": BRAND}),
    (product(brand={"identifier": [{"value": 5}, {"value": BRAND}]}), [], {"brand_urn": BRAND}),
    (
        product(brand={"name": "Scotch"}),
        ["brand-without-identifier"],
        {"brand_urn": f"{ORGANIZATION}:brand:{uuid5(NAMESPACE, 'Scotch')}"},
    ),
    (
        product(brand={"name": "3M", "identifier": {"value": f"urn:{LONG}"}}),
        ["reference-unusable", "brand-without-identifier"],
        {"brand_urn": BRAND},
    ),
    (product(isVariantOf=...), [], {"group_urn": None}),
    (product(isVariantOf="urn:cmp:product:FR"), [], {"group_urn": "urn:cmp:product:FR"}),
    (product(isVariantOf=[{"@id": "urn:cmp:product:FR"}]), [], {"group_urn": "urn:cmp:product:FR"}),
    (product(isVariantOf={"@id": f"urn:{LONG}"}), ["reference-unusable"], {"group_urn": None}),
    (
        product(isVariantOf={"@id": "urn:cmp:product:\u200bFR"}),
        ["text-cleaned"],
        {"group_urn": "urn:cmp:product:FR"},
    ),
    (product(isVariantOf={"@id": {}}), [], {"group_urn": None}),
    (product(isVariantOf={"@id": [1]}), ["reference-unusable"], {"group_urn": None}),
    (product(gtin13=21200977169), [], {"gtins": ["0021200977169"]}),
    (product(gtin="0-021200-977169", gtin8="12345678"), [], {"gtins": ["0021200977169", "12345678"]}),
    (product(gtin13="123"), ["gtin-invalid"], {"gtins": []}),
    (product(gtin13=""), [], {"gtins": []}),
    (product(gtin13=["0021200977169", None]), ["gtin-invalid"], {"gtins": ["0021200977169"]}),
    (product(mpn=330), [], {"mpn": "330"}),
    (product(mpn={}), ["wrong-type"], {"mpn": None}),
    (product(url="/p/1"), ["url-not-absolute"], {"url": "/p/1"}),
    (product(url="javascript:alert(1)"), ["url-unusable"], {"url": None}),
    (product(url=f"https://x/{LONG}"), ["url-unusable"], {"url": None}),
    (product(url=5), ["wrong-type"], {"url": None}),
    (product(image=None), [], {"image": None}),
    (product(image=["https://x/1", "https://x/2"]), [], {"image": "https://x/1"}),
    (product(image={"@type": "ImageObject", "contentUrl": "https://x/1"}), [], {"image": "https://x/1"}),
    (product(image=[{"url": "https://x/1"}]), [], {"image": "https://x/1"}),
    (product(image="data:image/png;base64,AAAA"), ["url-unusable"], {"image": None}),
    (product(offers=...), ["offers-missing"], {"offers": [], "offers_read": 0}),
    (product(offers=[]), ["offers-missing"], {"offers": []}),
    (product(weight=float("inf")), ["item-repaired"], {}),
    (product(weight=10**400), [], {}),
]


@pytest.mark.parametrize(("item", "expected", "fields"), WARNED)
def test_what_is_read_with_a_warning(item: Any, expected: list[str], fields: dict[str, Any]) -> None:
    result = parsed(item)
    assert [issue.code for issue in result.issues] == expected
    for name, value in fields.items():
        assert getattr(result.item, name) == value
    assert isinstance(result.item, ProductItem)
    assert len(result.item.offers) == (1 if item.get("offers") else 0)


def test_media_stand_in_for_a_missing_image() -> None:
    media = [{"@type": "VideoObject", "url": "https://x/v"}, {"@type": "ImageObject", "url": "https://x/i"}]
    assert parsed_product(product(image=..., **{"@cmp:media": media})).image == "https://x/i"


@pytest.mark.parametrize(
    "named",
    [
        {"@id": "urn:x:<lamp>", "productGroupID": "L1"}, {"@id": "lamp", "productGroupID": "L1"},
        {"@id": ..., "productGroupID": "LAMP\u00ad100"}, {"@id": "urn:x:\u200blamp", "productGroupID": "L1"},
    ],
)  # fmt: skip
def test_a_group_is_the_same_to_itself_and_to_its_variants(named: dict[str, Any]) -> None:
    made = parsed(group(id=named["@id"], productGroupID=named["productGroupID"])).item
    variant = parsed_product(product(isVariantOf={name: value for name, value in named.items() if value is not ...}))
    assert isinstance(made, GroupItem)
    assert variant.group_urn == made.urn


def test_groups_and_variants_derive_the_same_urn() -> None:
    made = parsed(group(id=...))
    assert [issue.code for issue in made.issues] == ["urn-derived"]
    for reference in ({"isVariantOf": {"productGroupID": "FR"}}, {"isVariantOf": ..., "inProductGroupWithID": "FR"}):
        variant = parsed(product(**reference))
        assert [issue.code for issue in variant.issues] == ["group-urn-derived"]
        assert isinstance(variant.item, ProductItem)
        assert variant.item.group_urn == made.item.urn


@pytest.mark.parametrize(
    "raw",
    [
        encode(PRODUCT).replace(b'"3M FR330 Gray"', b'"3M \xff Gray"'),
        encode(PRODUCT).replace(b'"3M FR330 Gray"', b'"3M \\ud800 Gray"'),
        encode(PRODUCT).replace(b'"3M FR330 Gray"', b'"3M \xed\xa0\x80 Gray"'),
    ],
)
def test_bytes_that_are_no_text_are_replaced(raw: bytes) -> None:
    result = parsed(raw)
    assert result.item.name.replace("\ufffd", "") == "3M  Gray"
    assert [issue.code for issue in result.issues] in (["invalid-utf8"], ["item-repaired"])


def test_numbers_beyond_any_float_are_kept_in_the_hash() -> None:
    def hashed(number: str) -> bytes:
        raw = encode(product(weight=1)).replace(b'"weight": 1', b'"weight": ' + number.encode())
        assert codes(raw) == []
        return parsed(raw).item.content_hash

    assert len({hashed(number) for number in ("1e400", "1e401", "0.1", "0.10000000000000000000000000001")}) == 4


def test_a_number_too_long_to_be_one_rejects_the_item() -> None:
    raw = encode(product(weight=1)).replace(b'"weight": 1', b'"weight": ' + b"1" * 5000)
    assert codes(raw) == ["item-unreadable"]


def test_large_items_are_refused_before_they_fill_memory() -> None:
    assert codes(b'{"a": [' + b"{}," * 2_000_000 + b"1]}") == ["item-too-large"]
    assert codes(b'{"a": "' + b"x" * limits.MAX_ITEM_BYTES + b'"}') == ["item-too-large"]


def test_a_foreign_context_of_its_own() -> None:
    """Without a registry, the organization's URN is all that is known."""
    assert codes(PRODUCT, ItemContext.of(ORGANIZATION)) == []
    assert codes(PRODUCT, ItemContext.of("urn:cmp:org:3m.example")) == ["foreign-urn"]
    assert codes(product(id="urn:cmp:sku:3m.example:1"), ItemContext.of("urn:cmp:org:3m.example")) == []


# --- the content hash ----------------------------------------------------------------------------------------


def shuffled(value: Any, chance: random.Random) -> Any:
    if isinstance(value, list):
        return [shuffled(each, chance) for each in value]
    if isinstance(value, dict):
        keys = list(value)
        chance.shuffle(keys)
        return {key: shuffled(value[key], chance) for key in keys}
    return value


@given(st.randoms(use_true_random=False), st.sampled_from([None, 1, 4]))
def test_the_hash_ignores_key_order_and_whitespace(chance: random.Random, indent: int | None) -> None:
    for item in (PRODUCT, GROUP):
        raw = json.dumps(shuffled(item, chance), indent=indent, ensure_ascii=chance.random() < 0.5).encode()
        assert parsed(raw).item.content_hash == parsed(item).item.content_hash


@pytest.mark.parametrize(
    "changed",
    [
        product(name="x"),
        product(unknown=1),
        product(additionalProperty=[]),
        product(offers=offer(price=60.96)),
        product(brand={"name": "3M"}),
        product(image=["https://3m.example/i/554656.jpg"]),
    ],
)
def test_the_hash_sees_every_change(changed: dict[str, Any]) -> None:
    assert parsed(changed).item.content_hash != parsed(PRODUCT).item.content_hash


def test_the_hash_sees_the_brand_a_name_resolves_to() -> None:
    item = product(brand={"name": "3M"})
    before, after = parsed(item, ItemContext.of(ORGANIZATION)), parsed(item, CONTEXT)
    assert parsed(item, ItemContext(ORGANIZATION)).item.content_hash == before.item.content_hash
    other = ItemContext(ORGANIZATION, None, {"3m": "urn:cmp:brand:other"})
    assert parsed(item, other).item.content_hash != after.item.content_hash


def test_the_text_hash_ignores_the_price() -> None:
    assert parsed_product(product(offers=offer(price=1))).text_hash == parsed_product(PRODUCT).text_hash
    assert parsed_product(product(description="x")).text_hash != parsed_product(PRODUCT).text_hash


def test_hashes_are_the_same_in_every_process() -> None:
    code = (
        "from tests.unit.cmp.samples import *; item = parsed(PRODUCT).item; "
        "print(item.content_hash.hex(), item.text_hash.hex())"
    )
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    item = parsed_product(PRODUCT)
    assert made.stdout.split() == [item.content_hash.hex(), item.text_hash.hex()]


def test_hashes_move_only_with_the_recipe() -> None:
    """Every node would rewrite its catalogue: raise RECIPE (which moves the content hashes) and these together."""
    assert RECIPE == 3
    assert parsed(PRODUCT).item.content_hash.hex() == "af7bb34692f5395d135608c8ca3de6a1"
    assert parsed(GROUP).item.content_hash.hex() == "4a3f2021db6f33c349e319a7f9aa33bc"
    assert parsed_product(PRODUCT).text_hash.hex() == "204cf348406be6f81e38fd222f6cf0c0"


# --- whatever the bytes --------------------------------------------------------------------------------------

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(alphabet=st.characters(categories=None), max_size=30),
    st.sampled_from(
        [LONG, "NaN", "1,299.00", "+300000-01-01", "2025-01-01T00:00:00+23:59", "0001-01-01", "urn:", "://"]
    ),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["@id", "@type", "@value", "name", "value", "url", "price", "offers"]), inner),
    ),
    max_leaves=8,
)
FIELDS = (*PRODUCT, "productGroupID", "variesBy", "gtin", "gtin8", "inProductGroupWithID", "@cmp:media")
OFFER_FIELDS = (*PRODUCT["offers"], "url", "priceSpecification", "offers")


def check(raw: bytes) -> None:
    """What holds for any bytes: a verdict, and nothing in it that the database could refuse."""
    result = parse_item(raw, CONTEXT)
    assert all(issue.code in CODES for issue in result.issues)
    assert all(len(issue.message) <= 500 for issue in result.issues)
    for value in walk(msgspec.to_builtins(result.issues)):
        storable(value)
    if isinstance(result, RejectedItem):
        assert any(issue.severity is Severity.ERROR for issue in result.issues)
        return
    for value in walk(msgspec.structs.asdict(result.item)):
        storable(value)
    check_item(result)


def check_item(result: ParsedItem) -> None:
    item = result.item
    assert item.name
    assert fits(item.urn)
    assert all(fits(urn) for urn in (item.brand_urn,) if urn)
    assert len((item.category or "").encode()) <= limits.MAX_CATEGORY_BYTES
    assert len((item.brand_name or "").encode()) <= limits.MAX_BRAND_NAME_BYTES
    if isinstance(item, ProductItem):
        assert len((item.sku or "").encode()) <= limits.MAX_SKU_BYTES
        assert item.offers_read == len(item.offers) + item.offers_rejected
        errors = sum(issue.severity is Severity.ERROR for issue in result.issues)
        assert bool(errors) == bool(item.offers_rejected)


def walk(value: Any) -> Any:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from walk(each)
    elif isinstance(value, Offer):
        yield from walk(msgspec.structs.asdict(value))
    else:
        yield value


def storable(value: Any) -> None:
    if isinstance(value, str):
        assert "\x00" not in value
        assert value.encode().decode() == value
    elif isinstance(value, Decimal):
        assert 0 <= value <= limits.MAX_PRICE
        exponent = value.as_tuple().exponent
        assert isinstance(exponent, int)
        assert -6 <= exponent <= 0
    elif isinstance(value, datetime):
        assert limits.MIN_DATE <= value <= limits.MAX_DATE
        assert value.tzinfo is UTC
    elif isinstance(value, int):
        assert 0 <= value <= limits.MAX_INVENTORY


@given(values)
def test_any_json_gets_a_verdict(value: Any) -> None:
    check(encode(value))


@settings(max_examples=400)
@given(st.sampled_from(["Product", "ProductGroup"]), st.dictionaries(st.sampled_from(FIELDS), values, max_size=4))
def test_any_field_gets_a_verdict(kind: str, changes: dict[str, Any]) -> None:
    check(encode({**PRODUCT, "@type": kind, **changes}))


@settings(max_examples=400)
@given(st.dictionaries(st.sampled_from(OFFER_FIELDS), values, max_size=3))
def test_any_offer_gets_a_verdict(changes: dict[str, Any]) -> None:
    check(encode(product(offers=[{**PRODUCT["offers"], **changes}, PRODUCT["offers"]])))


@settings(max_examples=400)
@given(st.lists(st.tuples(st.integers(0, len(encode(PRODUCT))), st.integers(0, 4), st.binary(max_size=4)), max_size=4))
def test_any_mutation_gets_a_verdict(mutations: list[tuple[int, int, bytes]]) -> None:
    raw = encode(PRODUCT)
    for place, length, replacement in mutations:
        raw = raw[:place] + replacement + raw[place + length :]
    check(raw)


@pytest.mark.parametrize("depth", [10, 500, 900, 5000, 100_000])
@pytest.mark.parametrize("field", ["additionalProperty", "name", "brand", "offers"])
def test_any_depth_gets_a_verdict(depth: int, field: str) -> None:
    nested = b"[" * depth + b"]" * depth
    check(encode(product(**{field: "HERE"})).replace(b'"HERE"', nested))


@pytest.mark.parametrize(
    ("raw", "price"),
    [
        (b'{"@type": "Product", "name": "a", "sku": "1", "x": 1e400}', Decimal("1E+400")),
        (b'{"@type": "Product", "name": "a\xff", "sku": "1", "x": 299.90}', Decimal("299.90")),
        (b'{"@type": "Product", "name": "a", "sku": "1", "x": NaN}', "NaN"),
        (b'{"@type": "Product", "name": "\\ud800", "sku": "1", "x": 1}', 1),
    ],
)
def test_what_is_accepted_can_be_shown_whole_and_exact(raw, price):
    assert parse_item(raw, CONTEXT).kind == "product"
    assert decode_item(raw)["x"] == price


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_how_deep_an_item_is_nested_is_limited(opening: str, closing: str) -> None:
    context = ItemContext(ORGANIZATION, max_nesting=10)

    def nested(depth: int) -> ParsedItem | RejectedItem:
        inner = opening * depth + "1" + closing * depth
        return parse_item(encode(product() | {"x": "INNER"}).replace(b'"INNER"', inner.encode()), context)

    assert isinstance(nested(9), ParsedItem)
    assert [issue.code for issue in nested(10).issues if issue.severity == "error"] == ["item-too-deep"]
    assert "MAX_NESTING" in nested(10).issues[-1].message

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.cmp.feed import MalformedDocumentError
from app.cmp.registry import BrandEntry, OrganizationEntry, parse_registry
from tests.unit.cmp.samples import BRAND, ORGANIZATION, PRODUCT, encode, item_list

ENTRY: dict[str, Any] = {
    "@context": "https://schema.org",
    "@type": "Organization",
    "name": "3M",
    "description": "Adhesives",
    "url": "https://www.3m.example",
    "logo": "https://3m.example/logo.png",
    "brand": {
        "@type": "Brand",
        "name": "3M",
        "logo": "https://3m.example/logo.png",
        "identifier": {"@type": "PropertyValue", "propertyID": "cmp:brandId", "value": BRAND},
    },
    "sameAs": ["https://social.example/3m"],
    "cmp:category": ["office", "adhesives", "office"],
    "cmp:productFeed": {"@type": "DataFeed", "url": "https://3m.example/feed.json"},
    "identifier": {"@type": "PropertyValue", "propertyID": "cmp:orgId", "value": ORGANIZATION},
}
IDENTIFIER = ENTRY["identifier"]
NODE = {"@type": "cmp:DiscoveryNode", "name": "Node", "url": "https://node.example"}


def entry(**changes: Any) -> dict[str, Any]:
    changes = {key.replace("cmp_", "cmp:").replace("at_", "@"): value for key, value in changes.items()}
    return {key: value for key, value in {**ENTRY, **changes}.items() if value is not ...}


def only(document: Any) -> OrganizationEntry:
    registry = parse_registry(encode(document))
    assert registry.issues == []
    assert len(registry.organizations) == 1
    return registry.organizations[0]


def test_an_entry_as_specified() -> None:
    found = only(ENTRY)
    assert found.issues == []
    assert (found.urn, found.name, found.description) == (ORGANIZATION, "3M", "Adhesives")
    assert found.brands == [BrandEntry(BRAND, "3M", "https://3m.example/logo.png")]
    assert found.categories == ["adhesives", "office"]
    assert found.feed_url == "https://3m.example/feed.json"
    assert found.same_as == ["https://social.example/3m"]
    assert json.loads(found.raw) == ENTRY
    context = found.item_context()
    assert (context.organization_urn, context.domain) == (ORGANIZATION, "3m.example")
    assert context.brands == {"3m": BRAND}


@pytest.mark.parametrize(
    "document",
    [ENTRY, [ENTRY], {"@graph": [ENTRY]}, item_list(ENTRY), {"@graph": ENTRY}, [ENTRY, NODE], [NODE, ENTRY]],
)
def test_documents_of_every_shape(document: Any) -> None:
    registry = parse_registry(b"\xef\xbb\xbf" + encode(document))
    assert [organization.urn for organization in registry.organizations] == [ORGANIZATION]
    assert registry.skipped == (NODE in document if isinstance(document, list) else 0)


@pytest.mark.parametrize(
    ("changes", "codes", "urn"),
    [
        ({"identifier": {**IDENTIFIER, "propertyID": " CMP:orgid "}}, ["identifier-spelling"], ORGANIZATION),
        ({"identifier": {"value": ORGANIZATION}}, ["identifier-spelling"], ORGANIZATION),
        ({"identifier": ORGANIZATION}, ["identifier-as-text"], ORGANIZATION),
        ({"identifier": [{"propertyID": "duns", "value": "1"}, IDENTIFIER]}, [], ORGANIZATION),
        (
            {"identifier": {**IDENTIFIER, "value": ORGANIZATION.replace("org", "orgid")}},
            ["organization-urn-spelling"],
            ORGANIZATION,
        ),
        (
            {"identifier": {**IDENTIFIER, "value": "urn:cmp:org:22eefabc-7b1d-6d29-9e12-22g812190dd3"}},
            ["organization-urn-invalid"],
            "urn:cmp:org:22eefabc-7b1d-6d29-9e12-22g812190dd3",
        ),
        ({"identifier": {**IDENTIFIER, "value": "urn:cmp:org:3m.example"}}, [], "urn:cmp:org:3m.example"),
        (
            {"identifier": ..., "url": "https://insighteditions.com"},
            ["organization-urn-derived"],
            "urn:cmp:org:11cdde9b-6a0c-5c18-8d01-11f701089cc2",
        ),
        (
            {"identifier": {"propertyID": "cmp:orgId", "value": 5}, "url": "https://insighteditions.com"},
            ["organization-urn-derived"],
            "urn:cmp:org:11cdde9b-6a0c-5c18-8d01-11f701089cc2",
        ),
        ({"identifier": ..., "cmp_brandId": BRAND}, ["identifier-as-text"], ORGANIZATION),
        ({"at_type": ["Organization", "OnlineStore"]}, [], ORGANIZATION),
        ({"at_type": "schema:Organization"}, [], ORGANIZATION),
        ({"at_type": ...}, ["organization-type-unknown"], ORGANIZATION),
        ({"at_type": "Corporation"}, ["organization-type-unknown"], ORGANIZATION),
        ({"logo": ...}, ["organization-field-missing"], ORGANIZATION),
        ({"logo": {"@type": "ImageObject", "url": "https://x/l"}}, [], ORGANIZATION),
        ({"brand": ...}, ["organization-field-missing"], ORGANIZATION),
        ({"cmp_category": ...}, ["organization-field-missing"], ORGANIZATION),
        ({"cmp_category": "books"}, [], ORGANIZATION),
        ({"cmp_category": [5, {}, "b"]}, ["wrong-type"], ORGANIZATION),
        ({"cmp_productFeed": ...}, ["organization-field-missing"], ORGANIZATION),
        ({"cmp_productFeed": "feeds/feed.json"}, ["url-not-absolute"], ORGANIZATION),
        ({"cmp_productFeed": {"url": "ftp://x/feed.json"}}, [], ORGANIZATION),
        ({"description": 5}, ["wrong-type", "organization-field-missing"], ORGANIZATION),
        ({"sameAs": "https://x"}, [], ORGANIZATION),
        ({"sameAs": [5]}, ["wrong-type"], ORGANIZATION),
    ],
)
def test_departures(changes: dict[str, Any], codes: list[str], urn: str) -> None:
    found = only(entry(**changes))
    assert [issue.code for issue in found.issues] == codes
    assert found.urn == urn


@pytest.mark.parametrize(
    ("brand", "codes", "urns"),
    [
        ([ENTRY["brand"], {"name": "Scotch", "@id": "urn:cmp:brandid:x"}], [], [BRAND, "urn:cmp:brandid:x"]),
        ({"name": "3M"}, ["brand-urn-derived"], [BRAND]),
        ("3M", ["brand-urn-derived"], [BRAND]),
        ({"name": "3M", "identifier": BRAND}, ["identifier-as-text"], [BRAND]),
        ({"name": "3M", "cmp:brandId": BRAND}, ["identifier-as-text"], [BRAND]),
        (
            {"name": "3M", "identifier": {"propertyID": "cmp:brandId  ", "value": BRAND}},
            ["identifier-spelling"],
            [BRAND],
        ),
        ({"name": "3M", "identifier": {"value": "urn:" + "x" * 3000}}, None, [BRAND]),
        ([{}, ENTRY["brand"]], ["brand-unusable"], [BRAND]),
        ([5, ENTRY["brand"]], ["brand-unusable"], [BRAND]),
        ([ENTRY["brand"], ENTRY["brand"]], [], [BRAND]),
    ],
)
def test_brands(brand: Any, codes: list[str] | None, urns: list[str]) -> None:
    found = only(entry(brand=brand))
    assert [each.urn for each in found.brands] == urns
    if codes is not None:
        assert [issue.code for issue in found.issues] == codes


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (5, "entry-unusable"),
        (None, "entry-unusable"),
        (PRODUCT, "entry-unusable"),
        (entry(name=...), "organization-without-name"),
        (entry(name=" "), "organization-without-name"),
        (entry(identifier=..., url=...), "organization-without-identity"),
        (entry(identifier={"value": "x"}, url="nonsense"), "organization-without-identity"),
    ],
)
def test_a_bad_entry_does_not_touch_its_neighbours(bad: Any, code: str) -> None:
    registry = parse_registry(encode([bad, ENTRY]))
    assert [(issue.code, issue.position) for issue in registry.issues] == [(code, 1)]
    assert [organization.urn for organization in registry.organizations] == [ORGANIZATION]


def test_the_last_of_two_entries_wins() -> None:
    registry = parse_registry(encode([ENTRY, entry(name="3M again")]))
    assert [organization.name for organization in registry.organizations] == ["3M again"]
    assert [(i.code, i.position) for i in registry.organizations[0].issues] == [("duplicate-organization", 2)]


def test_an_empty_array_is_an_empty_registry() -> None:
    assert parse_registry(b"[]").organizations == []


@pytest.mark.parametrize(
    "data",
    [b"", b"5", b"<html>", b"{}", b"[1, 2]", b'{"a": 1}', encode(item_list(PRODUCT)), encode(ENTRY)[:-1],
     encode({"shards": []}), b"[" * 100_000],
)  # fmt: skip
def test_other_documents_are_no_registry(data: bytes) -> None:
    with pytest.raises(MalformedDocumentError):
        parse_registry(data)


def test_the_hash_ignores_formatting_alone() -> None:
    turned = json.dumps(dict(reversed(ENTRY.items())), indent=4).encode()
    assert parse_registry(turned).organizations[0].content_hash == only(ENTRY).content_hash
    assert parse_registry(turned).organizations[0].raw == only(ENTRY).raw
    assert only(entry(name="x")).content_hash != only(ENTRY).content_hash


def test_bad_text_is_mended() -> None:
    raw = encode([ENTRY]).replace(b"Adhesives", b"Adh\xffesives\\u0000")
    found = parse_registry(raw).organizations[0]
    assert found.description == "Adh\ufffdesives"
    assert [issue.code for issue in found.issues] == ["invalid-utf8", "text-cleaned"]


values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(alphabet=st.characters(categories=None))),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["@id", "name", "value", "url", "propertyID", "identifier"]), inner),
    ),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from([*ENTRY, "cmp:brandId"]), values, max_size=4))
def test_any_entry_gets_a_verdict(changes: dict[str, Any]) -> None:
    registry = parse_registry(encode([{**ENTRY, **changes}, NODE]))
    assert len(registry.organizations) + len(registry.issues) + registry.skipped == 2
    for organization in registry.organizations:
        assert organization.name
        assert organization.urn.startswith("urn:cmp:org:")
        assert organization.item_context()


SPECIFICATION = Path(__file__).parents[4] / "shared" / "data" / "cmp-spec"


@pytest.mark.skipif(not SPECIFICATION.exists(), reason="the specification's examples are not beside the repository")
@pytest.mark.parametrize(
    "name", ["brand-registry-example.jsonld", "registry-brands.json", "registry-example-brands.json"]
)
def test_the_specification_s_own_examples(name: str) -> None:
    registry = parse_registry((SPECIFICATION / name).read_bytes())
    assert len(registry.organizations) == 1
    assert registry.issues == []

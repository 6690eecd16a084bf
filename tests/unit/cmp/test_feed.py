import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.cmp import counting
from app.cmp.feed import MalformedDocumentError, ShardRef, parse_index, read_shard, split_shard
from app.cmp.items import ItemContext, ParsedItem, parse_item
from app.cmp.limits import DocumentLimits
from app.cmp.shards import Members
from tests.unit.cmp.samples import GROUP, ORGANIZATION, PRODUCT, encode, item_list

INDEX = {
    "@type": "ProductFeedIndex",
    "version": "0.1",
    "lastUpdated": "2025-01-01T00:00:00Z",
    "orgid": ORGANIZATION,
    "totalShards": 2,
    "shards": [
        {"url": "https://x.example/feed-000.json", "lastUpdated": "2025-01-01T00:00:00Z"},
        {"url": "https://x.example/feed-001.json"},
    ],
}


def index(**changes: object) -> bytes:
    return encode({key: value for key, value in {**INDEX, **changes}.items() if value is not ...})


def test_an_index_as_specified() -> None:
    found = parse_index(b"\xef\xbb\xbf" + index())
    assert found is not None
    assert found.issues == []
    assert (found.version, found.last_updated) == ("0.1", "2025-01-01T00:00:00Z")
    assert (found.organization_urn, found.total_shards) == (ORGANIZATION, 2)
    assert found.shards == [
        ShardRef("https://x.example/feed-000.json", "2025-01-01T00:00:00Z"),
        ShardRef("https://x.example/feed-001.json"),
    ]


@pytest.mark.parametrize(
    ("changes", "codes", "organization", "urls"),
    [
        ({"orgid": ...}, ["orgid-missing"], None, 2),
        ({"orgid": ORGANIZATION.replace("org", "orgid")}, ["orgid-spelling"], ORGANIZATION, 2),
        ({"orgid": ..., "organization": {"urn": ORGANIZATION}}, ["orgid-spelling"], ORGANIZATION, 2),
        ({"orgid": "ACME"}, ["orgid-unusable"], None, 2),
        ({"orgid": 5}, ["orgid-unusable"], None, 2),
        ({"@type": ...}, ["index-type-missing"], ORGANIZATION, 2),
        ({"totalShards": 3}, ["total-shards-mismatch"], ORGANIZATION, 2),
        ({"totalShards": "two"}, ["total-shards-mismatch"], ORGANIZATION, 2),
        ({"totalShards": "2"}, [], ORGANIZATION, 2),
        ({"totalShards": ...}, [], ORGANIZATION, 2),
        ({"shards": [], "totalShards": 0}, [], ORGANIZATION, 0),
        ({"version": 0.1}, [], ORGANIZATION, 2),
        ({"version": [], "lastUpdated": {}}, [], ORGANIZATION, 2),
        ({"shards": ["a.json", "b.json"]}, ["shard-as-text", "shard-url-relative"], ORGANIZATION, 2),
        ({"shards": [{"@id": "https://x/a"}, {"contentUrl": "https://x/b"}]}, [], ORGANIZATION, 2),
        (
            {"shards": [{"url": "https://x/a"}] * 2, "totalShards": 1},
            ["duplicate-shard"],
            ORGANIZATION,
            1,
        ),
    ],
)
def test_departures_of_an_index(changes, codes, organization, urls) -> None:
    found = parse_index(index(**changes))
    assert found is not None
    assert [issue.code for issue in found.issues] == codes
    assert found.organization_urn == organization
    assert len(found.shards) == urls


@pytest.mark.parametrize(
    "shards_value", [[5], [None], [{}], [{"url": 5}], [{"url": ""}], [["a"]], None, 5, ["a.json", "x" * 5000]]
)
def test_an_index_whose_shards_cannot_be_read_is_no_index(shards_value: object) -> None:
    data = index(shards=shards_value)
    with pytest.raises(MalformedDocumentError) as caught:
        parse_index(data)
    assert data.index(b'"shards"') < caught.value.offset < len(data)


def test_an_index_needs_shards() -> None:
    with pytest.raises(MalformedDocumentError, match="lists no shards"):
        parse_index(index(shards=...))


SHARDS = {
    "item list": item_list(PRODUCT, GROUP),
    "bare items": {"@type": "ItemList", "itemListElement": [PRODUCT, GROUP]},
    "mixed": {"itemListElement": [{"item": PRODUCT, "@type": ["ListItem"]}, GROUP]},
    "no list item types": {"itemListElement": [{"item": PRODUCT}, {"item": GROUP, "position": "2"}]},
    "array": [PRODUCT, GROUP],
    "array of list items": item_list(PRODUCT, GROUP)["itemListElement"],
    "graph": {"@graph": [PRODUCT, GROUP]},
    "data feed": {"dataFeedElement": [{"@type": "DataFeedItem", "item": PRODUCT}, GROUP]},
}


@pytest.mark.parametrize("shard", SHARDS.values(), ids=SHARDS)
def test_shards_of_every_shape(shard: object) -> None:
    data = encode(shard)
    assert parse_index(data) is None
    for variant in (data, b"\xef\xbb\xbf" + data, memoryview(data)):
        assert [bytes(item) for item in split_shard(variant)] == [encode(PRODUCT), encode(GROUP)]


@pytest.mark.parametrize("item", [PRODUCT, GROUP, {"itemListElement": {"@type": "ListItem", "item": PRODUCT}}])
def test_a_single_item_is_a_shard(item: object) -> None:
    assert parse_index(encode(item)) is None
    assert len(split_shard(encode(item))) == 1


@pytest.mark.parametrize("shard", [[], {"@type": "ItemList", "itemListElement": []}])
def test_empty_shards(shard: object) -> None:
    assert split_shard(encode(shard)) == []


@pytest.mark.parametrize(
    "data",
    [b"5", b'"text"', b"null", b"{}", b'{"@type": "Organization"}', b'{"itemListElement": 5}', b'{"@type": "\xff"}'],
)
def test_other_json_is_no_shard(data: bytes) -> None:
    with pytest.raises(MalformedDocumentError):
        split_shard(data)


@pytest.mark.parametrize("data", [b"5", b'"text"', b"null", b"{}", b'{"@type": "Organization"}', b'{"@type": "\xff"}'])
def test_other_json_is_no_feed(data: bytes) -> None:
    with pytest.raises(MalformedDocumentError):
        parse_index(data)


def test_bad_items_do_not_touch_their_neighbours() -> None:
    bad = [b"5", b"null", b'"text"', b"[]", b'{"\xff": "\xfe"}', b'{"name": "\\ud800"}', b'{"price": NaN}']
    wrapped = [b'{"@type": "ListItem", "item": ' + item + b"}" for item in bad]
    good = encode(PRODUCT)
    for items in (bad, wrapped):
        data = b'{"itemListElement": [' + good + b"," + b",".join(items) + b"," + good + b"]}"
        split = split_shard(data)
        assert len(split) == len(bad) + 2
        assert bytes(split[0]) == bytes(split[-1]) == good


def test_a_mended_shard_says_so() -> None:
    shard = read_shard(b'[{"a": NaN}]')
    assert [issue.code for issue in shard.issues] == ["shard-repaired"]
    assert bytes(shard.items[0]) == b'{"a": "NaN"}'


@pytest.mark.parametrize(
    ("positions", "codes"),
    [([1, 2, 3], []), ([501, 502, 503], []), ([1, 1, 2], ["position-disorder"]), ([3, 2, 1], ["position-disorder"]),
     (["x", None, 5], []), ([None, None, None], [])],
)  # fmt: skip
def test_positions_are_only_informational(positions: list[object], codes: list[str]) -> None:
    items = [{"@type": "ListItem", "position": position, "item": PRODUCT} for position in positions]
    shard = read_shard(encode({"itemListElement": items}))
    assert len(shard.items) == 3
    assert [issue.code for issue in shard.issues] == codes


def test_a_long_string_fails_the_shard_at_its_first_byte() -> None:
    head = b'{"itemListElement": [{"@type": "Product", "name": '
    data = head + b'"' + b"x" * 100_000_000 + b'"}]}'
    with pytest.raises(MalformedDocumentError, match="item 1") as caught:
        split_shard(data)
    assert caught.value.offset == len(head)
    head = b'{"itemListElement": [], "x": '
    data = head + b'"' + b"x" * 100_000_000 + b'"}'
    with pytest.raises(MalformedDocumentError, match="string") as caught:
        split_shard(data)
    assert caught.value.offset == len(head)


def test_a_large_item_fails_the_shard() -> None:
    limits = DocumentLimits(item_bytes=1000)
    data = b'[{"a": 1}, {"b": [' + b"1," * 1000 + b"1]}]"
    with pytest.raises(MalformedDocumentError, match="item 2") as caught:
        read_shard(data, limits)
    assert caught.value.offset == data.index(b'{"b"')


def test_too_many_items_fail_the_shard() -> None:
    for data in (encode([PRODUCT] * 4), encode({"itemListElement": [PRODUCT] * 4})):
        assert len(read_shard(data, DocumentLimits(items=4)).items) == 4
        with pytest.raises(MalformedDocumentError, match=r"more than 3 items \(MAX_ITEMS_PER_SHARD\)"):
            read_shard(data, DocumentLimits(items=3))


def test_too_many_shards_fail_the_index() -> None:
    data = index(shards=["a.json", "b.json", "c.json"])
    assert len(parse_index(data, DocumentLimits(shards=3)).shards) == 3
    with pytest.raises(MalformedDocumentError, match=r"more than 2 shards \(MAX_SHARDS_PER_FEED\)"):
        parse_index(data, DocumentLimits(shards=2))


@pytest.mark.parametrize("element", [b"1", b"{}", b"[]", b'""', b'[",",{"a":[1,2]}]', b'"\\","'])
def test_elements_are_counted_before_they_are_listed(monkeypatch: pytest.MonkeyPatch, element: bytes) -> None:
    """Many tiny elements take sixty times their bytes once they are listed."""
    monkeypatch.setattr(counting, "_HARMLESS", 10)
    array = b" [" + b" , ".join([element] * 20) + b"]"
    for data, read in ((array, read_shard), (b'{"itemListElement":%b}' % array, read_shard)):
        assert len(read(data, DocumentLimits(items=20)).items) == 20
        with pytest.raises(MalformedDocumentError, match="more than 19 items"):
            read(data, DocumentLimits(items=19))
    listed = b'{"@type":"ProductFeedIndex","shards":%b}' % array
    with pytest.raises(MalformedDocumentError, match="more than 19 shards"):
        parse_index(listed, DocumentLimits(shards=19))


@pytest.mark.parametrize("member", ["@type", "orgid", "organization", "version", "totalShards", "lastUpdated"])
def test_a_giant_member_is_not_decoded(member: str) -> None:
    giant = b"[" + b"[]," * 3_000_000 + b"[]]"
    data = index(**{member: ...})[:-1] + b', "%b": %b}' % (member.encode(), giant)
    tracemalloc.start()
    try:
        found = parse_index(data)
        assert read_shard(b'{"@type": %b, "itemListElement": []}' % giant).items == []
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(found.shards) == 2
    assert most < 4 * len(data)


def test_a_giant_shard_entry_is_refused() -> None:
    data = b'{"@type": "ProductFeedIndex", "shards": [{"url": [%b1]}]}' % (b"1," * 100_000)
    with pytest.raises(MalformedDocumentError, match="shard entry 1 is too long"):
        parse_index(data)


def test_a_shard_is_not_asked_twice_what_it_lists() -> None:
    assert Members().list is None


REAL = Path(__file__).parents[4] / "shared" / "data" / "cmp-spec" / "product-feed-example.jsonld"


@pytest.mark.skipif(not REAL.exists(), reason="the specification's own example is not beside the repository")
def test_the_specification_s_own_example() -> None:
    data = REAL.read_bytes()
    assert parse_index(data) is None
    results = [parse_item(item, ItemContext.of(ORGANIZATION)) for item in split_shard(data)]
    assert [result.kind for result in results] == ["product", "group", "product"]
    assert all(isinstance(result, ParsedItem) for result in results)


def test_findings_about_many_shards_are_few() -> None:
    found = parse_index(index(shards=["a.json"] * 1000, totalShards=1))
    assert found is not None
    assert len(found.shards) == 1
    assert len(found.issues) < 30


@pytest.mark.parametrize("orgid", [{"urn": {"deep": []}}, [["x"]], {"urn": "\x00"}])
def test_any_orgid_gets_a_verdict(orgid: object) -> None:
    found = parse_index(index(orgid=orgid))
    assert found is not None
    assert [issue.code for issue in found.issues] == ["orgid-unusable"]


documents = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=10), st.sampled_from(["a.json"])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["@id", "@type", "url", "item", "urn", "lastUpdated"]), inner),
    ),
    max_leaves=6,
)


@given(
    st.dictionaries(
        st.sampled_from([*INDEX, "organization", "itemListElement", "@graph", "dataFeedElement"]), documents, max_size=5
    )
)
def test_any_json_is_an_index_a_shard_or_malformed(document: dict[str, object]) -> None:
    data = encode(document)
    for read in (parse_index, split_shard):
        try:
            read(data)
        except MalformedDocumentError as error:
            offset = error.offset
        else:
            offset = 0
        assert 0 <= offset <= len(data)


@settings(max_examples=300)
@given(st.integers(0, 10**6), st.integers(0, 3), st.binary(max_size=3))
def test_any_mutation_of_a_shard_is_read_or_malformed(place: int, length: int, replacement: bytes) -> None:
    data = encode(item_list(PRODUCT, GROUP))
    place %= len(data)
    data = data[:place] + replacement + data[place + length :]
    try:
        items = split_shard(data)
    except MalformedDocumentError as error:
        items, place = [], error.offset
    assert 0 <= place <= len(data)
    for item in items:
        assert parse_item(item, ItemContext.of(ORGANIZATION))

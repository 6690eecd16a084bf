"""Random histories of a publication: each a few edits away from the one before, from pools small enough that the edits
meet."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

from tests.support.feeds import (
    BRAND,
    ORGANIZATION,
    OTHER_ORGANIZATION,
    Publication,
    Shard,
    group_urn,
    organization_entry,
    product_urn,
    registry_brand,
)

MAX_ITEMS, MAX_SHARDS = 12, 4
SHARDS = ("a.json", "b.json", "c.json", "d.json")
_BRAND_URNS = (BRAND, f"{BRAND}2", f"{OTHER_ORGANIZATION}:brand:x")
_BRAND_NAMES = ("Acme", "acme ", "Bolt")
_INDEXES: tuple[dict[str, Any], ...] = (
    {},
    {"totalShards": 7},
    {"orgid": None},
    {"orgid": f"{ORGANIZATION} "},
    {"orgid": ORGANIZATION.upper()},
    {"@type": "DataFeed"},
)
_GROUPS = (group_urn(1), group_urn(2), product_urn(1))

_brands = st.one_of(
    st.none(),
    st.sampled_from(_BRAND_NAMES),
    st.sampled_from(_BRAND_NAMES).map(lambda name: {"name": name}),
    st.sampled_from(_BRAND_URNS).map(lambda urn: {"identifier": {"value": urn}}),
    st.tuples(st.sampled_from(_BRAND_NAMES), st.sampled_from(_BRAND_URNS)).map(
        lambda brand: {"name": brand[0], "identifier": {"value": brand[1]}}
    ),
)
_offers = st.lists(
    st.fixed_dictionaries(
        {
            "price": st.sampled_from((1, 2.5, "3,50", -1, None)),
            "priceCurrency": st.sampled_from(("EUR", "USD", "Euro")),
            "availability": st.sampled_from(("https://schema.org/InStock", "in stock", "soon", None)),
        }
    ),
    max_size=3,
)
_products = st.fixed_dictionaries(
    {
        "@type": st.just("Product"),
        "@id": st.sampled_from((*(product_urn(key) for key in range(1, 6)), group_urn(2), None)),
        "sku": st.sampled_from(("S1", "S2", "S3", 4, None)),
        "name": st.sampled_from(("Lamp", "Chair", "Desk")),
        "brand": _brands,
        "category": st.sampled_from(("Home > Lamps", "Home", "Garden > Tools > Rakes", None)),
        "offers": _offers,
        "isVariantOf": st.sampled_from((None, None, *({"@id": urn} for urn in _GROUPS))),
    },
    optional={
        "description": st.sampled_from(("Bright", "Dark", None)),
        "gtin13": st.sampled_from(("0021200977169", "12")),
        "mpn": st.sampled_from(("M1", "M2")),
        "url": st.sampled_from(("https://acme.example/1", "/2")),
        "image": st.sampled_from(("https://acme.example/1.jpg", ["https://acme.example/2.jpg"])),
        "additionalProperty": st.sampled_from(([{"name": "colour", "value": "red"}], [{"name": "w", "value": 1.5}])),
    },
)
_groups = st.fixed_dictionaries(
    {
        "@type": st.just("ProductGroup"),
        "@id": st.sampled_from(_GROUPS),
        "name": st.sampled_from(("Lamps", "Chairs")),
        "brand": _brands,
        "category": st.sampled_from(("Home > Lamps", None)),
        "variesBy": st.sampled_from((["color"], ["size", "color"], [])),
    }
)
_rejected = st.sampled_from(
    ({"@type": "Product", "@id": product_urn(1)}, {"@type": "Thing", "name": "x"}, 5, {"@type": "Product", "name": "x"})
)
# Products make up most of a feed.
items = st.one_of(_products, _products, _products, _products, _groups, _groups, _rejected)

registries = st.builds(
    lambda brands, description, name: organization_entry(
        name=name, description=description, brand=[registry_brand(*brand) for brand in brands]
    ),
    st.lists(st.tuples(st.sampled_from(_BRAND_NAMES), st.sampled_from(_BRAND_URNS)), max_size=3),
    st.sampled_from(("Sells things", "Sells more", None)),
    st.sampled_from(("Acme", "Acme Corp")),
)


@dataclass
class Draft:
    """A publication that is edited; `a`, `b` and `c` choose what is, modulo what there is."""

    publication: Publication
    earlier: list[Publication] = field(default_factory=list)

    def edit(self, name: str, a: int, b: int, c: int, content: Any) -> None:
        _EDITS[name](self, a, b, c, content)

    @property
    def shards(self) -> list[Shard]:
        return self.publication.shards

    def place(self, a: int, b: int) -> tuple[list[Any], int] | None:
        """An item's list and its index there, from the shards that have items."""
        filled = [shard.items for shard in self.shards if shard.items]
        if not filled:
            return None
        chosen = filled[a % len(filled)]
        assert isinstance(chosen, list)
        return chosen, b % len(chosen)

    def put(self, a: int, b: int, item: Any) -> None:
        if self.shards and sum(len(shard.items) for shard in self.shards) < MAX_ITEMS:
            chosen = self.shards[a % len(self.shards)].items
            assert isinstance(chosen, list)
            chosen.insert(b % (len(chosen) + 1), item)


def _insert(draft: Draft, a: int, b: int, c: int, content: Any) -> None:
    draft.put(a, b, content)


def _remove(draft: Draft, a: int, b: int, c: int, content: Any) -> None:
    if place := draft.place(a, b):
        del place[0][place[1]]


def _change(draft: Draft, a: int, b: int, c: int, content: Any) -> None:
    """Another item takes over some of the members of a new one."""
    if not (place := draft.place(a, b)):
        return
    item = place[0][place[1]]
    if isinstance(item, dict) and isinstance(content, dict) and item.get("@type") == content.get("@type"):
        keys = sorted(content.keys() - {"@type", "@id"})
        place[0][place[1]] = item | {key: content[key] for number, key in enumerate(keys) if number % 3 == c % 3}
    else:
        place[0][place[1]] = content


def _move(draft: Draft, a: int, b: int, c: int, content: Any) -> None:
    if place := draft.place(a, b):
        draft.put(c, a, place[0].pop(place[1]))


def _duplicate(draft: Draft, a: int, b: int, c: int, content: Any) -> None:
    """The same `@id` again, elsewhere; with other content when there is some of its type."""
    if not (place := draft.place(a, b)):
        return
    item = place[0][place[1]]
    if isinstance(item, dict) and isinstance(content, dict) and item.get("@type") == content.get("@type"):
        item = content | {"@id": item.get("@id")}
    draft.put(c, b, item)


def _reverse_items(draft: Draft, a: int, b: int, c: int, content: Any) -> None:
    if place := draft.place(a, b):
        place[0].reverse()


def _rotate_items(draft: Draft, a: int, b: int, c: int, content: Any) -> None:
    if place := draft.place(a, b):
        place[0].append(place[0].pop(0))


def _swap_shards(draft: Draft, a: int, b: int, c: int, content: Any) -> None:
    if draft.shards:
        draft.shards.insert(b % len(draft.shards), draft.shards.pop(a % len(draft.shards)))


def _rename_shard(draft: Draft, a: int, b: int, c: int, content: Any) -> None:
    free = [url for url in SHARDS if url not in {shard.url for shard in draft.shards}]
    if draft.shards and free:
        draft.shards[a % len(draft.shards)].url = free[b % len(free)]


def _swap_names(draft: Draft, a: int, b: int, c: int, content: Any) -> None:
    if draft.shards:
        one, other = draft.shards[a % len(draft.shards)], draft.shards[b % len(draft.shards)]
        one.url, other.url = other.url, one.url


def _add_shard(draft: Draft, a: int, b: int, c: int, content: Any) -> None:
    free = [url for url in SHARDS if url not in {shard.url for shard in draft.shards}]
    if len(draft.shards) < MAX_SHARDS and free:
        draft.shards.insert(b % (len(draft.shards) + 1), Shard(free[a % len(free)], []))


def _remove_shard(draft: Draft, a: int, b: int, c: int, content: Any) -> None:
    if draft.shards:
        del draft.shards[a % len(draft.shards)]


def _split_shard(draft: Draft, a: int, b: int, c: int, content: Any) -> None:
    """Some items go into a new shard that follows."""
    free = [url for url in SHARDS if url not in {shard.url for shard in draft.shards}]
    if draft.shards and free:
        at = a % len(draft.shards)
        found = draft.shards[at].items
        cut = b % (len(found) + 1)
        draft.shards[at].items = found[:cut]
        draft.shards.insert(at + 1, Shard(free[0], found[cut:]))


def _restyle(draft: Draft, a: int, b: int, c: int, content: Any) -> None:
    if draft.shards:
        draft.shards[a % len(draft.shards)].style = b % 4


def _reorder_keys(draft: Draft, a: int, b: int, c: int, content: Any) -> None:
    if (place := draft.place(a, b)) and isinstance(place[0][place[1]], dict):
        place[0][place[1]] = dict(reversed(place[0][place[1]].items()))


def _remove_groups(draft: Draft, a: int, b: int, c: int, content: Any) -> None:
    for shard in draft.shards:
        shard.items = [
            item for item in shard.items if not (isinstance(item, dict) and item.get("@type") == "ProductGroup")
        ]


def _change_index(draft: Draft, a: int, b: int, c: int, content: Any) -> None:
    """What the index says beside the list of shards."""
    draft.publication.index = _INDEXES[a % len(_INDEXES)]


def _return(draft: Draft, a: int, b: int, c: int, content: Any) -> None:
    """An earlier publication's feed comes back whole."""
    if draft.earlier:
        back = draft.earlier[a % len(draft.earlier)].copy()
        draft.publication.shards, draft.publication.index = back.shards, back.index


_EDITS: dict[str, Callable[[Draft, int, int, int, Any], None]] = {
    "insert": _insert,
    "remove": _remove,
    "change": _change,
    "move": _move,
    "duplicate": _duplicate,
    "reverse items": _reverse_items,
    "rotate items": _rotate_items,
    "swap shards": _swap_shards,
    "rename shard": _rename_shard,
    "swap names": _swap_names,
    "add shard": _add_shard,
    "remove shard": _remove_shard,
    "split shard": _split_shard,
    "restyle": _restyle,
    "reorder keys": _reorder_keys,
    "remove groups": _remove_groups,
    "change index": _change_index,
    "return": _return,
}  # fmt: skip

_numbers = st.integers(0, 11)
_edits = st.tuples(st.sampled_from(sorted(_EDITS)), _numbers, _numbers, _numbers, items)


@dataclass
class Step:
    """A publication, whether everything is read anew, whether a shard is missing at first, and whether the organization
    had left its registry and been retired before."""

    publication: Publication
    full: bool = False
    broken: bool = False
    retired: bool = False


@st.composite
def histories(draw: st.DrawFn) -> list[Step]:
    """Two to five publications."""
    shards = draw(st.lists(st.lists(items, max_size=4), min_size=1, max_size=3))
    first = Publication([Shard(url, found) for url, found in zip(SHARDS, shards, strict=False)], draw(registries))
    draft = Draft(first)
    steps = [Step(first.copy())]
    for _ in range(draw(st.integers(1, 4))):
        draft.earlier.append(draft.publication.copy())
        for edit in draw(st.lists(_edits, max_size=4)):
            draft.edit(*edit)
        if draw(st.integers(0, 3)) == 3:
            draft.publication.registry = draw(registries)
        publication = draft.publication.copy()
        unusual = draw(st.integers(0, 9))
        broken = unusual == 9 and bool(publication.shards)
        steps.append(Step(publication, full=unusual == 8, broken=broken, retired=unusual in (6, 7)))
    return steps

"""Search finds all that passes the filters and nothing else, best first, as the catalogue knows it now."""

import itertools
import random
from collections.abc import Iterator
from dataclasses import astuple, replace
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from app.cmp.text import search_text
from app.ingestors.handlers.vector import VectorHandler
from app.services import ranked
from app.services.generations import OtherModelError, live_generation
from app.services.search import SearchFilters, SearchHit, search
from app.vectors.embedders import EmbeddingUnavailableError
from app.vectors.fusion import reciprocal_rank_fusion
from app.vectors.indexes import finding
from app.vectors.ranking import K
from tests.support.embedders import HashEmbedder, direction, factory, forget_generations
from tests.support.feeds import OTHER_ORGANIZATION, FeedFolder, group, offer, product, variant
from tests.support.nodes import Node

NUMBER = 240
AVAILABILITIES = ("InStock", "OutOfStock", "LimitedAvailability", "PreOrder", None)
IN_STOCK = ("InStock", "LimitedAvailability")
CATEGORIES = (
    "Electronics > Audio > Headphones",
    "Electronics > Audio",
    "Electronics > Video",
    "Sports > Headphones",
    "Audio Books",
    None,
)
BRANDS = ("Acme", "ACME", "Bolt", "Größe", None)
NAMES = ("red lamp", "blue lamp", "red chair", "green desk", "blue chair")


def catalogue(organization: str, number: int) -> list[dict[str, Any]]:
    """Products of every kind: no brand, no category, no offers, offers in two currencies, in stock and not."""
    chance = random.Random(organization)  # noqa: S311 - no secret
    items = []
    for key in range(number):
        offers = [
            offer(
                price=chance.choice((5, 10, 10.5, 20, 99.99)),
                priceCurrency=chance.choice(("EUR", "USD")),
                availability=chance.choice(AVAILABILITIES) or ...,
            )
            for _ in range(chance.choice((0, 1, 1, 2, 3)))
        ]
        brand = chance.choice(BRANDS)
        items.append(
            product(
                key,
                organization,
                name=f"{chance.choice(NAMES)} {key}",
                description=chance.choice(("made of steel", "made of oak", ...)),
                brand={"@type": "Brand", "name": brand} if brand else ...,
                category=chance.choice(CATEGORIES) or ...,
                offers=offers or ...,
            )
        )
    return items


class Shop:
    """A node with two organizations, and what both publish."""

    def __init__(self, node: Node) -> None:
        self.folders = [FeedFolder(node.root / "first"), FeedFolder(node.root / "second", OTHER_ORGANIZATION)]
        node.configure(*({"name": f.path.name, "registry": f"{f.path.name}/registry.json"} for f in self.folders))
        self.node = node
        self.embedder = HashEmbedder()
        self.vectors = VectorHandler(node.database, node.settings, create=factory(self.embedder))

    def publish(self, *feeds: list[dict[str, Any]], index: bool = True) -> None:
        for folder, items in zip(self.folders, feeds, strict=True):
            folder.publish(items)
        assert self.node.start(accept_deletions=True)["status"] in ("success", "degraded")
        if index:
            self.vectors.run()

    def search(self, query: str, limit: int = 20, **filters: Any) -> list[SearchHit]:
        with self.node.database.transaction() as connection:
            return search(connection, self.embedder, query, SearchFilters(**filters), limit)

    def skus(self, query: str, limit: int = 20, **filters: Any) -> list[str | None]:
        return [hit.sku for hit in self.search(query, limit, **filters)]


@pytest.fixture
def shop(node: Node) -> Iterator[Shop]:
    forget_generations(node.database)
    yield Shop(node)
    forget_generations(node.database)


def passes(item: dict[str, Any], organization: str, wanted: dict[str, Any]) -> bool:
    """The filters, spelled out once more."""
    brand = item.get("brand", {}).get("name")
    if wanted.get("brand") and (brand or "").casefold() != wanted["brand"].casefold():
        return False
    if wanted.get("organization") and organization != wanted["organization"]:
        return False
    if category := wanted.get("category"):
        parts, sought = item.get("category", "").lower().split(" > "), category.lower().split(" > ")
        if not any(parts[at : at + len(sought)] == sought for at in range(len(parts))):
            return False
    if not any(wanted.get(name) for name in ("min_price", "max_price", "currency", "in_stock")):
        return True
    return any(offer_passes(offer, wanted) for offer in item.get("offers", []))


def offer_passes(offer: dict[str, Any], wanted: dict[str, Any]) -> bool:
    price = Decimal(str(offer["price"]))
    return (
        wanted.get("min_price", price) <= price <= wanted.get("max_price", price)
        and wanted.get("currency", offer["priceCurrency"]) == offer["priceCurrency"]
        and (not wanted.get("in_stock") or offer.get("availability") in IN_STOCK)
    )


def best_offer(item: dict[str, Any], wanted: dict[str, Any]) -> tuple[Any, ...]:
    offers = [offer for offer in item.get("offers", []) if offer_passes(offer, wanted)]
    stocked = [offer for offer in offers if offer.get("availability") in IN_STOCK]
    chosen = min(stocked, key=lambda offer: offer["price"]) if stocked else next(iter(offers), None)
    if chosen is None:
        return None, None, None
    return Decimal(str(chosen["price"])), chosen["priceCurrency"], chosen.get("availability")


def every_filter() -> list[dict[str, Any]]:
    choices: dict[str, tuple[Any, ...]] = {
        "brand": (None, "acme", "GRÖSSE".replace("SS", "ß"), "nobody"),
        "category": (None, "headphones", "Electronics > Audio", "audio"),
        "min_price": (None, Decimal("10.5")),
        "max_price": (None, Decimal(20)),
        "currency": (None, "EUR"),
        "in_stock": (None, True),
        "organization": (None, OTHER_ORGANIZATION),
    }
    combinations = [
        {name: value for name, value in zip(choices, each, strict=True) if value is not None}
        for each in itertools.product(*choices.values())
    ]
    # All of up to three, and a third of those that are made of more.
    few = [each for each in combinations if len(each) <= 3]
    return few + [each for each in combinations if len(each) > 3][::3]


@pytest.mark.parametrize("mode", ["exact", "approximate"])
def test_every_combination_of_filters_gives_all_that_passes(shop, monkeypatch, mode):
    feeds = [(f.organization, catalogue(f.organization, NUMBER // 2)) for f in shop.folders]
    shop.publish(*(items for _, items in feeds))
    if mode == "approximate":
        with shop.node.database.transaction() as connection:
            assert live_generation(connection).index.ensure_search_structures(connection, min_rows=NUMBER)
        monkeypatch.setattr(finding, "MAX_EXACT", 5)
    published = {item["@id"]: (item, organization) for organization, items in feeds for item in items}
    found_something = 0
    for wanted in every_filter():
        expected = {urn for urn, (item, organization) in published.items() if passes(item, organization, wanted)}
        hits = shop.search("red lamp", limit=1000, **wanted)
        assert {hit.urn for hit in hits} == expected, wanted
        assert len(hits) == len(expected)
        for hit in hits:
            assert (hit.price, hit.currency, hit.availability) == best_offer(published[hit.urn][0], wanted), wanted
        if len(wanted) < 3:
            assert len(shop.search("red lamp", limit=7, **wanted)) == min(7, len(expected)), wanted
        found_something += bool(expected)
    assert found_something > 200


def test_the_ranking_is_that_of_both_legs_fused(shop):
    items = catalogue(shop.folders[0].organization, 120)
    shop.publish(items, [])
    ids = {row["urn"]: row["id"] for row in shop.node.rows("SELECT id, urn FROM products")}
    texts = {
        ids[item["@id"]]: search_text(item["name"], item.get("brand", {}).get("name"), item.get("description"))
        for item in items
    }
    query = direction("red lamp")
    similarity = {key: float(np.dot(direction(words), query)) for key, words in texts.items()}
    matching = {key for key, words in texts.items() if {"red", "lamp"} <= set(words.split())}

    hits = shop.search("red lamp", limit=120)

    order = [ids[hit.urn] for hit in hits]
    scores = {ids[hit.urn]: hit.score for hit in hits}
    assert sorted(order) == sorted(texts)
    assert 5 < len(matching) < 60
    assert list(scores.values()) == sorted(scores.values(), reverse=True)
    by_vector = [key for key in order if key not in matching]
    falls = np.diff([similarity[key] for key in by_vector])
    assert max(falls) < 0.002  # half precision
    for key, score in reciprocal_rank_fusion([(1, sorted(similarity, key=lambda key: -similarity[key]))], K):
        gained = scores[key] - score
        assert gained > 1 / (K + len(matching)) - 0.001 if key in matching else abs(gained) < 0.001


def test_a_hit_shows_what_the_catalogue_knows(shop):
    shop.publish([product(1, offers=[offer(price="1299.00", priceCurrency="USD")])], [])

    (hit,) = shop.search("lamp")

    assert astuple(hit)[:11] == (
        "urn:cmp:org:8af57203-a141-5018-8f78-61b5f3e91920:sku:1", "Lamp 1", "Acme", "Home > Lamps", Decimal("1299.00"),
        "USD", "InStock", "https://acme.example/p/1", pytest.approx(2 / 61),
        "urn:cmp:org:8af57203-a141-5018-8f78-61b5f3e91920", "SKU-1",
    )  # fmt: skip


def test_prices_are_those_of_now_and_cost_no_vector_step(shop):
    shop.publish([product(1, offers=offer(price=10))], [])
    shop.publish([product(1, offers=offer(price=12, availability="https://schema.org/OutOfStock"))], [], index=False)

    (hit,) = shop.search("lamp")

    assert (hit.price, hit.availability) == (12, "OutOfStock")
    assert shop.search("lamp", max_price=Decimal(11)) == shop.search("lamp", in_stock=True) == []


@pytest.mark.parametrize("query", ["lamp", "", "SKU-1"])
def test_a_deleted_product_is_not_found_even_before_the_vector_step(shop, query):
    shop.publish([product(1), product(2)], [])
    shop.publish([product(2)], [], index=False)

    assert shop.skus(query) == ["SKU-2"]


def test_until_the_new_vector_is_there_the_old_one_serves(shop):
    shop.publish([product(1), product(2)], [])
    shop.publish([product(1, name="Chandelier"), product(2)], [], index=False)

    hits = shop.search("lamp")

    assert {hit.name for hit in hits} == {"Chandelier", "Lamp 2"}
    assert hits[0].score == pytest.approx(hits[1].score, rel=0.1)  # by text, both still match


def identified() -> list[dict[str, Any]]:
    return [
        product("a", sku="Ab-1", mpn="PowerCore+ 26 & more"),
        product("b", sku="X", gtin13="0848061041071", name="Ab-1 look-alike"),
        product("c", sku="26", mpn="ab-1"),
        *(product(key) for key in range(30)),
    ]


@pytest.mark.parametrize(
    ("query", "first"),
    [
        ("Ab-1", ["Ab-1", "26"]),
        (" aB-1 ", ["Ab-1", "26"]),
        ("powercore+ 26 & MORE", ["Ab-1"]),
        ("0848061041071", ["X"]),
        ("848061041071", ["X"]),
        ("00 848061041071", ["X"]),
        ("26", ["26"]),
    ],
)
def test_an_identifier_finds_its_products_first(shop, query, first):
    shop.publish(identified(), [])

    hits = shop.search(query)

    assert {hit.sku for hit in hits[: len(first)]} == set(first)
    assert all(hit.score == 1 for hit in hits[: len(first)])
    assert all(hit.score < 0.1 for hit in hits[len(first) :])
    assert len({hit.urn for hit in hits}) == len(hits) == 20


def test_an_identifier_obeys_the_filters(shop):
    shop.publish(
        [product("a", sku="Ab-1", category="Toys"), product("b")], [product("c", OTHER_ORGANIZATION, sku="ab-1")]
    )

    assert shop.skus("ab-1", category="Home") == ["ab-1", "SKU-b"]
    assert shop.skus("ab-1", limit=1, organization=OTHER_ORGANIZATION) == ["ab-1"]
    assert shop.skus("ab-1", limit=1, category="toys") == ["Ab-1"]


def test_an_empty_query_shows_the_newest_first(shop):
    shop.publish([product(1), product(2, category="Toys")], [])
    shop.publish([product(1), product(2, category="Toys"), product(3)], [], index=False)

    newest, *older = shop.skus("  ")
    assert newest == "SKU-3"
    assert sorted(older) == ["SKU-1", "SKU-2"]
    assert shop.skus("", category="Toys") == ["SKU-2"]
    assert len(shop.skus("", limit=2)) == 2


@pytest.mark.parametrize("spelling", ["urn:cmp:orgid:{}", "urn:cmp:org:{}", " URN:CMP:ORG:{} "])
def test_an_organization_is_found_by_any_spelling(shop, spelling):
    shop.publish([product(1)], [product(2, OTHER_ORGANIZATION)])
    name = OTHER_ORGANIZATION.rpartition(":")[2]

    assert shop.skus("lamp", organization=spelling.format(name)) == ["SKU-2"]


def test_unknown_names_find_nothing(shop):
    shop.publish([product(1)], [])

    for unknown in ({"organization": "urn:cmp:org:nobody"}, {"brand": "nobody"}, {"category": ""}, {"currency": "XXX"}):
        assert shop.search("lamp", **unknown) == []


@pytest.mark.parametrize(
    "query",
    ["-lamp", '"', "the of and", "lamp\x00", "\ud800", "'; DROP TABLE products; --", ":* | & !", "x" * 5000,
     "🔦" * 2000, "ẞ" * 400, "lamp OR -chair", "%s :name {}"],
)  # fmt: skip
def test_any_text_is_a_query(shop, query):
    shop.publish([product(key) for key in range(3)], [])

    assert len(shop.search(query)) == 3


def test_before_the_first_vector_step_identifiers_are_found(shop):
    shop.publish([product(1), product(2)], [], index=False)

    assert shop.skus("sku-2") == ["SKU-2"]
    assert shop.skus("lamp") == []


def test_a_query_of_another_model_is_an_error(shop):
    shop.publish([product(1)], [])

    with pytest.raises(OtherModelError), shop.node.database.transaction() as connection:
        search(connection, HashEmbedder(model="better"), "lamp")


def test_a_query_is_embedded_once_and_finds_what_was_merged_since(shop):
    shop.publish([product(1)], [])
    shop.skus("a lamp that nobody asked for before")
    shop.publish([product(1), product(2, brand={"name": "Newcomer"}, category="Lights > New")], [])

    assert len(shop.skus("a lamp that nobody asked for before")) == 2
    assert shop.embedder.texts.count("a lamp that nobody asked for before") == 1
    assert shop.skus("lamp", brand="newcomer", category="new") == ["SKU-2"]

    shop.embedder.identity = replace(shop.embedder.identity, weights="1" * 64)
    with pytest.raises(OtherModelError):
        shop.skus("a lamp that nobody asked for before")


def test_of_a_group_the_best_variant_is_listed_and_the_others_under_it(shop):
    sizes = [variant(key, of=1, name=f"Tent for {key}", offers=offer(price=10 * key)) for key in range(1, 6)]
    shop.publish([group(1), *sizes, product(9, name="Tent pegs")], [])

    first, second = shop.search("tent for 3")

    assert (first.sku, second.sku) == ("SKU-3", "SKU-9")
    assert [each.sku for each in first.variants] == ["SKU-1", "SKU-2", "SKU-4", "SKU-5"]
    assert first.variants[2].price == 40
    assert second.variants == ()
    cheap = shop.search("tent for 3", max_price=Decimal(20))
    assert sorted([hit.sku, *(each.sku for each in hit.variants)] for hit in cheap) in (
        [["SKU-1", "SKU-2"], ["SKU-9"]], [["SKU-2", "SKU-1"], ["SKU-9"]],
    )  # fmt: skip
    assert shop.skus("SKU-2")[0] == "SKU-2"


@pytest.mark.parametrize("query", ["lamp", ""])
def test_as_many_groups_are_found_as_there_are(shop, query, monkeypatch):
    """Though the variants of one would fill the candidates of both rankings."""
    monkeypatch.setattr(ranked, "DEPTH", 5)
    items = [variant(f"{of}-{key}", of=of, name="Lamp") for of in range(8) for key in range(20)]
    shop.publish([*(group(of) for of in range(8)), *items, product("x")], [])

    hits = shop.search(query, limit=5)

    assert len(hits) == 5
    hits = shop.search(query, limit=20)
    assert len(hits) == 9
    assert sorted(len(hit.variants) for hit in hits) == [0, *[19] * 8]


def test_an_identifier_is_found_among_words_however_it_is_spelled(shop):
    items = [product(key, name=f"Toner {key}", mpn=f"CF{key}X") for key in range(250, 265)]
    shop.publish(items, [])

    for query in ("hp cf-259x", "CF259X toner", "toner cf 259 x", "Cf_259.x"):
        hits = shop.search(query)
        assert (hits[0].sku, hits[0].score) == ("SKU-259", 1)
        assert hits[0].explanation.identifier == "CF259X"
        assert all(hit.score < 0.1 for hit in hits[1:])


def test_the_products_of_a_brand_that_is_named_come_first(shop):
    brand = {"@type": "Brand", "name": "Bolt"}
    fitting = [product(key, name=f"Bolt {key}", description="bolt for bolt") for key in range(10)]
    shop.publish([*fitting, product("a", brand=brand), product("b", brand=brand)], [])

    hits = shop.search("bolt")

    assert {hit.sku for hit in hits[:2]} == {"SKU-a", "SKU-b"}
    assert [hit.explanation.is_brand for hit in hits] == [True] * 2 + [False] * 10
    assert {hit.sku for hit in shop.search("bolt", brand="Bolt")} == {"SKU-a", "SKU-b"}
    assert not shop.search("bolt 3")[0].explanation.is_brand


def test_a_hit_tells_where_it_stands(shop):
    names = ("Red lamp", "Blue lamp", "Red desk")
    shop.publish([product(key, name=name, description=..., category=...) for key, name in enumerate(names)], [])

    hits = {hit.name: hit.explanation for hit in shop.search("red lamp")}

    assert hits["Red lamp"].text.rank == 1
    assert hits["Blue lamp"].text is None
    assert {hits[name].partial.rank for name in ("Blue lamp", "Red desk")} == {1, 2}
    assert hits["Red lamp"].partial is None
    assert sorted(explanation.dense.rank for explanation in hits.values()) == [1, 2, 3]
    text = search_text("Red lamp", "Acme", None)
    similarity = float(np.dot(direction(text), direction("red lamp")))
    assert hits["Red lamp"].dense.score == pytest.approx(similarity, abs=0.01)


def test_what_category_and_attributes_say_is_found_and_does_not_rank(shop):
    use = [{"@type": "PropertyValue", "name": "use", "value": "Gaming"}]
    told = [product(key, name="Keyboard", additionalProperty=use, category="Office > Input") for key in range(12)]
    shop.publish([*told, product("a", name="Gaming keyboard"), product("b", name="Keyboard")], [])

    hits = shop.search("gaming keyboard")

    by_words = [hit for hit in hits if hit.explanation.text]
    assert {hit.sku for hit in hits} - {hit.sku for hit in by_words} == {"SKU-b"}
    assert len(by_words) == 13
    assert min(by_words, key=lambda hit: hit.explanation.text.rank).sku == "SKU-a"
    assert len([hit for hit in shop.search("input keyboard") if hit.explanation.text]) == 12


def test_a_query_is_read_as_the_catalogue_is_spelled(shop):
    shop.publish([product(1, name="Headset"), product(2, name="Coffee machine")], [])

    for query, sku, respelled in (("head set", "SKU-1", "headset"), ("cofee", "SKU-2", "coffee")):
        hit = shop.search(query)[0]
        assert (hit.sku, hit.explanation.respelled) == (sku, respelled)
        assert hit.explanation.text.rank == 1
    assert shop.search("coffee")[0].explanation.respelled is None


class Forgetful(HashEmbedder):
    """A model that is there for the first text alone."""

    def embed(self, texts):
        if len(self.calls) == 1:
            raise EmbeddingUnavailableError("It is gone", remedy="Wait.")
        return super().embed(texts)


def test_a_query_read_anew_keeps_its_vector_when_there_is_no_other(shop):
    shop.publish([product(1, name="Headset"), product(2, name="Coffee machine")], [])
    shop.embedder = Forgetful()

    hit = shop.search("head set")[0]

    assert (hit.sku, hit.explanation.respelled) == ("SKU-1", "headset")
    assert hit.explanation.dense is not None

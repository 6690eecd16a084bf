"""A filter in Pinecone passes every product that the exact one passes."""

from decimal import Decimal

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from app.cmp.availability import IN_STOCK, NAMES
from app.cmp.categories import SEPARATOR, cut_path, normalize_path
from app.cmp.currencies import CURRENCIES
from app.cmp.limits import MAX_PRICE
from app.vectors.indexes.pinecone import (
    OfferFacts,
    ProductFacts,
    SearchFilters,
    metadata_hash,
    pinecone_filter,
    product_metadata,
)
from app.vectors.indexes.pinecone.metadata import MAX_METADATA_BYTES
from tests.support.pinecone.filtering import check, passes
from tests.support.pinecone.limits import check_metadata

TEXT_HASH = bytes(range(16))
# Few values, so that products and filters often meet; among them letters whose case is difficult.
_words = st.sampled_from(
    ["Audio", "audio", "Kabel", "KABEL", "Straße", "STRASSE", "İç", "iç", "Ωmega", "ωμέγα", "*", "\u017fet", "\u1c89"]
)
_texts = st.one_of(_words, st.text(max_size=6).map(lambda text: text.replace("\x00", "")))
_paths = st.lists(_texts, min_size=1, max_size=5).map(lambda parts: normalize_path(SEPARATOR.join(parts)))
_prices = st.one_of(
    st.sampled_from([Decimal("9.99"), Decimal("10"), Decimal("10.000001"), MAX_PRICE]),
    st.decimals(min_value=0, max_value=MAX_PRICE, places=6),
)
_currencies = st.sampled_from(["EUR", "USD", "JPY"])
_offers = st.builds(OfferFacts, _prices, _currencies, st.sampled_from([*NAMES, None]))
_organizations = st.sampled_from(["urn:cmp:org:one", "urn:cmp:org:two"])
_brand_urns = st.sampled_from(["urn:cmp:brand:a", "urn:cmp:brand:b"])
_products = st.builds(
    ProductFacts,
    _organizations,
    st.lists(_texts.map(str.strip), max_size=2),
    st.none() | _brand_urns,
    st.none() | _paths,
    st.lists(_offers, max_size=4),
)
_filters = st.builds(
    SearchFilters,
    brand=st.none() | _texts | _brand_urns,
    category=st.none() | _paths.filter(bool) | _words,
    min_price=st.none() | _prices,
    max_price=st.none() | _prices,
    currency=st.none() | _currencies | st.just(" eur "),
    in_stock=st.booleans(),
    organization=st.none() | _organizations,
)


def passes_exactly(product: ProductFacts, filters: SearchFilters) -> bool:
    """As `app.services.search` asks PostgreSQL."""
    if filters.organization not in {None, product.organization_urn}:
        return False
    if filters.brand is not None:
        brand = filters.brand.strip()
        if brand != product.brand_urn and brand.lower() not in {name.lower() for name in product.brand_names}:
            return False
    if filters.category is not None:
        within = f"{SEPARATOR}{normalize_path(filters.category) or ''}{SEPARATOR}".lower()
        if product.category_path is None or within not in f"{SEPARATOR}{product.category_path}{SEPARATOR}".lower():
            return False
    asks_for_offer = filters.in_stock or any(
        each is not None for each in (filters.min_price, filters.max_price, filters.currency)
    )
    return not asks_for_offer or any(_offer_passes(offer, filters) for offer in product.offers)


def _offer_passes(offer: OfferFacts, filters: SearchFilters) -> bool:
    return (
        (filters.min_price is None or offer.price >= filters.min_price)
        and (filters.max_price is None or offer.price <= filters.max_price)
        and (filters.currency is None or offer.currency == filters.currency.strip().upper())
        and (not filters.in_stock or offer.availability in IN_STOCK)
    )


def found(product: ProductFacts, filters: SearchFilters) -> bool:
    condition = pinecone_filter(filters)
    if condition is None:
        return True
    check(condition)
    return passes(product_metadata(product, TEXT_HASH), condition)


@settings(max_examples=60, deadline=None)
@given(_products, _filters)
@example(ProductFacts("o", offers=[OfferFacts(Decimal("99999999999999.999999"), "EUR", "InStock")]),
         SearchFilters(min_price=Decimal("99999999999999.999998"),
                       max_price=Decimal("99999999999999.999999")))  # fmt: skip
@example(ProductFacts("o", category_path="a > b > a > c"), SearchFilters(category="B > A"))
def test_nothing_that_passes_is_left_out(product: ProductFacts, filters: SearchFilters) -> None:
    if passes_exactly(product, filters):
        assert found(product, filters)


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (SearchFilters(), True),
        (SearchFilters(brand="ACME "), True),
        (SearchFilters(brand="Acme Tools"), True),
        (SearchFilters(brand="urn:cmp:brand:a"), True),
        (SearchFilters(brand="Other"), False),
        (SearchFilters(category="audio"), True),
        (SearchFilters(category="Electronics>Audio"), True),
        (SearchFilters(category="Audio > Headphones"), True),
        (SearchFilters(category="Headphones > Audio"), False),
        (SearchFilters(category="Video"), False),
        (SearchFilters(currency="eur"), True),
        (SearchFilters(currency="USD"), False),
        (SearchFilters(min_price=Decimal(11)), True),
        (SearchFilters(min_price=Decimal(31)), False),
        (SearchFilters(max_price=Decimal(9)), False),
        (SearchFilters(max_price=Decimal(15), currency="JPY"), False),
        (SearchFilters(in_stock=True), True),
        (SearchFilters(in_stock=True, max_price=Decimal(19)), False),
        (SearchFilters(in_stock=True, currency="EUR", min_price=Decimal(20), max_price=Decimal(20)), True),
        (SearchFilters(in_stock=True, currency="JPY"), False),
        (SearchFilters(organization="urn:cmp:org:one"), True),
        (SearchFilters(organization="urn:cmp:org:two"), False),
    ],
    ids=str,
)
def test_filters_leave_out_what_differs_in_one_thing(filters: SearchFilters, *, expected: bool) -> None:
    product = ProductFacts(
        "urn:cmp:org:one", ["Acme", "Acme Tools"], "urn:cmp:brand:a", "Electronics > Audio > Headphones",
        [
            OfferFacts(Decimal(10), "EUR", "OutOfStock"),
            OfferFacts(Decimal(20), "EUR", "InStock"),
            OfferFacts(Decimal(30), "JPY", None),
        ],
    )  # fmt: skip
    assert found(product, filters) is expected


def test_what_an_update_replaces_is_all_that_filters_look_at() -> None:
    """An update keeps keys that it does not name: what a product no longer has must not be found by them."""
    full = ProductFacts(
        "urn:cmp:org:one", ["Acme"], "urn:cmp:brand:a", "Audio", [OfferFacts(Decimal(10), "EUR", "InStock")]
    )
    bare = ProductFacts("urn:cmp:org:one")
    updated = product_metadata(full, TEXT_HASH) | product_metadata(bare, TEXT_HASH)
    for filters in (
        SearchFilters(brand="Acme"), SearchFilters(brand="urn:cmp:brand:a"), SearchFilters(category="Audio"),
        SearchFilters(in_stock=True),
        SearchFilters(currency="EUR"), SearchFilters(min_price=Decimal(1)), SearchFilters(max_price=Decimal(99)),
        SearchFilters(currency="EUR", in_stock=True, max_price=Decimal(99)),
    ):  # fmt: skip
        condition = pinecone_filter(filters)
        assert condition is not None
        assert not passes(updated, condition)


def test_the_largest_product_fits_and_is_found() -> None:
    names = ["\u0390" * 256, "\ufdfa" * 170]
    path = cut_path(SEPARATOR.join(f"{'ΐ' * 12}{number}" for number in range(40)))
    offers = [OfferFacts(MAX_PRICE - number, currency, "InStock") for number, currency in enumerate(sorted(CURRENCIES))]
    product = ProductFacts("urn:" + "o" * 1020, names, "urn:" + "b" * 1020, path, offers)
    metadata = product_metadata(product, TEXT_HASH)
    assert len(msgspec.json.encode(check_metadata(metadata))) <= MAX_METADATA_BYTES
    wanted = SearchFilters(
        brand=names[0].upper(), category=path.split(SEPARATOR)[3], currency=offers[-1].currency,
        min_price=offers[-1].price, in_stock=True,
    )  # fmt: skip
    assert found(product, wanted)


def test_a_path_of_too_many_parts_passes_every_category() -> None:
    product = ProductFacts("o", category_path=SEPARATOR.join(str(number) * 100 for number in range(40)))
    assert found(product, SearchFilters(category="whatever"))


@settings(max_examples=30, deadline=None)
@given(_products, _products)
def test_the_hash_tells_whether_the_metadata_differs(one: ProductFacts, other: ProductFacts) -> None:
    first, second = product_metadata(one, TEXT_HASH), product_metadata(other, bytes(16))
    told = {"text_hash", "metadata_hash"}
    bare = [{key: value for key, value in each.items() if key not in told} for each in (first, second)]
    assert (metadata_hash(first) == metadata_hash(second)) is (bare[0] == bare[1])
    assert first["metadata_hash"] == metadata_hash(first).hex()

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from app.cmp.offers import parse_moment
from tests.unit.cmp.samples import encode, offer, parsed, parsed_product, product


@pytest.mark.parametrize(
    ("raw", "price"),
    [
        ("299.99", "299.99"),
        ("0.1", "0.1"),
        ("12345678901234.123456", "12345678901234.123456"),
        ('"299.99"', "299.99"),
        ('"1,299.00"', "1299.00"),
        ('"$12"', "12"),
        ("0", "0"),
    ],
)
def test_prices_are_exact(raw: str, price: str) -> None:
    result = parsed(encode(product(offers=offer(price="HERE"))).replace(b'"HERE"', raw.encode()))
    item = parsed_product(encode(product(offers=offer(price="HERE"))).replace(b'"HERE"', raw.encode()))
    assert [each.price for each in item.offers] == [Decimal(price)]
    assert str(item.offers[0].price) == price
    assert [issue.code for issue in result.issues] == (["price-as-text"] if raw.startswith('"') else [])


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"price": None}, "price-missing"),
        ({"price": ""}, "price-missing"),
        ({"price": ...}, "price-missing"),
        ({"price": "NaN"}, "price-unusable"),
        ({"price": -5}, "price-unusable"),
        ({"price": "1,299"}, "price-unusable"),
        ({"price": "\u20ac 12"}, "price-unusable"),
        ({"price": {}}, "price-unusable"),
        ({"price": True}, "price-unusable"),
        ({"price": 10**30}, "price-unusable"),
        ({"priceCurrency": "US Dollar"}, "currency-unknown"),
        ({"priceCurrency": 840}, "currency-unknown"),
        ({"priceCurrency": ...}, "currency-missing"),
    ],
)
def test_a_bad_offer_is_dropped_and_the_product_stays(changes: dict[str, Any], code: str) -> None:
    result = parsed(product(offers=[offer(**changes), offer()]))
    assert [issue.code for issue in result.issues] == [code]
    assert result.issues[0].path.startswith("offers[0].")
    item = parsed_product(product(offers=[offer(**changes), offer()]))
    assert (item.offers_read, item.offers_rejected, len(item.offers)) == (2, 1, 1)


@pytest.mark.parametrize("raw", [b"1e400", b"NaN", b"-Infinity", b"1e-400"])
def test_numbers_that_are_none_cost_the_offer_only(raw: bytes) -> None:
    item = parsed_product(encode(product(offers=offer(price="HERE"))).replace(b'"HERE"', raw))
    assert (item.offers, item.offers_read, item.offers_rejected) == ([], 1, 1)


@pytest.mark.parametrize(
    ("changes", "codes", "fields"),
    [
        ({"priceCurrency": " usd "}, [], {"currency": "USD"}),
        ({"availability": "in stock"}, ["availability-not-url"], {"availability": "InStock"}),
        ({"availability": "http://schema.org/SoldOut"}, [], {"availability": "SoldOut"}),
        ({"availability": {"@id": "https://schema.org/InStock"}}, [], {"availability": "InStock"}),
        ({"availability": "perhaps"}, ["availability-unknown"], {"availability": None}),
        ({"availability": 5}, ["availability-unknown"], {"availability": None}),
        ({"availability": ...}, ["availability-missing"], {"availability": None}),
        ({"inventoryLevel": 7}, [], {"inventory": 7}),
        ({"inventoryLevel": {"value": "7"}}, [], {"inventory": 7}),
        ({"inventoryLevel": {"value": 7.0}}, [], {"inventory": 7}),
        ({"inventoryLevel": {"value": 7.5}}, ["inventory-unusable"], {"inventory": None}),
        ({"inventoryLevel": {"value": -1}}, ["inventory-unusable"], {"inventory": None}),
        ({"inventoryLevel": {"value": 2**31}}, ["inventory-unusable"], {"inventory": None}),
        ({"inventoryLevel": {"value": "1e999999999"}}, ["inventory-unusable"], {"inventory": None}),
        ({"inventoryLevel": []}, ["inventory-unusable"], {"inventory": None}),
        ({"inventoryLevel": {}}, [], {"inventory": None}),
        ({"priceValidUntil": "300000-01-01"}, ["valid-until-unusable"], {"valid_until": None}),
        ({"priceValidUntil": "soon"}, ["valid-until-unusable"], {"valid_until": None}),
        ({"priceValidUntil": 2025}, ["wrong-type"], {"valid_until": None}),
        ({"priceValidUntil": None}, [], {"valid_until": None}),
        ({"url": "https://x.example/"}, [], {"url": "https://x.example/"}),
        (
            {"price": ..., "priceCurrency": ..., "priceSpecification": {"price": 5, "priceCurrency": "EUR"}},
            ["price-in-specification"],
            {"price": Decimal(5), "currency": "EUR"},
        ),
        ({"priceCurrency": ..., "priceSpecification": [{"priceCurrency": "EUR"}]}, [], {"currency": "EUR"}),
    ],
)
def test_what_is_read_with_a_warning(changes: dict[str, Any], codes: list[str], fields: dict[str, Any]) -> None:
    result = parsed(product(offers=offer(**changes)))
    assert [issue.code for issue in result.issues] == codes
    found = parsed_product(product(offers=offer(**changes))).offers[0]
    for name, value in fields.items():
        assert getattr(found, name) == value


def test_aggregate_offers_are_their_offers() -> None:
    nested = {"@type": "AggregateOffer", "lowPrice": 1, "offers": [offer(), offer()]}
    assert len(parsed_product(product(offers=nested)).offers) == 2
    result = parsed(product(offers={"@type": "AggregateOffer", "lowPrice": 1, "priceCurrency": "USD"}))
    assert [issue.code for issue in result.issues] == ["price-missing"]


def test_other_things_are_no_offers() -> None:
    result = parsed(product(offers=["cheap", None, offer()]))
    assert [issue.code for issue in result.issues] == ["offer-not-object"] * 2


def test_too_many_offers_are_counted() -> None:
    item = parsed_product(product(offers=[offer()] * 150))
    assert (len(item.offers), item.offers_read, item.offers_rejected) == (100, 150, 50)
    assert [issue.code for issue in parsed(product(offers=[offer()] * 150)).issues] == ["too-many-offers"]


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2025-12-31T23:59:59Z", datetime(2025, 12, 31, 23, 59, 59, tzinfo=UTC)),
        ("2025-12-31T23:59:59+02:00", datetime(2025, 12, 31, 21, 59, 59, tzinfo=UTC)),
        ("2025-12-31T23:59:59", datetime(2025, 12, 31, 23, 59, 59, tzinfo=UTC)),
        ("2025-12-31", datetime(2025, 12, 31, 23, 59, 59, tzinfo=UTC)),
        ("9999-12-31", datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)),
        ("9999-12-31T23:59:59-05:00", None),
        ("0001-01-01T00:00:00+05:00", None),
        ("+300000-01-01", None),
        ("1" * 1000, None),
        ("", None),
    ],
)
def test_moments(text: str, moment: datetime | None) -> None:
    assert parse_moment(text) == moment

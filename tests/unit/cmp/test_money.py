import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.cmp.money import parse_currency, parse_price


@pytest.mark.parametrize(
    ("raw", "currency", "price"),
    [
        ("299.99", "USD", "299.99"),
        ("0", "USD", "0"),
        ("0.10", "USD", "0.10"),
        ("1e3", "USD", "1000"),
        ("1.5E1", "USD", "15"),
        ("12345678901234.123456", "USD", "12345678901234.123456"),
        ("12.990000000", "USD", "12.99"),
        ('"299.99"', "USD", "299.99"),
        ('" 299.99 "', "USD", "299.99"),
        ('"1,299.00"', "USD", "1299.00"),
        ('"1.299,00"', "EUR", "1299.00"),
        ('"1 299,00"', "EUR", "1299.00"),
        ('"1\\u00a0299,00"', "EUR", "1299.00"),
        ('"1\'299.00"', "CHF", "1299.00"),
        ('"1\\u2019299.00"', "CHF", "1299.00"),
        ('"1,299,000"', "USD", "1299000"),
        ('"1,299,000.5"', "USD", "1299000.5"),
        ('"1.299.000"', "EUR", "1299000"),
        ('"12,99,000.00"', "INR", "1299000.00"),
        ('"1.299"', "USD", "1.299"),
        ('"0,299"', "EUR", "0.299"),
        ('"12,5"', "EUR", "12.5"),
        ('"1299,00"', "EUR", "1299.00"),
        ('".99"', "USD", "0.99"),
        ('"$12"', "USD", "12"),
        ('"$ 1,299.00"', "CAD", "1299.00"),
        ('"12 USD"', "USD", "12"),
        ('"usd 12"', "USD", "12"),
        ('"USD12.50"', "USD", "12.50"),
        ('"\\u20ac 12,50"', "EUR", "12.50"),
        ('"12,50\\u00a0\\u20ac"', "EUR", "12.50"),
        ('"199 kr."', "SEK", "199"),
        ('"Rs. 500"', "INR", "500"),
        ('"US$ 12"', "USD", "12"),
        ('"$.99"', "USD", "0.99"),
        ('"kr. 1.299,50"', "DKK", "1299.50"),
    ],
)
def test_unambiguous_prices_are_exact(raw: str, currency: str, price: str) -> None:
    found = parse_price(raw.encode(), currency)
    assert found == Decimal(price)
    exponent = found.as_tuple().exponent
    assert isinstance(exponent, int)
    assert -6 <= exponent <= 0


@pytest.mark.parametrize(
    "raw",
    [
        "null", '""', '" "', '"NaN"', "NaN", '"Infinity"', "1e400", "1e-400", "1e99999999999999999999", "-5", "-0.01",
        '"-5"', '"$-5"', '"1,299"', '"$1,299"', "100000000000000", "0.1234567", "true", "[]", "{}", '"free"',
        '"12-15"', '"12.50.3"', '"1,2,3"', '"12,99,00"', '"1 29"', '"12 EUR"', '"\\u20ac 12"', '"$"', '"299,-"',
        '"\\u0661\\u0662"', '"1e3"', '"1_000"', '"USD.50"', '"+5"', "", "{", '"\\ud800"',
        '"' + "1" * 200 + '"', "1" * 5000, "[" * 100_000,
    ],
)  # fmt: skip
def test_everything_else_is_refused(raw: str) -> None:
    with pytest.raises(ValueError, match=r"^\w"):
        parse_price(raw.encode(), "USD")


def test_a_sign_without_a_currency_is_refused() -> None:
    with pytest.raises(ValueError, match="currency"):
        parse_price(b'"$12"')
    assert parse_price(b'"12"') == 12


@given(st.decimals(min_value=0, max_value=10**14 - 1, places=6, allow_nan=False))
def test_numbers_and_texts_are_read_exactly(price: Decimal) -> None:
    text = format(price, "f")
    assert parse_price(text.encode()) == price
    assert parse_price(json.dumps(text).encode()) == price


@given(st.integers(0, 10**13), st.integers(0, 99))
def test_grouped_prices_are_read_exactly(whole: int, cents: int) -> None:
    exact = Decimal(whole) + Decimal(cents) / 100
    english = f"{whole:,}.{cents:02}"
    assert parse_price(json.dumps(english).encode()) == exact
    german = english.translate(str.maketrans(",.", ".,"))
    assert parse_price(json.dumps(german).encode()) == exact


@given(st.one_of(st.text(alphabet="0123456789.,' $€-+eE\u00a0", max_size=20), st.text(max_size=20)))
def test_a_text_is_a_price_within_range_or_refused(text: str) -> None:
    try:
        price = parse_price(json.dumps(text).encode(), "EUR")
    except ValueError:
        return
    assert 0 <= price < 10**14
    assert any(sign in "0123456789" for sign in text)


@pytest.mark.parametrize(
    ("value", "code"),
    [("USD", "USD"), (" eur ", "EUR"), ("US Dollar", None), ("$", None), ("XXX", None), ("", None), (None, None),
     (840, None), (["USD"], None), ("U" * 1000, None)],
)  # fmt: skip
def test_currencies(value: object, code: str | None) -> None:
    assert parse_currency(value) == code

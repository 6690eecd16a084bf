import pytest

from app.cmp.availability import IN_STOCK, NAMES, normalize


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("https://schema.org/InStock", "InStock"),
        ("http://schema.org/OutOfStock", "OutOfStock"),
        ("https://www.schema.org/PreOrder/", "PreOrder"),
        ("schema:BackOrder", "BackOrder"),
        ("schema.org/SoldOut", "SoldOut"),
        ("InStock", "InStock"),
        ("in stock", "InStock"),
        (" IN_STOCK ", "InStock"),
        ("out-of-stock", "OutOfStock"),
        ("pre order", "PreOrder"),
        ("https://schema.org/Maybe", None),
        ("yes", None),
        ("", None),
        ("x" * 10_000, None),
    ],
)
def test_spellings(value: str, name: str | None) -> None:
    assert normalize(value) == name


def test_what_counts_as_in_stock_is_an_availability() -> None:
    assert set(NAMES) > IN_STOCK

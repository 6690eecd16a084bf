"""A GTIN with fewer or more leading zeros is the same GTIN."""

import pytest

from app.services.search import gtin_spellings


@pytest.mark.parametrize(
    "query", ["0848061041071", "848061041071", "00848061041071", "0848061-041071", "0 848061 041071"]
)
def test_leading_zeros_and_punctuation_do_not_matter(query):
    assert gtin_spellings(query) == ["848061041071", "0848061041071", "00848061041071"]


def test_a_short_one_may_be_of_any_length():
    assert gtin_spellings("96385074") == ["96385074", "000096385074", "0000096385074", "00000096385074"]


@pytest.mark.parametrize("query", ["", "-", "SKU-7", "lamp", "123456789012345", "12.5", "٠٨٤٨٠٦١٠٤١٠٧١"])
def test_anything_else_is_none(query):
    assert gtin_spellings(query) == []

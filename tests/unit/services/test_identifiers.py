"""What in a query may be an identifier. A GTIN with fewer or more leading zeros is the same GTIN."""

import pytest

from app.services.identifiers import fold, gtin_spellings, gtins_in, keys_in


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


def test_a_gtin_is_found_among_words():
    assert gtins_in("ean 848061041071 please") == gtin_spellings("848061041071")
    assert gtins_in("2 lamps of 60 watts") == []


@pytest.mark.parametrize("spelling", ["CF259X", "cf 259 x", "cf-259x", "Cf_259/X."])
def test_gaps_and_case_do_not_matter(spelling):
    assert fold(spelling) == "cf259x"
    assert "cf259x" in keys_in(spelling)
    assert "cf259x" in keys_in(f"hp {spelling} toner")


@pytest.mark.parametrize("query", ["red lamp", "big usb hub", "12 345"])
def test_words_and_small_numbers_are_no_identifiers(query):
    assert [key for key in keys_in(query) if key != fold(query)] == []


def test_of_words_only_one_alone_may_be_an_identifier():
    assert keys_in("Hdmi-Cable") == ["hdmicable"]
    assert keys_in("hdmi cable") == keys_in(" - ") == []

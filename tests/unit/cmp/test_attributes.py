"""Attributes in words."""

import json

import pytest

from app.cmp.attributes import attribute_words
from app.cmp.items import facets_of
from app.cmp.limits import MAX_ATTRIBUTES
from tests.unit.cmp.samples import PRODUCT, product


def attribute(value: object, name: str = "Use") -> dict[str, object]:
    return {"@type": "PropertyValue", "name": name, "value": value}


@pytest.mark.parametrize(
    ("properties", "words"),
    [
        ([attribute("Gaming"), attribute(["red", "blue"]), attribute("Gaming")], "Gaming\nred\nblue"),
        ([attribute(True, "Waterproof"), attribute(False, "Wireless")], "Waterproof"),
        ([attribute(4), attribute(1.5), attribute(None), attribute({"value": "x"}), attribute("  ")], ""),
        (attribute("a\x00b"), "ab"),
        ([attribute(True, 7), "Gaming", None, 3], ""),
        (None, ""),
    ],
)
def test_text_and_what_is_true_count(properties, words):
    assert attribute_words(properties) == words


def test_long_ones_are_cut_between_values():
    words = attribute_words([attribute(f"value {number:04}") for number in range(1000)])
    assert MAX_ATTRIBUTES - 20 < len(words) <= MAX_ATTRIBUTES
    assert words.endswith("value 0371")


def test_facets_are_the_category_itself_and_the_attributes():
    assert facets_of(json.dumps(PRODUCT).encode()) == "Footrests\nGrey"
    assert facets_of(json.dumps(product(category=...)).encode()) == "Grey"

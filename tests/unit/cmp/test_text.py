import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.cmp.text import clean, cut_bytes, embedded_hash, is_hostile, search_text, shorten, text_hash

anything = st.text(alphabet=st.characters(categories=None))


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("plain", "plain"),
        ("naïve \u2013 “quoted”\ttab\nline", "naïve \u2013 “quoted”\ttab\nline"),
        ("a\x00b\x07c\x7fd\x9fe", "abcde"),
        ("a\ud800b\udfffc", "abc"),
        ("\u202eevil\u202c \u2066x\u2069\u200e\u200f", "evil x"),
        ("👩\u200d💻", "👩\u200d💻"),
        ("a\r\nb\rc", "a\nb\nc"),
        ("\ufeffname", "name"),
    ],
)
def test_clean(text: str, cleaned: str) -> None:
    assert clean(text) == cleaned


@given(anything)
def test_cleaned_text_can_be_stored(text: str) -> None:
    cleaned = clean(text)
    assert "\x00" not in cleaned
    assert cleaned.encode().decode() == cleaned
    assert clean(cleaned) == cleaned
    assert not is_hostile(cleaned)


@given(anything, st.integers(0, 50))
def test_cuts_keep_within_bytes(text: str, limit: int) -> None:
    text = clean(text)
    short = cut_bytes(text, limit)
    assert len(short.encode()) <= limit
    assert text.startswith(short)
    assert len(text.encode()) > limit or short == text


def test_shorten_is_for_showing() -> None:
    assert shorten("a" * 10, 5) == "aaaa…"
    assert shorten("a\x00b", 5) == "ab"


def test_search_text_and_its_hash() -> None:
    assert search_text("Name", "Brand", "Text") == "Name\nBrand\nText"
    assert search_text("Name", None, None) == "Name"
    first, other, same_text = (
        text_hash("Name", "Brand", "Text", "Lamps"), text_hash("Name", "Brand", "Text.", "Lamps"),
        text_hash("Name", "Brand", "Text", "Lamps\nblue"),
    )  # fmt: skip
    assert len(first) == 16
    assert len({first, other, same_text}) == 3
    assert embedded_hash(first) == embedded_hash(same_text) != embedded_hash(other)

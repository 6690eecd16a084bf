"""Prices as exact decimals. What can be read in two ways, or not exactly, is refused: never guessed or rounded."""

import re
from decimal import Decimal

import msgspec

from app.cmp.currencies import CURRENCIES, means
from app.cmp.limits import MAX_NUMBER_CHARS, MAX_PRICE, PRICE_SCALE

__all__ = ["parse_currency", "parse_price", "price_of"]

_DECODER = msgspec.json.Decoder(float_hook=msgspec.Raw)
_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?", re.ASCII)
_PLAIN = re.compile(r"[0-9]*\.?[0-9]+", re.ASCII)
_COMMA_DECIMAL = re.compile(r"[0-9]+,(?:[0-9]{1,2}|[0-9]{4,6})|0,[0-9]{3}", re.ASCII)
_SPACED = re.compile(r"([0-9]{1,3}(?:[ '][0-9]{3})+)(?:[.,]([0-9]+))?", re.ASCII)
_COMMA_GROUPS = re.compile(r"([1-9][0-9]{0,2}(?:,[0-9]{2,3})*,[0-9]{3})(?:\.([0-9]+))?", re.ASCII)
_POINT_GROUPS = re.compile(r"([1-9][0-9]{0,2}(?:\.[0-9]{3})+)(?:,([0-9]+))?", re.ASCII)
_AMBIGUOUS = re.compile(r"[1-9][0-9]{0,2},[0-9]{3}", re.ASCII)
_MARKED = re.compile(
    r"([^\W\d_]+\. |[^0-9+\-.,']*)((?:(?<![^\W\d_])\.)?[0-9](?:[0-9.,' ]*[0-9])?)([^0-9+\-,']*)",
)
"""A sign, digits, a sign. A dot between a letter and a digit (`Rs.500`, `USD.50`) can be read in two ways."""

_SPACES = re.compile("[\\s\u00a0\u2007\u2009\u202f]+")
_APOSTROPHE = str.maketrans({"\u2019": "'", "\u02bc": "'"})


def parse_currency(value: object) -> str | None:
    """The ISO 4217 code in upper case; None for anything else, such as "US Dollar" or "$"."""
    if not isinstance(value, str) or len(value) > MAX_NUMBER_CHARS:
        return None
    code = value if value in CURRENCIES else value.strip().upper()
    return code if code in CURRENCIES else None


def parse_price(raw: msgspec.Raw | bytes, currency: str | None = None) -> Decimal:
    """The price in a JSON value, exactly as written. Raises ValueError with the reason otherwise."""
    try:
        value = _DECODER.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError("is not a number") from error
    return price_of(value, currency)


def price_of(value: object, currency: str | None = None) -> Decimal:
    """Like `parse_price`, of a decoded value in which numbers with a fraction are still their text (Raw)."""
    if isinstance(value, str):
        return _checked(_text(value.strip(), currency))
    if isinstance(value, msgspec.Raw):
        return _checked(_number(bytes(value).decode("ascii", "replace")))
    if isinstance(value, int) and not isinstance(value, bool):
        if abs(value) > MAX_PRICE:
            raise ValueError("is beyond any price")
        return _checked(Decimal(value))
    raise ValueError("is empty" if value is None else "is not a number")


def _number(text: str) -> Decimal:
    if len(text) > MAX_NUMBER_CHARS or not _NUMBER.fullmatch(text):
        raise ValueError("is beyond any price")
    try:
        return Decimal(text)
    except ArithmeticError as error:
        raise ValueError("is beyond any price") from error


def _checked(price: Decimal) -> Decimal:
    if not price.is_finite() or price > MAX_PRICE:
        raise ValueError("is beyond any price")
    if price < 0:
        raise ValueError("is negative")
    exponent = price.as_tuple().exponent
    if isinstance(exponent, int) and -PRICE_SCALE <= exponent <= 0:
        return abs(price)
    return _rescaled(price)


def _rescaled(price: Decimal) -> Decimal:
    """The same number with none to six decimals, if there is one."""
    if price == 0:
        return Decimal(0)
    if price.adjusted() < -PRICE_SCALE:
        raise ValueError("has more than six decimals")
    plain = price.normalize()
    exponent = plain.as_tuple().exponent
    if plain != price or not isinstance(exponent, int) or exponent < -PRICE_SCALE:
        raise ValueError("has more than six decimals")
    return plain.quantize(Decimal(1)) if exponent > 0 else plain


def _text(text: str, currency: str | None) -> Decimal:
    if not text:
        raise ValueError("is empty")
    if len(text) > MAX_NUMBER_CHARS:
        raise ValueError("is too long for a price")
    if _PLAIN.fullmatch(text):
        return Decimal(text)
    text = _SPACES.sub(" ", text).translate(_APOSTROPHE).strip()
    if text.startswith("-"):
        raise ValueError("is negative")
    return _grouped(_unmarked(text, currency))


def _unmarked(text: str, currency: str | None) -> str:
    """The digits of a price without the currency's sign or code, which must be the currency given."""
    match = _MARKED.fullmatch(text)
    if match is None:
        raise ValueError("is not a number")
    before, digits, after = (part.strip() for part in match.groups())
    for mark in filter(None, (before, after)):
        if not means(mark, currency):
            raise ValueError(f"does not fit the currency {currency}" if currency else "has no known currency")
    return digits


def _grouped(text: str) -> Decimal:
    """Digits with separators, where these can only be read in one way."""
    if _PLAIN.fullmatch(text):
        return Decimal(text)
    if _COMMA_DECIMAL.fullmatch(text):
        return Decimal(text.replace(",", "."))
    if _AMBIGUOUS.fullmatch(text):
        raise ValueError("is ambiguous: the comma may group thousands or begin the decimals")
    for pattern in (_SPACED, _COMMA_GROUPS, _POINT_GROUPS):
        if match := pattern.fullmatch(text):
            whole = re.sub("[^0-9]", "", match[1])
            return Decimal(f"{whole}.{match[2]}" if match[2] else whole)
    raise ValueError("is not a number")

"""What an index knows of a product besides its text: all that is filtered by. Pure: no I/O.

The keys are always all there: an update replaces those it names, and could not take one away. Keys of single currencies
can outlive their offers; they are looked at only together with the list of currencies, which is always true.
"""

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from hashlib import sha256
from itertools import pairwise
from typing import TypeAlias

import msgspec

from app.cmp.availability import IN_STOCK
from app.cmp.categories import SEPARATOR
from app.cmp.limits import MAX_URN_BYTES
from app.cmp.text import cut_bytes

Value: TypeAlias = str | float | bool | list[str]
Metadata: TypeAlias = dict[str, Value]

ANY = "*"
"""Stands for every value of a list that would be too long: such a product passes each filter on it."""

TEXT_HASH, METADATA_HASH = "text_hash", "metadata_hash"
PRODUCT = "product"  # the id of the record, which a filter cannot ask for
PRICE, STOCK = "price", "stock"  # the first part of keys: of all offers, of those in stock
MAX_METADATA_BYTES = 30 * 1024
"""Of a product, at most: with the text beside it, it stays below Pinecone's 40 KB."""

_MAX_KEY_BYTES = 512
_MAX_CATEGORY_BYTES = 8 * 1024
_MAX_CURRENCIES = 64
_MAX_BRANDS = 4
_NEVER = 1e308  # a price that no filter reaches; the least and the highest of no offers at all
RESERVED = frozenset(
    {
        PRODUCT,
        "organization",
        "brand",
        "category",
        "in_stock",
        "price_currency",
        "stock_currency",
        TEXT_HASH,
        METADATA_HASH,
    }
)
"""Keys that the text of an index may not have. Those of prices end in `_min`, `_max` or a currency."""

_HASHES = frozenset({TEXT_HASH, METADATA_HASH})


@dataclass(frozen=True)
class OfferFacts:
    """An offer, as far as it is filtered by."""

    price: Decimal
    currency: str
    availability: str | None


@dataclass(frozen=True)
class ProductFacts:
    """A product, as far as it is filtered by. `brand_names` are what it calls its brand and what the registry does:
    a filter may say either."""

    organization_urn: str
    brand_names: Sequence[str] = ()
    brand_urn: str | None = None
    category_path: str | None = None
    offers: Sequence[OfferFacts] = ()


def product_metadata(facts: ProductFacts, text_hash: bytes) -> Metadata:
    """At most `MAX_METADATA_BYTES`, whatever the product; lists that would be too long are `ANY`."""
    in_stock = [offer for offer in facts.offers if offer.availability in IN_STOCK]
    metadata: Metadata = {
        "organization": facts.organization_urn,
        "brand": _brands(facts),
        "category": _within(category_keys(facts.category_path)),
        "in_stock": bool(in_stock),
        **_prices(PRICE, facts.offers),
        **_prices(STOCK, in_stock),
    }
    return metadata | {TEXT_HASH: text_hash.hex(), METADATA_HASH: metadata_hash(metadata).hex()}


def metadata_hash(metadata: Metadata) -> bytes:
    """16 bytes that change exactly when the metadata does, the two hashes in it aside."""
    named = {key: value for key, value in metadata.items() if key not in _HASHES}
    return sha256(msgspec.json.encode(named, order="deterministic")).digest()[:16]


def fold(text: str) -> str:
    """Equal for texts that any database's `lower` makes equal, and for some more: case, accents and dots are gone. It
    is `ANY` for a text with letters that this Python does not know: a newer database may know a case of them."""
    letters = unicodedata.normalize("NFD", text.casefold())
    if any(unicodedata.category(each) == "Cn" for each in letters):
        return ANY
    plain = "".join(each for each in letters if not unicodedata.combining(each))
    return cut_bytes(plain.replace("ı", "i").strip(), _MAX_KEY_BYTES)  # noqa: RUF001 - the dotless i is what is meant


def category_keys(path: str | None) -> list[str]:
    """The parts of a path and its pairs of neighbours. A path lies within another only if each of its keys does."""
    parts = [fold(part) for part in path.split(SEPARATOR)] if path else []
    pairs = [fold(f"{upper}{SEPARATOR}{lower}") for upper, lower in pairwise(parts)]
    return list(dict.fromkeys([*parts, *pairs]))


def number(price: Decimal) -> float:
    """The nearest that JSON can hold. What is not greater as a price is not greater as a number."""
    return max(-_NEVER, min(_NEVER, float(price)))


def _brands(facts: ProductFacts) -> list[str]:
    names = dict.fromkeys(fold(name) for name in facts.brand_names)
    listed = [*names, *([cut_bytes(facts.brand_urn, MAX_URN_BYTES)] if facts.brand_urn else [])]
    return listed_or_none(listed if len(listed) <= _MAX_BRANDS else [ANY])


def listed_or_none(values: list[str]) -> list[str]:
    """What stands for an empty list is one that nothing asks for."""
    return values or [""]


def _within(keys: list[str]) -> list[str]:
    size = sum(len(key.encode()) for key in keys)
    return listed_or_none(keys if size <= _MAX_CATEGORY_BYTES else [ANY])


def _prices(family: str, offers: Sequence[OfferFacts]) -> Metadata:
    """The currencies, and the least and the highest price: in any, and in each."""
    currencies = sorted({offer.currency for offer in offers})
    metadata: Metadata = {f"{family}_currency": listed_or_none(currencies)}
    metadata.update(_range(family, "", (offer.price for offer in offers)))
    if len(currencies) > _MAX_CURRENCIES:
        return metadata | {f"{family}_currency": [ANY]}
    for currency in currencies:
        metadata.update(_range(family, currency, (offer.price for offer in offers if offer.currency == currency)))
    return metadata


def _range(family: str, currency: str, prices: Iterable[Decimal]) -> Iterator[tuple[str, Value]]:
    numbers = [number(price) for price in prices]
    yield least(family, currency), min(numbers, default=_NEVER)
    yield highest(family, currency), max(numbers, default=-_NEVER)


def least(family: str, currency: str) -> str:
    """The key of the least price of a family, in a currency or ("") in any."""
    return f"{family}_min_{currency}".rstrip("_")


def highest(family: str, currency: str) -> str:
    return f"{family}_max_{currency}".rstrip("_")

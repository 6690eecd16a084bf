"""Deterministic synthetic feeds: a registry of one organization, an index, shards of 1,000 products of about 2.2 kB."""

import itertools
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_DNS, uuid5

from bench.wording import worded

SHARD = 1000
GROUP = 50  # products between two groups; the two after a group are its variants
_ORGANIZATION = f"urn:cmp:org:{uuid5(NAMESPACE_DNS, 'bench.example')}"
# Five thousand made-up words, used as often as words of a language are: a few everywhere, most hardly ever.
_SYLLABLES = ("ba", "ce", "di", "fo", "gu", "ka", "le", "mi", "no", "pu", "ra", "se", "ti", "vo", "zu", "an", "el")
_WORDS = ["".join(syllables) for syllables in itertools.product(_SYLLABLES, repeat=3)]
_OFTEN = list(itertools.accumulate(1 / (rank + 5) for rank in range(len(_WORDS))))
_CATEGORIES = [f"Department {n % 12} > Aisle {n % 60} > Shelf {n}" for n in range(240)]


@dataclass(frozen=True)
class Edit:
    """How a publication differs from the first: every `step`-th product changed, or removed."""

    changed_every: int = 0
    removed_every: int = 0


@dataclass(frozen=True)
class Kind:
    """What else a feed may be: all in a single shard; with texts that mean something, for search."""

    single: bool = False
    worded: bool = False


def write_feed(folder: Path, products: int, edit: Edit | None = None, kind: Kind | None = None) -> int:
    """Writes registry, index and shards; returns the bytes of the shards."""
    edit, kind = edit or Edit(), kind or Kind()
    folder.mkdir(parents=True, exist_ok=True)
    _dump(folder / "registry.json", _registry())
    size = products if kind.single else SHARD
    names: list[str] = []
    written = 0
    for start in range(0, products, size):
        name = f"feed-{len(names):04}.json"
        written += _write_shard(folder / name, _items(range(start, min(start + size, products)), edit, kind))
        names.append(name)
    index = {
        "@type": "ProductFeedIndex",
        "version": "0.1",
        "lastUpdated": "2026-01-01T00:00:00Z",
        "orgid": _ORGANIZATION,
        "totalShards": len(names),
        "shards": [{"url": name, "lastUpdated": "2026-01-01T00:00:00Z"} for name in names],
    }
    _dump(folder / "feed.json", index)
    return written


def _write_shard(path: Path, items: Iterator[dict[str, Any]]) -> int:
    with path.open("w") as file:
        file.write('{"@context": "https://schema.org", "@type": "ItemList", "itemListElement": [')
        for position, item in enumerate(items, 1):
            file.write(",\n" if position > 1 else "\n")
            file.write(json.dumps({"@type": "ListItem", "position": position, "item": item}))
        file.write("\n]}\n")
        return file.tell()


def _items(numbers: range, edit: Edit, kind: Kind) -> Iterator[dict[str, Any]]:
    for number in numbers:
        if edit.removed_every and number % edit.removed_every == 7:
            continue
        if number % GROUP == 0:
            yield _group(number)
        changed = bool(edit.changed_every) and number % edit.changed_every == 7
        yield _product(number, changed=changed) | (_meaning(number, changed=changed) if kind.worded else {})


def _product(number: int, *, changed: bool) -> dict[str, Any]:
    source = random.Random(number)  # noqa: S311 - reproducible, not secret
    brand = number % 40
    price = f"{source.randint(100, 99999) / 100:.2f}"
    item: dict[str, Any] = {
        "@context": "https://schema.org",
        "@type": "Product",
        "@id": f"{_brand_urn(brand)}:sku:{uuid5(NAMESPACE_DNS, f'sku-{number}')}",
        "sku": f"SKU-{number:08}",
        "mpn": f"MPN-{number}",
        "gtin13": f"2{number:012}",
        "name": _sentence(source, 6),
        "description": _sentence(source, 55 if changed else 45),
        "url": f"https://bench.example/p/{number}",
        "image": [f"https://bench.example/i/{number}-{n}.jpg" for n in range(2)],
        "brand": {
            "@type": "Brand",
            "name": f"Brand {brand}",
            "identifier": {"@type": "PropertyValue", "propertyID": "cmp:brandId", "value": _brand_urn(brand)},
        },
        "category": _CATEGORIES[number % len(_CATEGORIES)],
        "offers": {
            "@type": "Offer",
            "price": float(price) + (1 if changed else 0),
            "priceCurrency": "USD",
            "availability": "https://schema.org/InStock",
            "inventoryLevel": {"@type": "QuantitativeValue", "value": source.randint(1, 500)},
        },
        "additionalProperty": [
            {"@type": "PropertyValue", "name": f"Property {n}", "value": _sentence(source, 3)} for n in range(12)
        ],
    }
    if number % GROUP in (1, 2):
        item["isVariantOf"] = {"@type": "ProductGroup", "@id": _group_urn(number - number % GROUP)}
    return item


def _meaning(number: int, *, changed: bool) -> dict[str, str]:
    """Another name and description."""
    source = random.Random(f"meaning of {number}")  # noqa: S311 - reproducible, not secret
    name, description = worded(source, _sentence(source, 1), 5 if changed else 4)
    return {"name": name, "description": description}


def _group(number: int) -> dict[str, Any]:
    source = random.Random(-number)  # noqa: S311 - reproducible, not secret
    brand = number % 40
    return {
        "@type": "ProductGroup",
        "@id": _group_urn(number),
        "productGroupID": f"GROUP-{number}",
        "name": _sentence(source, 5),
        "description": _sentence(source, 40),
        "brand": {
            "@type": "Brand",
            "name": f"Brand {brand}",
            "identifier": {"@type": "PropertyValue", "propertyID": "cmp:brandId", "value": _brand_urn(brand)},
        },
        "category": _CATEGORIES[number % len(_CATEGORIES)],
        "variesBy": ["Property 0"],
    }


def _registry() -> dict[str, Any]:
    return {
        "@context": {"schema": "https://schema.org", "cmp": "https://schema.commercemesh.ai/ns#"},
        "@type": "Organization",
        "name": "Bench",
        "description": "A shop that does not exist.",
        "url": "https://bench.example",
        "logo": "https://bench.example/logo.png",
        "identifier": {"@type": "PropertyValue", "propertyID": "cmp:orgId", "value": _ORGANIZATION},
        "brand": [
            {
                "@type": "Brand",
                "name": f"Brand {n}",
                "logo": f"https://bench.example/{n}.png",
                "identifier": {"@type": "PropertyValue", "propertyID": "cmp:brandId", "value": _brand_urn(n)},
            }
            for n in range(40)
        ],
        "cmp:category": ["everything"],
        "cmp:productFeed": {"@type": "DataFeed", "url": "feed.json"},
    }


def _brand_urn(number: int) -> str:
    return f"{_ORGANIZATION}:brand:{uuid5(NAMESPACE_DNS, f'brand-{number}')}"


def _group_urn(number: int) -> str:
    return f"{_brand_urn(number % 40)}:productgroup:{uuid5(NAMESPACE_DNS, f'group-{number}')}"


def _sentence(source: random.Random, words: int) -> str:
    return " ".join(source.choices(_WORDS, cum_weights=_OFTEN, k=words)).capitalize()


def _dump(path: Path, document: dict[str, Any]) -> None:
    path.write_text(json.dumps(document, indent=1))

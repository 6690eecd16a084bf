"""Publications as tests describe them, and the folder of files they become."""

import copy
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ORGANIZATION = "urn:cmp:org:8af57203-a141-5018-8f78-61b5f3e91920"
OTHER_ORGANIZATION = "urn:cmp:org:1c5e1d2a-9f0b-5c11-8a3e-0e3f5d1f7b42"
BRAND = f"{ORGANIZATION}:brand:1bbbabfd-6c28-5b1a-885e-aedfd83659be"
GROUP = f"{ORGANIZATION}:productgroup:6f0a2c9e-3a3c-5a3b-9b1e-6a7d7f6f0001"


@dataclass
class Shard:
    """A file of the feed. A shard of bytes is written as it is."""

    url: str
    items: list[Any] | bytes
    style: int = 0

    def encoded(self) -> bytes:
        if isinstance(self.items, bytes):
            return self.items
        return encode(item_list(*self.items), self.style)


@dataclass
class Publication:
    """A registry entry (or a whole registry), the index's other members, and the shards."""

    shards: list[Shard] = field(default_factory=list)
    registry: Any = None
    index: dict[str, Any] = field(default_factory=dict)

    def copy(self) -> "Publication":
        return copy.deepcopy(self)


class FeedFolder:
    """A publisher's files: `registry.json`, `feed/index.json` and the shards beside it."""

    def __init__(self, path: Path, organization: str = ORGANIZATION) -> None:
        self.path = path
        self.organization = organization
        self.registry = path / "registry.json"
        self.index = path / "feed" / "index.json"
        self.index.parent.mkdir(parents=True)

    def write(self, publication: Publication) -> None:
        """Replaces everything that was published before."""
        for file in self.index.parent.iterdir():
            file.unlink()
        entry = organization_entry(self.organization) if publication.registry is None else publication.registry
        self.registry.write_bytes(encode(entry))
        index = {
            "@type": "ProductFeedIndex",
            "orgid": self.organization,
            "totalShards": len(publication.shards),
            "shards": [{"url": shard.url} for shard in publication.shards],
        }
        self.index.write_bytes(encode(index | publication.index))
        for shard in publication.shards:
            self.shard(shard.url).parent.mkdir(parents=True, exist_ok=True)
            self.shard(shard.url).write_bytes(shard.encoded())

    def publish(self, *shards: list[Any] | bytes, **index: Any) -> None:
        """Writes a publication of these shards, named `a.json`, `b.json`, …"""
        named = [Shard(f"{chr(97 + number)}.json", items) for number, items in enumerate(shards)]
        self.write(Publication(named, index=index))

    def shard(self, url: str) -> Path:
        return self.index.parent / url


def organization_entry(organization: str = ORGANIZATION, **changes: Any) -> dict[str, Any]:
    """A complete registry entry; `...` removes a member, and `feed` and `category` stand for `cmp:…`."""
    entry: dict[str, Any] = {
        "@context": "https://schema.org",
        "@type": "Organization",
        "name": "Acme",
        "description": "Sells things",
        "url": "https://acme.example",
        "logo": "https://acme.example/logo.png",
        "identifier": {"@type": "PropertyValue", "propertyID": "cmp:orgId", "value": organization},
        "brand": [registry_brand("Acme", BRAND if organization == ORGANIZATION else f"{organization}:brand:acme")],
        "cmp:category": ["things"],
        "cmp:productFeed": {"@type": "DataFeed", "url": "feed/index.json"},
    }
    for key, value in changes.items():
        key = f"cmp:{key}" if key in ("category", "productFeed") else key
        if value is ...:
            entry.pop(key, None)
        else:
            entry[key] = value
    return entry


def registry_brand(name: str, urn: str) -> dict[str, Any]:
    identifier = {"@type": "PropertyValue", "propertyID": "cmp:brandId", "value": urn}
    return {"@type": "Brand", "name": name, "logo": "https://acme.example/brand.png", "identifier": identifier}


def product(key: int | str, organization: str = ORGANIZATION, **changes: Any) -> dict[str, Any]:
    """A product without a fault, known by `key`; `...` removes a member, and `id` and `type` stand for `@…`."""
    brand = BRAND if organization == ORGANIZATION else f"{organization}:brand:acme"
    item: dict[str, Any] = {
        "@type": "Product",
        "@id": product_urn(key, organization),
        "sku": f"SKU-{key}",
        "name": f"Lamp {key}",
        "description": f"A lamp, number {key}",
        "url": f"https://acme.example/p/{key}",
        "image": f"https://acme.example/i/{key}.jpg",
        "brand": {"@type": "Brand", "name": "Acme", "identifier": {"@type": "PropertyValue", "value": brand}},
        "category": "Home > Lamps",
        "offers": offer(),
    }
    return _changed(item, changes)


def group(key: int | str = 1, **changes: Any) -> dict[str, Any]:
    item: dict[str, Any] = {
        "@type": "ProductGroup",
        "@id": group_urn(key),
        "productGroupID": f"GROUP-{key}",
        "name": f"Lamps {key}",
        "category": "Home > Lamps",
        "variesBy": ["color"],
    }
    return _changed(item, changes)


def variant(key: int | str, of: int | str, **changes: Any) -> dict[str, Any]:
    return product(key, isVariantOf={"@type": "ProductGroup", "@id": group_urn(of)}, **changes)


def offer(**changes: Any) -> dict[str, Any]:
    made = {"price": 10.5, "priceCurrency": "EUR", "availability": "https://schema.org/InStock"}
    return _changed({"@type": "Offer"} | made, changes)


def product_urn(key: int | str, organization: str = ORGANIZATION) -> str:
    return f"{organization}:sku:{key}"


def group_urn(key: int | str) -> str:
    return f"{ORGANIZATION}:productgroup:{key}"


def item_list(*items: Any) -> dict[str, Any]:
    listed = [{"@type": "ListItem", "position": n, "item": item} for n, item in enumerate(items, 1)]
    return {"@context": "https://schema.org", "@type": "ItemList", "itemListElement": listed}


def encode(document: Any, style: int = 0) -> bytes:
    """JSON in one of four layouts that mean the same."""
    return json.dumps(document, indent=style % 2 or None, sort_keys=style > 1).encode()


def _changed(item: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    for key, value in changes.items():
        key = f"@{key}" if key in ("id", "type") else key
        if value is ...:
            item.pop(key, None)
        else:
            item[key] = value
    return item

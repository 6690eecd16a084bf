"""A clean item, and documents around items."""

import copy
import json
from typing import Any

from app.cmp.items import ItemContext, ParsedItem, ProductItem, parse_item

ORGANIZATION = "urn:cmp:org:8af57203-a141-5018-8f78-61b5f3e91920"
BRAND = f"{ORGANIZATION}:brand:1bbbabfd-6c28-5b1a-885e-aedfd83659be"
CONTEXT = ItemContext(ORGANIZATION, "3m.example", {"3m": BRAND})

PRODUCT: dict[str, Any] = {
    "@context": "https://schema.org",
    "@type": "Product",
    "@id": f"{BRAND}:sku:3047d8a1-82c4-57c4-9de6-f0074c9b46a6",
    "sku": "554656",
    "mpn": "FR330",
    "gtin13": "0021200977169",
    "name": "3M FR330 Gray",
    "description": "Adjustable footrest, charcoal grey",
    "url": "https://3m.example/p/554656",
    "image": "https://3m.example/i/554656.jpg",
    "brand": {
        "@type": "Brand",
        "name": "3M",
        "identifier": {"@type": "PropertyValue", "propertyID": "cmp:brandId", "value": BRAND},
    },
    "category": "Office > Furniture > Footrests",
    "offers": {
        "@type": "Offer",
        "price": 60.95,
        "priceCurrency": "USD",
        "availability": "https://schema.org/InStock",
        "inventoryLevel": {"@type": "QuantitativeValue", "value": 10},
        "priceValidUntil": "2026-12-31T23:59:59Z",
    },
    "additionalProperty": [{"@type": "PropertyValue", "name": "colour", "value": "Grey"}],
    "isVariantOf": {"@type": "ProductGroup", "@id": "urn:cmp:product:FR"},
}

GROUP: dict[str, Any] = {
    "@type": "ProductGroup",
    "@id": "urn:cmp:product:FR",
    "productGroupID": "FR",
    "name": "Footrests",
    "brand": {"name": "3M", "identifier": {"value": BRAND}},
    "category": "Office > Furniture",
    "variesBy": ["Color", "Size"],
}


def product(**changes: Any) -> dict[str, Any]:
    """The clean product with changes; `...` removes a field, and `id` and `type` stand for `@id` and `@type`."""
    return _changed(PRODUCT, changes)


def group(**changes: Any) -> dict[str, Any]:
    return _changed(GROUP, changes)


def offer(**changes: Any) -> dict[str, Any]:
    return _changed(PRODUCT["offers"], changes)


def encode(value: Any) -> bytes:
    return json.dumps(value).encode()


def parsed(item: Any, context: ItemContext = CONTEXT) -> ParsedItem:
    result = parse_item(item if isinstance(item, bytes) else encode(item), context)
    assert isinstance(result, ParsedItem), result
    return result


def parsed_product(item: Any, context: ItemContext = CONTEXT) -> ProductItem:
    result = parsed(item, context).item
    assert isinstance(result, ProductItem)
    return result


def codes(item: Any, context: ItemContext = CONTEXT) -> list[str]:
    """The codes of an item's issues, whether it was rejected or not."""
    return [issue.code for issue in parse_item(item if isinstance(item, bytes) else encode(item), context).issues]


def item_list(*items: Any) -> dict[str, Any]:
    listed = [{"@type": "ListItem", "position": n, "item": item} for n, item in enumerate(items, 1)]
    return {"@context": "https://schema.org", "@type": "ItemList", "itemListElement": listed}


def _changed(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    item = copy.deepcopy(base)
    for key, value in changes.items():
        key = f"@{key}" if key in ("id", "type") else key
        if value is ...:
            item.pop(key, None)
        else:
            item[key] = value
    return item

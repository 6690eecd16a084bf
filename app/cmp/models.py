"""What an item becomes: typed, cleaned, and within every limit of the database."""

from typing import Literal

import msgspec

from app.cmp.issues import Issue
from app.cmp.kinds import Kind
from app.cmp.offers import Offer


class ProductItem(msgspec.Struct):
    """A product. `content_hash` covers the whole item and the resolved brand, `text_hash` the search text."""

    urn: str
    sku: str | None
    name: str
    description: str | None
    url: str | None
    image: str | None
    brand_name: str | None
    brand_urn: str | None
    category: str | None
    group_urn: str | None
    gtins: list[str]
    mpn: str | None
    content_hash: bytes
    text_hash: bytes
    offers: list[Offer]
    offers_read: int
    offers_rejected: int


class GroupItem(msgspec.Struct):
    """A product group: what its variants have in common."""

    urn: str
    group_id: str | None
    name: str
    description: str | None
    url: str | None
    image: str | None
    brand_name: str | None
    brand_urn: str | None
    category: str | None
    varies_by: list[str]
    content_hash: bytes


class ParsedItem(msgspec.Struct):
    """A usable item, with warnings and the errors of its offers."""

    kind: Kind
    item: ProductItem | GroupItem
    issues: list[Issue]


class RejectedItem(msgspec.Struct):
    """An item that cannot be used; at least one of the issues is an error."""

    issues: list[Issue]
    kind: Literal[None] = None

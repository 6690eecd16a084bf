"""A product in full: as its publisher describes it, with everybody's current offers."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

import zstandard
from sqlalchemy import Connection, Row, text

from app.cmp.items import decode_item
from app.cmp.urns import is_uuid, organization_of, organization_urn
from app.core.errors import DiscoveryNodeError

MAX_VARIANTS = 200
"""Variants of a group that are listed with a product."""

# A number beyond any float becomes infinite, not an error.


class ProductDeletedError(DiscoveryNodeError):
    """The product was known, and is offered no more."""

    def __init__(self, urn: str, deleted_at: datetime) -> None:
        super().__init__(f"{urn} is no longer offered since {deleted_at:%Y-%m-%d %H:%M} UTC")
        self.urn = urn
        self.deleted_at = deleted_at


@dataclass(frozen=True)
class ProductDocument:
    """JSON-LD as received from `organization`, a URN, whose product it is. The catalogue's are only its `@id`, which
    publishers leave out, its `name`, which they write in many ways, and its `offers`: each with its seller and its
    price as a Decimal, the organization's own first, then those of further sellers. `received` are the item's own
    bytes."""

    id: int
    urn: str
    organization: str
    document: dict[str, Any]
    received: bytes
    group_id: int | None = None


def get(connection: Connection, urn: str) -> ProductDocument | None:
    """The product with that URN; None when nobody ever offered it. Raises `ProductDeletedError` when nobody does now.

    Of several organizations that offer it, it is that of the one its URN names, else of the one that came first.
    """
    return get_all(connection, [urn]).get(urn)


def get_all(connection: Connection, urns: Sequence[str]) -> dict[str, ProductDocument]:
    """The products with these URNs that anybody ever offered, in this order, each as `get` has it."""
    rows = connection.execute(
        text("""
            SELECT p.urn, p.id, p.name, p.deleted_at, p.group_id, g.urn AS organization, g.name AS organization_name
            FROM products p JOIN organizations g ON g.id = p.organization_id
            WHERE p.urn = ANY(CAST(:urns AS text[])) ORDER BY p.created_at, p.id
            """),
        {"urns": list(urns)},
    ).all()
    sellers = {urn: _sellers(urn, known) for urn in urns if (known := [row for row in rows if row.urn == urn])}
    raw = connection.execute(
        text("SELECT id, raw FROM products WHERE id = ANY(CAST(:ids AS bigint[]))"),
        {"ids": [each[0].id for each in sellers.values()]},
    )
    received = {row.id: zstandard.decompress(row.raw) for row in raw}
    offers = _offers(connection, [seller.id for each in sellers.values() for seller in each])
    found = {}
    for urn, each in sellers.items():
        owner = each[0]
        published = decode_item(received[owner.id])
        told = _told(each, offers, _published(published.get("offers")))
        document = {**published, "@id": urn, "name": owner.name, "offers": told}
        found[urn] = ProductDocument(owner.id, urn, owner.organization, document, received[owner.id], owner.group_id)
    return found


def variants(connection: Connection, product: ProductDocument) -> dict[str, Any] | None:
    """The product's group as JSON-LD, with its live variants, the product among them; None when it has none."""
    if product.group_id is None:
        return None
    group = connection.execute(
        text("SELECT urn, product_group_id, name, description, varies_by FROM product_groups WHERE id = :id"),
        {"id": product.group_id},
    ).one_or_none()
    if group is None:
        return None
    rows = connection.execute(
        text("""
            SELECT p.urn, p.name, p.sku, p.image, o.price, o.currency, o.availability
            FROM products p LEFT JOIN offers o ON o.product_id = p.id AND o.ordinal = (
                SELECT min(ordinal) FROM offers WHERE product_id = p.id)
            WHERE p.group_id = :id AND p.deleted_at IS NULL ORDER BY p.id LIMIT :most
            """),
        {"id": product.group_id, "most": MAX_VARIANTS},
    )
    return without_none(
        {
            "@type": "ProductGroup",
            "@id": group.urn,
            "productGroupID": group.product_group_id,
            "name": group.name,
            "description": group.description,
            "variesBy": group.varies_by or None,
            "hasVariant": [_variant(row) for row in rows],
        }
    )


def without_none(members: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON object of the members that there are."""
    return {name: value for name, value in members.items() if value is not None}


def offer(price: Decimal | None, currency: str | None, availability: str | None) -> dict[str, Any] | None:
    """An offer as JSON-LD in short; None without a price."""
    if price is None:
        return None
    told = {
        "@type": "Offer",
        "price": price,
        "priceCurrency": currency,
        "availability": availability and f"https://schema.org/{availability}",
    }
    return without_none(told)


def _variant(row: Row[Any]) -> dict[str, Any]:
    return without_none(
        {
            "@type": "Product",
            "@id": row.urn,
            "name": row.name,
            "sku": row.sku,
            "image": row.image,
            "offers": offer(row.price, row.currency, row.availability),
        }
    )


def _sellers(urn: str, known: Sequence[Row[Any]]) -> list[Row[Any]]:
    """Those who offer the product now, its owner first. Raises `ProductDeletedError`."""
    sellers = [row for row in known if row.deleted_at is None]
    if not sellers:
        raise ProductDeletedError(urn, max(row.deleted_at for row in known))
    named = _canonical(organization_of(urn))
    sellers.sort(key=lambda row: _canonical(organization_of(row.organization)) != named)  # stable: else the oldest
    return sellers


def _canonical(owner: str | None) -> str | None:
    """One name for an organization that URNs call by its domain or by the UUID of it."""
    return owner if owner is None or is_uuid(owner) else organization_of(organization_urn(owner))


def _offers(connection: Connection, products: Sequence[int]) -> defaultdict[int, list[Row[Any]]]:
    """The offers of products, by the product's id."""
    rows = connection.execute(
        text("""
            SELECT product_id, price, currency, availability, inventory, valid_until, url FROM offers
            WHERE product_id = ANY(CAST(:ids AS bigint[])) ORDER BY product_id, ordinal
            """),
        {"ids": list(products)},
    )
    found: defaultdict[int, list[Row[Any]]] = defaultdict(list)
    for row in rows:
        found[row.product_id].append(row)
    return found


def _told(
    sellers: Sequence[Row[Any]], offers: Mapping[int, Sequence[Row[Any]]], published: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """The sellers' offers in their order; the first seller's with what else was published of each."""
    told = [_offer(row, seller) for seller in sellers for row in offers.get(seller.id, ())]
    own = len(offers.get(sellers[0].id, ()))
    if own == len(published):  # none was refused, so that they stand in the same places
        told[:own] = [{**more, **offer} for more, offer in zip(published, told, strict=False)]
    return told


def _published(offers: object) -> list[dict[str, Any]]:
    listed = offers if isinstance(offers, list) else [offers]
    return [offer for offer in listed if isinstance(offer, dict)]


def _offer(row: Row[Any], seller: Row[Any]) -> dict[str, Any]:
    members = {
        "@type": "Offer",
        "price": row.price,
        "priceCurrency": row.currency,
        "availability": row.availability and f"https://schema.org/{row.availability}",
        "inventoryLevel": None
        if row.inventory is None
        else {"@type": "QuantitativeValue", "value": int(row.inventory)},
        "priceValidUntil": row.valid_until and row.valid_until.isoformat(),
        "url": row.url,
        "seller": {"@type": "Organization", "@id": seller.organization, "name": seller.organization_name},
    }
    return without_none(members)

"""A product in full: as its publisher describes it, with everybody's current offers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import zstandard
from sqlalchemy import Connection, Row, text

from app.cmp.items import decode_item
from app.cmp.urns import is_uuid, organization_of, organization_urn
from app.core.errors import DiscoveryNodeError

# A number beyond any float becomes infinite, not an error.


class ProductDeletedError(DiscoveryNodeError):
    """The product was known, and is offered no more."""

    def __init__(self, urn: str, deleted_at: datetime) -> None:
        super().__init__(f"{urn} is no longer offered since {deleted_at:%Y-%m-%d %H:%M} UTC")
        self.urn = urn
        self.deleted_at = deleted_at


@dataclass(frozen=True)
class ProductDocument:
    """JSON-LD as received from `organization`, a URN, whose product it is. Only its `offers` are the catalogue's: each
    with its seller and its price as a Decimal, the organization's own first, then those of further sellers."""

    urn: str
    organization: str
    document: dict[str, Any]


def get(connection: Connection, urn: str) -> ProductDocument | None:
    """The product with that URN; None when nobody ever offered it. Raises `ProductDeletedError` when nobody does now.

    Of several organizations that offer it, it is that of the one its URN names, else of the one that came first.
    """
    rows = connection.execute(
        text("""
            SELECT p.id, p.deleted_at, g.urn AS organization, g.name AS organization_name
            FROM products p JOIN organizations g ON g.id = p.organization_id
            WHERE p.urn = :urn ORDER BY p.created_at, p.id
            """),
        {"urn": urn},
    ).all()
    sellers = [row for row in rows if row.deleted_at is None]
    if not rows:
        return None
    if not sellers:
        raise ProductDeletedError(urn, max(row.deleted_at for row in rows))
    named = _canonical(organization_of(urn))
    sellers.sort(key=lambda row: _canonical(organization_of(row.organization)) != named)  # stable: else the oldest
    owner = sellers[0]
    raw = connection.execute(text("SELECT raw FROM products WHERE id = :id"), {"id": owner.id}).scalar_one()
    document = decode_item(zstandard.decompress(raw))
    document["offers"] = _offers(connection, sellers, _published(document.get("offers")))
    return ProductDocument(urn, owner.organization, document)


def _canonical(owner: str | None) -> str | None:
    """One name for an organization that URNs call by its domain or by the UUID of it."""
    return owner if owner is None or is_uuid(owner) else organization_of(organization_urn(owner))


def _offers(
    connection: Connection, sellers: Sequence[Row[Any]], published: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """The sellers' offers in their order; the first seller's with what else was published of each."""
    rows = connection.execute(
        text("""
            SELECT seller.place, o.price, o.currency, o.availability, o.inventory, o.valid_until, o.url
            FROM unnest(CAST(:ids AS bigint[])) WITH ORDINALITY AS seller (id, place)
            JOIN offers o ON o.product_id = seller.id
            ORDER BY seller.place, o.ordinal
            """),
        {"ids": [seller.id for seller in sellers]},
    ).all()
    offers = [_offer(row, sellers[row.place - 1]) for row in rows]
    own = sum(row.place == 1 for row in rows)
    if own == len(published):  # none was refused, so that they stand in the same places
        offers[:own] = [{**more, **offer} for more, offer in zip(published, offers, strict=False)]
    return offers


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
    return {name: value for name, value in members.items() if value is not None}

"""What the catalogue knows, as JSON-LD documents."""

from typing import Any

from app.services.products import offer, without_none
from app.services.search import SearchHit


def hit_document(hit: SearchHit, *, explained: bool = False) -> dict[str, Any]:
    """A hit as a product in short, with the offer that answers best, and why it was found."""
    return without_none(
        {
            "@type": "Product",
            "@id": hit.urn,
            "name": hit.name,
            "description": hit.description,
            "sku": hit.sku,
            "brand": hit.brand and {"@type": "Brand", "name": hit.brand},
            "category": hit.category,
            "image": hit.image,
            "url": hit.url,
            "offers": hit_offer(hit),
            "cmp:explanation": {"score": hit.score} if explained else None,
        }
    )


def hit_offer(hit: SearchHit) -> dict[str, Any] | None:
    told = offer(hit.price, hit.currency, hit.availability)
    return told and {**told, "seller": {"@type": "Organization", "@id": hit.organization}}

"""What the catalogue knows, as JSON-LD documents."""

from dataclasses import asdict
from typing import Any

from app.api.authentication import Caller
from app.services.products import offer, without_none
from app.services.provenance import ItemPlace, Provenance
from app.services.search import SearchHit, Variant


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
            "isVariantOf": {"@type": "ProductGroup", "hasVariant": [*map(_variant, hit.variants)]}
            if hit.variants
            else None,
            "cmp:explanation": _explanation(hit) if explained else None,
        }
    )


def _variant(variant: Variant) -> dict[str, Any]:
    return without_none(
        {
            "@type": "Product",
            "@id": variant.urn,
            "name": variant.name,
            "sku": variant.sku,
            "url": variant.url,
            "offers": offer(variant.price, variant.currency, variant.availability),
        }
    )


def _explanation(hit: SearchHit) -> dict[str, Any]:
    """The score, and what it was made of."""
    return {"score": hit.score, **without_none(asdict(hit.explanation) if hit.explanation else {})}


def hit_offer(hit: SearchHit) -> dict[str, Any] | None:
    told = offer(hit.price, hit.currency, hit.availability)
    return told and {**told, "seller": {"@type": "Organization", "@id": hit.organization}}


def provenance_document(found: Provenance, organization: str, caller: Caller) -> dict[str, Any]:
    """Where a product comes from. Where the feed is read from is told to operators, as of ingestors."""
    return without_none(
        {
            "organization": organization,
            "ingestor": found.ingestor,
            "feed": found.feed if caller.is_admin else None,
            **_place(found.place, caller),
            "further": [_place(each, caller) for each in found.further] or None,
            "changedAt": found.changed_at,
            "run": found.run,
        }
    )


def _place(place: ItemPlace, caller: Caller) -> dict[str, Any]:
    return {"shard": place.shard if caller.is_admin else file_name(place.shard), "position": place.position}


def file_name(shard: str) -> str:
    """What of a shard's place is no secret of its publisher's or of the node's."""
    return shard.rstrip("/").rpartition("/")[2]

"""Where a product of the catalogue comes from: feed, shard, place and run."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, text

from app.net.urls import shown

MAX_FURTHER = 20
"""Further places of a product that are told."""


@dataclass(frozen=True)
class ItemPlace:
    """A shard as it may be shown, and the place of an item in it, from 1 on."""

    shard: str
    position: int


@dataclass(frozen=True)
class Provenance:
    """The place whose item the catalogue has, and the first of those that it won against; when the product last changed
    in the catalogue, and in which run, while the ledger remembers it."""

    ingestor: str
    feed: str
    place: ItemPlace
    further: tuple[ItemPlace, ...]
    changed_at: datetime
    run: UUID | None


def of_product(connection: Connection, product_id: int) -> Provenance | None:
    """Where a live product comes from; None of one that is gone."""
    rows = connection.execute(_STATEMENT, {"product": product_id, "most": MAX_FURTHER + 1}).all()
    if not rows:
        return None
    first, *further = (ItemPlace(shown(row.url), row.position) for row in rows)
    row = rows[0]
    return Provenance(row.ingestor, shown(row.path), first, tuple(further), row.updated_at, row.run)


# Of an organization one run at a time is at work, and one that waits changes nothing: the last one begun before the
# product changed, and not ended by then, is the one that did it.
_STATEMENT = text("""
    SELECT f.ingestor, f.path, s.url, c.position, p.updated_at, (
            SELECT r.id FROM runs r
            WHERE r.organization_id = p.organization_id AND r.created_at <= p.updated_at
                AND (r.finished_at IS NULL OR r.finished_at >= p.updated_at)
            ORDER BY r.created_at DESC LIMIT 1) AS run
    FROM products p
        JOIN feeds f ON f.organization_id = p.organization_id
        JOIN occurrences c ON c.feed_id = f.id AND c.urn = p.urn AND c.kind = 1
        JOIN feed_shards s ON s.id = c.shard_id
    WHERE p.id = :product AND p.deleted_at IS NULL
    ORDER BY c.superseded, s.ordinal DESC, c.position DESC LIMIT :most
    """)

"""Feeds: how far the catalogue has followed them, and what of a shard is known already."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from psycopg import sql
from sqlalchemy import Connection, Row, text

from app.db.publication import Seen, ShardCounts
from app.db.session import driver_connection


@dataclass(frozen=True)
class KnownShard:
    """A shard as it was merged last."""

    id: int
    ordinal: int
    bytes_hash: bytes
    counts: ShardCounts


@dataclass(frozen=True)
class FeedState:
    """A feed as of its last merge."""

    id: int
    revision: int
    context_hash: bytes | None
    fingerprint: bytes | None
    attempted_fingerprint: bytes | None
    verdict: str | None
    seen: Seen | None
    live_products: int
    live_groups: int
    live_offers: int
    shards: dict[str, KnownShard]


class KnownItem(NamedTuple):
    """An item as it was read last; `issues` is its own list of findings, None when there were none."""

    position: int
    item_hash: bytes
    kind: int
    urn: str | None
    content_hash: bytes | None
    offers: int
    offers_rejected: int
    issues: list[dict[str, str | None]] | None


class KnownFeed(NamedTuple):
    """A feed that was read, or tried to be, or that a registry names; whose it is, and through which ingestor."""

    ingestor: str
    organization_id: int
    organization_urn: str
    path: str


def of_ingestors(connection: Connection, names: Sequence[str]) -> list[KnownFeed]:
    """The feeds that these ingestors brought, but for those of organizations that left the registry."""
    rows = connection.execute(
        text("""
            SELECT f.ingestor, f.organization_id, o.urn, f.path
            FROM feeds f JOIN organizations o ON o.id = f.organization_id
            WHERE f.ingestor = ANY(:names) AND o.unlisted_since IS NULL ORDER BY f.id
            """),
        {"names": list(names)},
    )
    return [KnownFeed(*row) for row in rows]


class Freshness(NamedTuple):
    """Whose feed it is, seconds since it was last applied, and what became of the last publication that was tried; None
    when there was none."""

    organization: str
    name: str | None
    age: float | None
    verdict: str | None


def freshness(connection: Connection) -> list[Freshness]:
    """How old each feed is, the oldest first; those of organizations that left their registry are not refreshed, and
    left out."""
    rows = connection.execute(
        text("""
            SELECT o.urn, o.name, CAST(extract(epoch FROM clock_timestamp() - f.merged_at) AS float8), f.verdict
            FROM feeds f JOIN organizations o ON o.id = f.organization_id
            WHERE o.unlisted_since IS NULL ORDER BY f.merged_at NULLS FIRST, o.urn
            """)
    )
    return [Freshness(*row) for row in rows]


def started_ingestors(connection: Connection) -> set[str]:
    """The ingestors that were ever started, whatever came of it."""
    return set(connection.execute(text("SELECT DISTINCT ingestor FROM starts")).scalars())


def open_feed(connection: Connection, organization_id: int, ingestor: str, source_type: str, path: str) -> FeedState:
    """The feed of an organization, made when it is new. A feed that moved or changed hands keeps its identity;
    what its documents' versions were is forgotten."""
    row = connection.execute(
        text("""
            INSERT INTO feeds (organization_id, ingestor, source_type, path)
            VALUES (:organization, :ingestor, :source_type, :path)
            ON CONFLICT (organization_id) DO UPDATE SET ingestor = excluded.ingestor,
                source_type = excluded.source_type, path = excluded.path,
                seen = CASE WHEN (feeds.ingestor, feeds.source_type, feeds.path)
                    = (excluded.ingestor, excluded.source_type, excluded.path) THEN feeds.seen END
            RETURNING *
            """),
        {"organization": organization_id, "ingestor": ingestor, "source_type": source_type, "path": path},
    ).one()
    return _state(connection, row)


def find_feed(connection: Connection, organization_id: int) -> FeedState | None:
    """The feed of an organization, if it was read before."""
    row = connection.execute(
        text("SELECT * FROM feeds WHERE organization_id = :organization"), {"organization": organization_id}
    ).one_or_none()
    return None if row is None else _state(connection, row)


def _state(connection: Connection, row: Row[Any]) -> FeedState:
    shards = connection.execute(text("SELECT * FROM feed_shards WHERE feed_id = :feed"), {"feed": row.id})
    return FeedState(
        id=row.id,
        revision=row.revision,
        context_hash=row.context_hash,
        fingerprint=row.fingerprint,
        attempted_fingerprint=row.attempted_fingerprint,
        verdict=row.verdict,
        seen=Seen.of(row.seen),
        live_products=row.live_products,
        live_groups=row.live_groups,
        live_offers=row.live_offers,
        shards={
            shard.url: KnownShard(
                shard.id,
                shard.ordinal,
                shard.bytes_hash,
                ShardCounts(
                    items=shard.items,
                    products=shard.products,
                    product_groups=shard.product_groups,
                    offers=shard.offers,
                    products_rejected=shard.products_rejected,
                    product_groups_rejected=shard.product_groups_rejected,
                    offers_rejected=shard.offers_rejected,
                ),
            )
            for shard in shards
        },
    )


def known_items(connection: Connection, shard_id: int, first: int, last: int) -> list[KnownItem]:
    """The items of a shard at the positions from `first` to `last`, both included."""
    query = sql.SQL(
        """
        SELECT position, item_hash, kind, urn, content_hash, offers, offers_rejected, issues FROM occurrences
        WHERE shard_id = %s AND position BETWEEN %s AND %s
        """
    )
    with driver_connection(connection).cursor(binary=True) as cursor:
        cursor.execute(query, (shard_id, first, last))
        return [KnownItem(*row) for row in cursor]


def remember_seen(connection: Connection, feed_id: int, seen: Seen | None) -> None:
    """Remembers the versions of a feed's documents as they were last looked at."""
    connection.execute(
        text("UPDATE feeds SET seen = :seen WHERE id = :feed"),
        {"feed": feed_id, "seen": seen and seen.as_json()},
    )


def mark_current(connection: Connection, feed_id: int) -> None:
    """Forgets an attempt that failed or was held: the feed is again what the catalogue holds."""
    connection.execute(text("DELETE FROM issues WHERE feed_id = :feed AND attempted"), {"feed": feed_id})
    connection.execute(
        text("""
            UPDATE feeds SET attempted_fingerprint = fingerprint, verdict = 'applied'
            WHERE id = :feed
            """),
        {"feed": feed_id},
    )


def read_at(connection: Connection, source_type: str, path: str) -> KnownFeed | None:
    """The feed that was last read at `path`."""
    row = connection.execute(
        text("""
            SELECT f.ingestor, f.organization_id, o.urn, f.path
            FROM feeds f JOIN organizations o ON o.id = f.organization_id
            WHERE f.source_type = :source_type AND f.path = :path ORDER BY f.id LIMIT 1
            """),
        {"source_type": source_type, "path": path},
    ).one_or_none()
    return None if row is None else KnownFeed(*row)


def registered_at(connection: Connection, ingestors: Sequence[str], url: str) -> KnownFeed | None:
    """The feed that a registry of one of these ingestors says is at `url`, read or not."""
    row = connection.execute(
        text("""
            SELECT ingestor, id, urn, feed_url FROM organizations
            WHERE ingestor = ANY(:ingestors) AND feed_url = :url AND unlisted_since IS NULL ORDER BY id LIMIT 1
            """),
        {"ingestors": list(ingestors), "url": url},
    ).one_or_none()
    return None if row is None else KnownFeed(*row)

"""What was read: feeds, their shards, and every item of the current publication."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, DateTime, ForeignKey, Identity, Index, Integer, SmallInteger, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.db.models.base import Base, Created, Hash, Identifier, PrimaryKey


class Feed(Base):
    """The one feed of an organization and how far the catalogue has followed it.

    `revision` counts merges. `context_hash` covers all that decides how an item is read besides its bytes.
    `fingerprint` is that of the publication in the catalogue, `attempted_fingerprint` that of the last one tried,
    `verdict` what became of it. `seen` is a `Seen`: what the source said of the versions of its documents when they
    were last fetched, and which bytes they had.
    """

    __tablename__ = "feeds"

    id: Mapped[PrimaryKey]
    organization_id: Mapped[int] = mapped_column(ForeignKey("organizations.id", ondelete="CASCADE"), unique=True)
    ingestor: Mapped[str]
    source_type: Mapped[str]
    path: Mapped[str]
    revision: Mapped[int] = mapped_column(BigInteger, server_default="0")
    context_hash: Mapped[Hash | None]
    fingerprint: Mapped[Hash | None]
    attempted_fingerprint: Mapped[Hash | None]
    verdict: Mapped[str | None]
    seen: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    live_products: Mapped[int] = mapped_column(BigInteger, server_default="0")
    live_groups: Mapped[int] = mapped_column(BigInteger, server_default="0")
    live_offers: Mapped[int] = mapped_column(BigInteger, server_default="0")
    merged_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    created_at: Mapped[Created]
    updated_at: Mapped[Created]


class FeedShard(Base):
    """A shard of the publication in the catalogue: its place in the index, the SHA-256 of its bytes, what it holds."""

    __tablename__ = "feed_shards"
    __table_args__ = (Index("uq_feed_shards_url", "feed_id", "url", unique=True),)

    id: Mapped[int] = mapped_column(Integer, Identity(), primary_key=True)
    feed_id: Mapped[int] = mapped_column(ForeignKey("feeds.id", ondelete="CASCADE"))
    url: Mapped[Identifier]
    ordinal: Mapped[int]
    bytes_hash: Mapped[bytes]
    items: Mapped[int]
    products: Mapped[int]
    product_groups: Mapped[int]
    offers: Mapped[int]
    products_rejected: Mapped[int]
    product_groups_rejected: Mapped[int]
    offers_rejected: Mapped[int]


class Occurrence(Base):
    """An item of the current publication, duplicates and rejected ones included.

    `kind` is 1 for a product, 2 for a group, 0 for a rejected item; `item_hash` is that of the item's bytes,
    `content_hash` that of its content; `superseded` when a later occurrence of the URN won; `issues` those of the item.
    """

    __tablename__ = "occurrences"
    __table_args__ = (
        Index("ix_occurrences_urn", "feed_id", "urn", "kind"),
        Index("ix_occurrences_superseded", "feed_id", postgresql_where=text("superseded")),
    )

    shard_id: Mapped[int] = mapped_column(Integer, primary_key=True)
    position: Mapped[int] = mapped_column(Integer, primary_key=True)
    feed_id: Mapped[int] = mapped_column(BigInteger)
    kind: Mapped[int] = mapped_column(SmallInteger)
    superseded: Mapped[bool] = mapped_column(server_default="false")
    urn: Mapped[Identifier | None]
    item_hash: Mapped[Hash]
    content_hash: Mapped[Hash | None]
    offers: Mapped[int]
    offers_rejected: Mapped[int]
    issues: Mapped[list[dict[str, Any]] | None] = mapped_column(JSONB)


class Issue(Base):
    """Something wrong in a registry entry or a feed. Errors stand one by one, warnings summed up by shard and code
    with the first places. `attempted` issues belong to a publication that was not applied."""

    __tablename__ = "issues"
    __table_args__ = (
        Index("ix_issues_feed_id", "feed_id", "shard"),
        Index("ix_issues_organization_id", "organization_id"),
    )

    id: Mapped[PrimaryKey]
    ingestor: Mapped[str]
    organization_id: Mapped[int | None] = mapped_column(ForeignKey("organizations.id", ondelete="CASCADE"))
    feed_id: Mapped[int | None] = mapped_column(ForeignKey("feeds.id", ondelete="CASCADE"))
    shard: Mapped[str | None]
    attempted: Mapped[bool]
    severity: Mapped[str]
    code: Mapped[str]
    position: Mapped[int | None]
    path: Mapped[str]
    message: Mapped[str]
    value: Mapped[str | None]
    count: Mapped[int]
    places: Mapped[list[dict[str, Any]]] = mapped_column(JSONB, server_default=text("'[]'"))
    created_at: Mapped[Created]

"""Who sells: organizations, their brands, and the categories of everything."""

from typing import Any

from sqlalchemy import ARRAY, ForeignKey, Index, Text, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.db.models.base import Base, Created, Hash, Identifier, PrimaryKey, Time


class Registry(Base):
    """The registry that an ingestor read last. `seen` is a `SeenRegistry`: which version of it the organizations are
    of, and what its source said of that."""

    __tablename__ = "registries"

    ingestor: Mapped[str] = mapped_column(primary_key=True)
    path: Mapped[str]
    seen: Mapped[dict[str, Any]] = mapped_column(JSONB)
    updated_at: Mapped[Created]


class Organization(Base):
    """An organization of the mesh. A stub is known from its feed alone, until a registry describes it.

    `unlisted_since` is when its ingestor's registry was first found without it, `retired_at` when all that it sold was
    deleted for that; both are empty while the registry lists it.
    """

    __tablename__ = "organizations"

    id: Mapped[PrimaryKey]
    urn: Mapped[Identifier] = mapped_column(unique=True)
    ingestor: Mapped[str]
    is_stub: Mapped[bool]
    name: Mapped[str | None]
    description: Mapped[str | None]
    url: Mapped[str | None]
    logo: Mapped[str | None]
    same_as: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default="{}")
    feed_url: Mapped[str | None]
    raw: Mapped[bytes | None]
    content_hash: Mapped[Hash | None]
    created_at: Mapped[Created]
    updated_at: Mapped[Created]
    unlisted_since: Mapped[Time | None]
    retired_at: Mapped[Time | None]


class Brand(Base):
    """A brand of an organization. One that the registry lists is known by its URN; one that only feeds name, by URN
    and name, so that what a feed calls it never depends on the order of publications. A brand that left the registry
    is neither: it is no longer linked to, and cleaned up when nothing refers to it."""

    __tablename__ = "brands"
    __table_args__ = (
        Index(
            "uq_brands_registry",
            "organization_id",
            "urn",
            unique=True,
            postgresql_where=text("origin = 'registry'"),
        ),
        Index(
            "uq_brands_feed",
            "organization_id",
            "urn",
            "name",
            unique=True,
            postgresql_where=text("origin = 'feed'"),
        ),
        Index("ix_brands_name", text("lower(name)")),
        Index("ix_brands_urn", "urn"),
    )

    id: Mapped[PrimaryKey]
    organization_id: Mapped[int] = mapped_column(ForeignKey("organizations.id", ondelete="CASCADE"))
    origin: Mapped[str]
    urn: Mapped[Identifier]
    name: Mapped[str]
    logo: Mapped[str | None]
    created_at: Mapped[Created]
    updated_at: Mapped[Created]


class Category(Base):
    """A breadcrumb path such as `Electronics > Audio`, or the slug of a registry entry."""

    __tablename__ = "categories"
    __table_args__ = (
        Index("ix_categories_parts", text("string_to_array(lower(path), ' > ')"), postgresql_using="gin"),
    )

    id: Mapped[PrimaryKey]
    path: Mapped[Identifier] = mapped_column(unique=True)
    name: Mapped[str]
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("categories.id", ondelete="CASCADE"), index=True)
    depth: Mapped[int]
    created_at: Mapped[Created]


class OrganizationCategory(Base):
    """The categories that an organization's registry entry names."""

    __tablename__ = "organization_categories"

    organization_id: Mapped[int] = mapped_column(ForeignKey("organizations.id", ondelete="CASCADE"), primary_key=True)
    category_id: Mapped[int] = mapped_column(
        ForeignKey("categories.id", ondelete="CASCADE"), primary_key=True, index=True
    )

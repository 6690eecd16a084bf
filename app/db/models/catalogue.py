"""What they sell: product groups, products and their offers.

Rows are written by the merge alone (`app/db/merge.py`), under a lock on their organization, which is what keeps the
links between them whole: foreign keys would add half to the cost of an insert (`docs/decisions/merge.md`).
"""

from datetime import datetime
from decimal import Decimal

from sqlalchemy import ARRAY, BigInteger, DateTime, Index, Numeric, SmallInteger, Text, text
from sqlalchemy.dialects.postgresql import BYTEA
from sqlalchemy.orm import Mapped, mapped_column

from app.db.models.base import Base, Created, Hash, Identifier, PrimaryKey, Time

LIVE = text("deleted_at IS NULL")


class ProductGroup(Base):
    """What variants have in common. A stub stands for a group that variants name and the feed does not hold."""

    __tablename__ = "product_groups"
    __table_args__ = (
        Index("uq_product_groups_urn", "urn", "organization_id", unique=True),
        Index(
            "ix_product_groups_stubs",
            "organization_id",
            postgresql_where=text("is_stub AND deleted_at IS NULL"),
        ),
    )

    id: Mapped[PrimaryKey]
    organization_id: Mapped[int] = mapped_column(BigInteger)
    urn: Mapped[Identifier]
    is_stub: Mapped[bool]
    product_group_id: Mapped[str | None]
    name: Mapped[str | None]
    description: Mapped[str | None]
    url: Mapped[str | None]
    image: Mapped[str | None]
    brand_id: Mapped[int | None] = mapped_column(BigInteger)
    category_id: Mapped[int | None] = mapped_column(BigInteger)
    varies_by: Mapped[list[str]] = mapped_column(ARRAY(Text))
    content_hash: Mapped[Hash | None]
    raw: Mapped[bytes | None] = mapped_column(BYTEA)
    created_at: Mapped[Created]
    updated_at: Mapped[Created]
    deleted_at: Mapped[Time | None]


class Product(Base):
    """A product as its publisher describes it. `raw` is the item as received, zstd-compressed; `text_hash` is the hash
    of what is searched in it (`app.cmp.text`)."""

    __tablename__ = "products"
    __table_args__ = (
        Index("uq_products_urn", "urn", "organization_id", unique=True),
        Index(
            "ix_products_live",
            "organization_id",
            "id",
            postgresql_include=["text_hash"],
            postgresql_where=LIVE,
        ),
        Index("ix_products_sku", "organization_id", "sku", postgresql_where=LIVE),
        Index(
            "ix_products_group",
            "group_id",
            postgresql_where=text("group_id IS NOT NULL AND deleted_at IS NULL"),
        ),
        # What search looks groups of products and identifiers up by, and filters by.
        Index(
            "ix_products_grouped",
            "id",
            postgresql_include=["group_id"],
            postgresql_where=text("group_id IS NOT NULL"),
        ),
        Index("ix_products_sku_key", text("translate(lower(sku COLLATE \"C\"), ' -_./', '')"), postgresql_where=LIVE),
        Index(
            "ix_products_mpn_key",
            text("translate(lower(mpn COLLATE \"C\"), ' -_./', '')"),
            postgresql_where=text("deleted_at IS NULL AND mpn IS NOT NULL"),
        ),
        Index(
            "ix_products_gtins",
            "gtins",
            postgresql_using="gin",
            postgresql_with={"fastupdate": "off"},
            postgresql_where=LIVE,
        ),
        Index("ix_products_brand", "brand_id", postgresql_where=LIVE),
        Index("ix_products_brand_name", text("lower(brand_name)"), postgresql_where=LIVE),
        Index("ix_products_category", "category_id", postgresql_where=LIVE),
        Index("ix_products_deleted", "deleted_at", postgresql_where=text("deleted_at IS NOT NULL")),
        Index("ix_products_deleted_id", "id", postgresql_where=text("deleted_at IS NOT NULL")),
    )

    id: Mapped[PrimaryKey]
    organization_id: Mapped[int] = mapped_column(BigInteger)
    urn: Mapped[Identifier]
    sku: Mapped[Identifier | None]
    name: Mapped[str]
    description: Mapped[str | None]
    url: Mapped[str | None]
    image: Mapped[str | None]
    brand_name: Mapped[str | None]
    brand_id: Mapped[int | None] = mapped_column(BigInteger)
    category_id: Mapped[int | None] = mapped_column(BigInteger)
    group_id: Mapped[int | None] = mapped_column(BigInteger)
    gtins: Mapped[list[str]] = mapped_column(ARRAY(Text))
    mpn: Mapped[str | None]
    content_hash: Mapped[Hash]
    text_hash: Mapped[Hash]
    raw: Mapped[bytes] = mapped_column(BYTEA)
    created_at: Mapped[Created]
    updated_at: Mapped[Created]
    deleted_at: Mapped[Time | None]


class Offer(Base):
    """One offer of a product, known by its place in the item. Deleted with its product."""

    __tablename__ = "offers"
    __table_args__ = (Index("ix_offers_price", "price", "product_id"),)  # what search filters by

    product_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    ordinal: Mapped[int] = mapped_column(SmallInteger, primary_key=True)
    price: Mapped[Decimal] = mapped_column(Numeric)
    currency: Mapped[str]
    availability: Mapped[str | None]
    inventory: Mapped[int | None] = mapped_column(BigInteger)
    valid_until: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    url: Mapped[str | None]

"""Which generations of vectors there are; each has a table of its own, `vectors_ID`, made when it is created."""

from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.db.models.base import Base, Created, Hash, PrimaryKey, Time


class IndexGeneration(Base):
    """Vectors of one identity: model, weights, variant, text recipe and, unless they are in the database, their place.
    Search reads the one that is `live`. `made_with` are the settings that its embedder can be made by again,
    `namespace` is where an index outside of the database keeps this generation apart from others."""

    __tablename__ = "index_generations"
    __table_args__ = (
        Index("uq_index_generations_live", "status", unique=True, postgresql_where=text("status = 'live'")),
    )

    id: Mapped[PrimaryKey]
    identity_hash: Mapped[Hash] = mapped_column(unique=True)
    identity: Mapped[dict[str, Any]] = mapped_column(JSONB)
    dimensions: Mapped[int]
    status: Mapped[str]
    created_at: Mapped[Created]
    live_at: Mapped[Time | None]
    made_with: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    namespace: Mapped[str | None]
    retired_at: Mapped[Time | None]


class DroppedGeneration(Base):
    """What a generation was of that another replaced, and that was dropped since."""

    __tablename__ = "dropped_generations"

    identity_hash: Mapped[Hash] = mapped_column(primary_key=True)
    identity: Mapped[dict[str, Any]] = mapped_column(JSONB)
    dropped_at: Mapped[Created]


class RefusedText(Base):
    """A product whose text a generation's model makes no vector of. It counts while the product has that text."""

    __tablename__ = "refused_texts"

    generation_id: Mapped[int] = mapped_column(ForeignKey("index_generations.id", ondelete="CASCADE"), primary_key=True)
    product_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    text_hash: Mapped[Hash]
    reason: Mapped[str]
    created_at: Mapped[Created]

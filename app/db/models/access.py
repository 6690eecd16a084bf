"""Who may ask what, and what the node's processes keep secret together."""

from datetime import datetime

from sqlalchemy import DateTime, LargeBinary
from sqlalchemy.orm import Mapped, mapped_column

from app.db.models.base import Base, Created


class ApiKey(Base):
    """A key of the API. `hash` is the SHA-256 of the whole key, which is shown once and stored nowhere; `id` is the
    part of it that may be told."""

    __tablename__ = "api_keys"

    id: Mapped[str] = mapped_column(primary_key=True)
    hash: Mapped[bytes] = mapped_column(LargeBinary)
    name: Mapped[str]
    scope: Mapped[str]
    created_at: Mapped[Created]
    expires_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    revoked_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    last_used_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))


class Secret(Base):
    """Random bytes that all processes of the node share, made by the first that needs them."""

    __tablename__ = "secrets"

    name: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[bytes] = mapped_column(LargeBinary)


class LinkRevocation(Base):
    """When the links to diagnostics that had been made were revoked: those of an organization, by URN; the empty one
    stands for all. It outlives the organization's row."""

    __tablename__ = "link_revocations"

    organization: Mapped[str] = mapped_column(primary_key=True)
    revoked_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))

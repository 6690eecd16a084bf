"""The ledger: what was started, for whom, by whom, and what became of it."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import DateTime, ForeignKey, Index, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.db.models.base import Base, Created, Time


class Start(Base):
    """One start of an ingestor, by `worker`; its status is the worst of its runs."""

    __tablename__ = "starts"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    ingestor: Mapped[str]
    status: Mapped[str]
    worker: Mapped[str]
    created_at: Mapped[Created]
    finished_at: Mapped[Time | None]


class Run(Base):
    """One organization's part of a start. A running run is held by the `worker` whose heartbeat extends the lease;
    `attempt` fences off a worker that lost it. `report` holds what each step did."""

    __tablename__ = "runs"
    __table_args__ = (
        Index("uq_runs_running", "organization_id", unique=True, postgresql_where=text("status = 'running'")),
        Index("ix_runs_created_at", "created_at"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    start_id: Mapped[UUID] = mapped_column(ForeignKey("starts.id", ondelete="CASCADE"), index=True)
    ingestor: Mapped[str]
    organization_id: Mapped[int | None] = mapped_column(ForeignKey("organizations.id", ondelete="CASCADE"))
    status: Mapped[str]
    attempt: Mapped[int] = mapped_column(server_default="1")
    worker: Mapped[str]
    lease_expires_at: Mapped[Time | None]
    report: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=text("'{}'"))
    error: Mapped[str | None]
    created_at: Mapped[Created]
    finished_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))

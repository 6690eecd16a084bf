"""The ledger: what was started, for whom, by whom, and what became of it."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, DateTime, ForeignKey, Index, Integer, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.db.models.base import Base, Created, Hash, Time


class Start(Base):
    """One start of an ingestor; its status is the worst of its runs. `id` is that of the Celery task.

    `queued` until it is due and a `worker` claims it; then `running` for as long as that worker extends the lease.
    `attempt` counts claims and fences off a worker that lost its lease, `failures` counts those that are held against
    it, `lost` the workers that died of it or with it. A start of a `task` can be sent again; one of the command line,
    without a task, ends with its process. Starts of the same `key` do the same work: one that is queued takes in those
    that follow, which are `coalesced` into it, and never do two run at a time. One that `waits_for` an organization
    goes on when the run that holds it ends.
    """

    __tablename__ = "starts"
    __table_args__ = (
        Index("uq_starts_queued", "key", unique=True, postgresql_where=text("status = 'queued' AND attempt = 0")),
        Index("uq_starts_running", "key", unique=True, postgresql_where=text("status = 'running'")),
        Index("ix_starts_open", "status", postgresql_where=text("status IN ('queued', 'running')")),
        Index("ix_starts_unannounced", "finished_at", postgresql_where=text("task IS NOT NULL AND NOT announced")),
        Index("ix_starts_created_at", "created_at"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    ingestor: Mapped[str]
    task: Mapped[str | None]
    arguments: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    key: Mapped[str | None]
    status: Mapped[str]
    attempt: Mapped[int] = mapped_column(server_default="0")
    failures: Mapped[int] = mapped_column(server_default="0")
    lost: Mapped[int] = mapped_column(server_default="0")
    worker: Mapped[str | None]
    lease_expires_at: Mapped[Time | None]
    due_at: Mapped[Time | None]
    sent_at: Mapped[Time | None]
    expires_at: Mapped[Time | None]
    waits_for: Mapped[int | None] = mapped_column(BigInteger)
    into_id: Mapped[UUID | None] = mapped_column(ForeignKey("starts.id", ondelete="CASCADE"), index=True)
    result: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    error: Mapped[str | None]
    announced: Mapped[bool] = mapped_column(server_default="false")
    created_at: Mapped[Created]
    started_at: Mapped[Time | None]
    finished_at: Mapped[Time | None]


class Run(Base):
    """One organization's part of a start, `running` while its start's worker holds it, `waiting` when that start has to
    come back to it. `report` holds what each step did, `progress` how far it is (`app.services.run_progress`),
    `staged_for` what its staging tables were filled against; `rerun_requested` says that another start found the
    organization taken."""

    __tablename__ = "runs"
    __table_args__ = (
        Index("uq_runs_running", "organization_id", unique=True, postgresql_where=text("status = 'running'")),
        Index("uq_runs_start", "start_id", "organization_id", unique=True),
        Index("ix_runs_created_at", "created_at"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    start_id: Mapped[UUID] = mapped_column(ForeignKey("starts.id", ondelete="CASCADE"))
    ingestor: Mapped[str]
    organization_id: Mapped[int | None] = mapped_column(ForeignKey("organizations.id", ondelete="CASCADE"))
    status: Mapped[str]
    rerun_requested: Mapped[bool] = mapped_column(server_default="false")
    staged_for: Mapped[Hash | None]
    report: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=text("'{}'"))
    error: Mapped[str | None]
    progress: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    created_at: Mapped[Created]
    finished_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))


class Piece(Base):
    """A part of a run's work that whoever is idle may do: a `worker` has it until its lease runs out, and it is done
    when it has a `result`. The table is UNLOGGED: a crash of PostgreSQL empties it, and the run does what is missing by
    itself."""

    __tablename__ = "pieces"
    __table_args__ = {"prefixes": ["UNLOGGED"]}  # noqa: RUF012 - SQLAlchemy's own way

    owner: Mapped[UUID] = mapped_column(primary_key=True)
    ordinal: Mapped[int] = mapped_column(Integer, primary_key=True)
    work: Mapped[dict[str, Any]] = mapped_column(JSONB)
    worker: Mapped[str | None]
    lease_expires_at: Mapped[Time | None]
    result: Mapped[dict[str, Any] | None] = mapped_column(JSONB)


class Worker(Base):
    """A worker that lives: it says so every few seconds."""

    __tablename__ = "workers"

    name: Mapped[str] = mapped_column(primary_key=True)
    hostname: Mapped[str]
    started_at: Mapped[Created]
    seen_at: Mapped[Created]


class Counter(Base):
    """A number that only grows, for the metrics: runs that ended, items by verdict, seconds by step. `labels` is a JSON
    object with sorted keys."""

    __tablename__ = "counters"

    name: Mapped[str] = mapped_column(primary_key=True)
    labels: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[float]

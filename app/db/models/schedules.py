"""When work is started."""

from datetime import datetime
from typing import Any

from sqlalchemy import DateTime, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.db.models.base import Base, Created, Time


class Schedule(Base):
    """A task and when it is due: `cron`, or `every` so many seconds. `seed` is what `ingestion.yaml` or the settings
    said last; where the other columns differ from it, an operator changed them, and they stay until the seed changes. A
    schedule without a seed is an operator's own."""

    __tablename__ = "schedules"

    name: Mapped[str] = mapped_column(primary_key=True)
    task: Mapped[str]
    args: Mapped[list[Any]] = mapped_column(JSONB, server_default=text("'[]'"))
    cron: Mapped[str | None]
    every: Mapped[float | None]
    enabled: Mapped[bool] = mapped_column(server_default="true")
    seed: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    updated_at: Mapped[Created]


class BeatSlot(Base):
    """The latest due time that a beat took for itself, so that no other starts the same."""

    __tablename__ = "beat_slots"

    name: Mapped[str] = mapped_column(primary_key=True)
    due_at: Mapped[Time]
    taken_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=text("clock_timestamp()"))

"""Schedules, as `ingestion.yaml`, the settings and operators want them, and the due times that beats have taken."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb
from sqlalchemy import Connection, text


@dataclass(frozen=True)
class Planned:
    """A task and when it is due: by `cron`, or every so many seconds."""

    name: str
    task: str
    args: Sequence[Any] = ()
    cron: str | None = None
    every: float | None = None


@dataclass(frozen=True, kw_only=True)
class Listed(Planned):
    """A row of the table. An operator may have written it: only its columns' types are certain."""

    enabled: bool
    updated_at: datetime


def seed(connection: Connection, entries: Iterable[Planned]) -> None:
    """Brings the rows that have a seed in line with `entries`. A row whose seed is as it was stays as an operator left
    it; a row without a seed is an operator's own and stays, also where an entry has its name."""
    seeds = [asdict(entry) | {"args": list(entry.args)} for entry in entries]
    # Two beats that start together take turns.
    connection.exec_driver_sql("SELECT pg_advisory_xact_lock(hashtextextended('schedules', 0))")
    connection.execute(_DELETE_VANISHED, {"names": [each["name"] for each in seeds]})
    connection.execute(_UPSERT, {"seeds": Jsonb(seeds)})


def listed(connection: Connection) -> list[Listed]:
    """Every schedule, by name."""
    rows = connection.execute(
        text("SELECT name, task, args, cron, every, enabled, updated_at FROM schedules ORDER BY name")
    )
    return [Listed(**row) for row in rows.mappings()]


def take_slot(connection: Connection, name: str, due: datetime) -> bool:
    """Whether the run that is due at this time is the caller's to start. Of all who ask, now or later, one hears True;
    it is heard by another only if this transaction is rolled back. An earlier due time is gone with a later one."""
    return connection.execute(_TAKE, {"name": name, "due": due}).one_or_none() is not None


def last_slots(connection: Connection) -> dict[str, datetime]:
    """The latest due time taken, by schedule."""
    rows = connection.execute(text("SELECT name, due_at FROM beat_slots"))
    return {row.name: row.due_at for row in rows}


_DELETE_VANISHED = text("DELETE FROM schedules WHERE seed IS NOT NULL AND NOT name = ANY(CAST(:names AS varchar[]))")
# A row without a seed fails the last condition, because nothing differs from NULL.
_UPSERT = text("""
    INSERT INTO schedules (name, task, args, cron, every, seed)
    SELECT s.name, s.task, s.args, s.cron, s.every, each - 'name'
    FROM jsonb_array_elements(:seeds) each,
        jsonb_to_record(each) s (name varchar, task varchar, args jsonb, cron varchar, every double precision)
    ORDER BY s.name
    ON CONFLICT (name) DO UPDATE SET task = excluded.task, args = excluded.args, cron = excluded.cron,
        every = excluded.every, enabled = true, seed = excluded.seed, updated_at = now()
    WHERE schedules.seed <> excluded.seed
    """)
_TAKE = text("""
    INSERT INTO beat_slots (name, due_at) VALUES (:name, :due)
    ON CONFLICT (name) DO UPDATE SET due_at = excluded.due_at, taken_at = clock_timestamp()
    WHERE beat_slots.due_at < excluded.due_at
    RETURNING name
    """)

"""Workers that are gone, and what they held."""

from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import Row, text

from app.core import process
from app.db.session import Database, end_connections
from app.db.staging import StagingTables, leftovers
from app.services import counters

log = structlog.get_logger()

MAX_LOST = 20
"""Workers that one start may lose before it counts as what kills them."""


def release_lost(database: Database, *, only: UUID | None = None) -> int:
    """Takes starts from workers that are gone or whose lease ran out, ending their connections first: a task's is due
    again at once, one of the command line has failed. Returns their number."""
    with database.transaction() as connection:
        running = connection.execute(
            text("""
                SELECT id, task, ingestor, worker, attempt, lost, lease_expires_at < clock_timestamp() AS expired
                FROM starts WHERE status = 'running' AND (CAST(:only AS uuid) IS NULL OR id = :only) ORDER BY id
                """),
            {"only": only},
        ).all()
    lost = [row for row in running if row.expired or process.is_dead(row.worker)]
    return sum(_release(database, row) for row in lost)


def drop_leftovers(database: Database) -> int:
    """Ends what workers that are gone were at, and removes the staging tables of runs that are over; returns how many
    runs had left some."""
    release_lost(database)
    with database.transaction() as connection:
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(hashtextextended('staging', 0))")
        left = leftovers(connection)
        active = connection.execute(
            text("SELECT id FROM runs WHERE id = ANY(:ids) AND status IN ('running', 'waiting')"), {"ids": left}
        ).scalars()
        over = set(left) - set(active)
        for run_id in over:
            StagingTables(run_id).drop(connection)
    return len(over)


def _release(database: Database, row: Row[Any]) -> bool:
    """Releases one start, unless its worker came back meanwhile; that worker's late writes are fenced off."""
    with database.transaction() as connection:
        end_connections(connection, row.worker)
    goes_on = row.task is not None and row.lost < MAX_LOST
    with database.transaction() as connection:
        released = connection.execute(
            text("""
                UPDATE starts SET lost = lost + 1, lease_expires_at = NULL, sent_at = NULL, due_at = clock_timestamp(),
                    status = CASE WHEN :goes_on THEN 'queued' ELSE 'failed' END,
                    finished_at = CASE WHEN NOT :goes_on THEN clock_timestamp() END,
                    error = CASE WHEN NOT :goes_on THEN 'The worker was lost' END
                WHERE id = :id AND status = 'running' AND attempt = :attempt
                    AND (:dead OR lease_expires_at < clock_timestamp())
                """),
            {"id": row.id, "attempt": row.attempt, "goes_on": goes_on, "dead": process.is_dead(row.worker)},
        ).rowcount
        if not released:
            return False
        log.warning("a worker was lost", start=str(row.id), worker=row.worker, goes_on=goes_on)
        counters.add(connection, {("leases_lost", ()): 1})
        runs = connection.execute(
            text("""
                UPDATE runs SET status = CASE WHEN :goes_on THEN 'waiting' ELSE 'failed' END,
                    finished_at = CASE WHEN NOT :goes_on THEN clock_timestamp() END, error = 'The worker was lost'
                WHERE start_id = :id AND status IN ('running', 'waiting') RETURNING id
                """),
            {"id": row.id, "goes_on": goes_on},
        ).scalars().all()  # fmt: skip
        if not goes_on:
            for run_id in runs:
                StagingTables(run_id).drop(connection)
            failed = ("runs", (("ingestor", row.ingestor), ("status", "failed")))
            counters.add(connection, {counters.start_ended(row.ingestor, "failed"): 1, failed: len(runs)})
    return True

"""The ledger of runs: each an organization's part of a start, one at a time for each organization."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import structlog
from psycopg.types.json import Jsonb
from sqlalchemy import Connection, text
from sqlalchemy.exc import IntegrityError

from app.core.errors import DiscoveryNodeError
from app.db.session import Database, is_away
from app.db.staging import StagingTables
from app.services import counters, losses
from app.services.counters import Key
from app.services.starts import LeaseLostError, Start, Status

log = structlog.get_logger()

# From best to worst; a start is as bad as the worst of its runs.
_BADNESS: tuple[Status, ...] = ("success", "degraded", "held", "waiting", "failed")
_POLL = 0.2  # seconds between looks at an organization that another run holds
_REPORTED = ("registry", "feed", "vector", "issues", "timings")
_VERDICTS = ("inserted", "updated", "unchanged", "deleted", "rejected")


class OrganizationBusyError(DiscoveryNodeError):
    """Another start holds the organization, and does it again for this one when it is through."""

    def __init__(self, organization_id: int) -> None:
        super().__init__(
            "Another start is at work on the organization", remedy="Nothing to do: this one goes on after it."
        )
        self.organization_id = organization_id


@dataclass
class Run:
    """A run that this process holds. `staged_for` is what its staging tables were filled against, when they were by a
    worker that was lost or interrupted."""

    id: UUID
    start: Start
    organization_id: int | None
    staged_for: bytes | None = None
    report: dict[str, Any] = field(default_factory=dict)
    progress: dict[str, Any] | None = None

    def fence(self, connection: Connection) -> None:
        """The last statement before a commit: raises `LeaseLostError` unless the start is still this process's."""
        self.start.fence(connection)


@dataclass(frozen=True)
class EndedRun:
    """A run that an earlier attempt of the start brought to its end."""

    id: UUID
    status: Status
    report: dict[str, Any]
    error: str | None


def worst(statuses: list[Status]) -> Status:
    """The status of a start with runs of these statuses."""
    return max(statuses, key=_BADNESS.index, default="success")


@contextmanager
def claimed(database: Database, start: Start, organization_id: int | None) -> Iterator[Run]:
    """Holds a run for an organization, waiting for the one that holds it now; a task's start does not wait, but raises
    `OrganizationBusyError`.

    The block ends the run with `finish`; one that raises leaves it failed, or waiting when the start is given back for
    what was raised, as that of a task is when its database was away. A dry run is not recorded, since others would wait
    for what it records until it ends; it takes the organization's lock before it changes anything.
    """
    if not start.is_recorded:
        with database.transaction() as connection:
            connection.execute(
                text("SELECT pg_advisory_xact_lock(hashtextextended('organization', :organization))"),
                {"organization": organization_id},
            )
        yield Run(uuid4(), start, organization_id)
        return
    run = _claim(database, start, organization_id)
    with structlog.contextvars.bound_contextvars(run=str(run.id)):
        try:
            yield run
        except LeaseLostError:
            raise
        except BaseException as error:
            goes_on = start.interruption(error) is not None or (start.is_task and is_away(error))
            finish(database, run, "waiting" if goes_on else "failed", f"Interrupted by {type(error).__name__}")
            raise


def ended(connection: Connection, start: Start) -> dict[int, EndedRun]:
    """What earlier attempts of a start brought to an end, by organization."""
    if start.attempt == 1:
        return {}
    rows = connection.execute(
        text("""
            SELECT organization_id, id, status, report, error FROM runs
            WHERE start_id = :start AND status NOT IN ('running', 'waiting') AND organization_id IS NOT NULL
            """),
        {"start": start.id},
    )
    return {row.organization_id: EndedRun(row.id, row.status, row.report, row.error) for row in rows}


def finish(database: Database, run: Run, status: Status, error: str | None) -> None:
    """Ends a run and removes its staging tables; one that waits keeps them. Raises `LeaseLostError` when its start is
    another worker's by now."""
    with database.transaction() as connection:
        if status != "waiting":
            StagingTables(run.id).drop(connection)
        if not run.start.is_recorded:
            return
        row = connection.execute(
            text("""
                UPDATE runs SET status = CAST(:status AS text), report = :report, error = :error,
                    progress = coalesce(:progress, progress),
                    finished_at = CASE WHEN CAST(:status AS text) <> 'waiting' THEN clock_timestamp() END
                WHERE id = :id AND status = 'running' RETURNING rerun_requested
                """),
            {
                "id": run.id, "status": status, "report": Jsonb(run.report), "error": error,
                "progress": None if run.progress is None else Jsonb(run.progress),
            },
        ).one_or_none()  # fmt: skip
        if row is None:
            raise LeaseLostError(run.start.id)
        connection.execute(text("DELETE FROM pieces WHERE owner = :id"), {"id": run.id})
        if row.rerun_requested:
            connection.execute(
                text(
                    "UPDATE starts SET due_at = clock_timestamp() WHERE status = 'queued' AND waits_for = :organization"
                ),
                {"organization": run.organization_id},
            )
        if status != "waiting":
            counters.add(connection, _counted(run, status))
        run.fence(connection)


def mark_staged_for(connection: Connection, run: Run, staged_for: bytes) -> None:
    """Remembers what the run's staging tables are filled against, so that another attempt can take them over."""
    run.staged_for = staged_for
    connection.execute(
        text("UPDATE runs SET staged_for = :staged_for WHERE id = :id"), {"id": run.id, "staged_for": staged_for}
    )


def staged_for(connection: Connection, run_id: UUID) -> bytes | None:
    """What a run that goes on fills its staging tables against."""
    found: bytes | None = connection.execute(
        text("SELECT staged_for FROM runs WHERE id = :id AND status = 'running'"), {"id": run_id}
    ).scalar_one_or_none()
    return found


@dataclass(frozen=True)
class RunFilter:
    """Which runs are asked for; None leaves that open. `before` are the time and id of one: those that come after it
    in the list."""

    ingestor: str | None = None
    organization: str | None = None
    status: str | None = None
    start: UUID | None = None
    before: tuple[datetime, UUID] | None = None


_COLUMNS = "r.id, r.start_id, r.ingestor, o.urn AS organization, o.name, r.status, r.error, r.created_at, r.finished_at"
_FROM = "FROM runs r LEFT JOIN organizations o ON o.id = r.organization_id"


def recent(connection: Connection, limit: int, wanted: RunFilter | None = None) -> list[dict[str, Any]]:
    """The latest runs, newest first, as JSON documents, without the list of what held ones would delete."""
    wanted = wanted or RunFilter()
    time, run_id = wanted.before or (None, None)
    rows = connection.execute(
        text(f"""
            SELECT {_COLUMNS}, r.report #- '{{feed,vanishing}}' #- '{{registry,vanishing}}' AS report {_FROM}
            WHERE (CAST(:ingestor AS text) IS NULL OR r.ingestor = :ingestor)
                AND (CAST(:organization AS text) IS NULL OR o.urn = :organization)
                AND (CAST(:status AS text) IS NULL OR r.status = :status)
                AND (CAST(:start AS uuid) IS NULL OR r.start_id = :start)
                AND (CAST(:time AS timestamptz) IS NULL OR r.created_at < :time OR r.created_at = :time AND r.id > :id)
            ORDER BY r.created_at DESC, r.id LIMIT :limit
            """),
        {
            "ingestor": wanted.ingestor,
            "organization": wanted.organization,
            "status": wanted.status,
            "start": wanted.start,
            "time": time,
            "id": run_id,
            "limit": limit,
        },
    )
    return [dict(row._mapping) for row in rows]


def find(connection: Connection, run_id: UUID) -> dict[str, Any] | None:
    """The run with that id, as a JSON document, with what it noted of its progress."""
    row = connection.execute(
        text(f"SELECT {_COLUMNS}, r.report, r.progress {_FROM} WHERE r.id = :id"), {"id": run_id}
    ).one_or_none()
    return None if row is None else dict(row._mapping)


def as_report(row: Mapping[str, Any]) -> dict[str, Any]:
    """A run as the ingestion reported it, with its times."""
    return {
        "id": row["id"],
        "start": row["start_id"],
        "ingestor": row["ingestor"],
        "organization": row["organization"],
        "name": row["name"],
        "status": row["status"],
        **{part: {} for part in _REPORTED},
        **row["report"],
        "error": row["error"],
        "started_at": row["created_at"],
        "finished_at": row["finished_at"],
    }


def held_publication(connection: Connection, run_id: UUID) -> bytes | None:
    """The fingerprint of the publication that a run held, or of the retirements; None when it is not what the feed or
    the registry waits with."""
    fingerprint: bytes | None = connection.execute(
        text("""
            SELECT decode(r.report #>> '{registry,vanishing,fingerprint}', 'hex') FROM runs r
            WHERE r.id = :id AND r.status = 'held' AND r.organization_id IS NULL AND NOT EXISTS (
                SELECT FROM runs later WHERE later.ingestor = r.ingestor AND later.start_id <> r.start_id
                    AND later.created_at > r.created_at AND later.report #> '{steps,registry}' IS NOT NULL)
            UNION ALL
            SELECT f.attempted_fingerprint FROM runs r JOIN feeds f ON f.organization_id = r.organization_id
            WHERE r.id = :id AND r.status = 'held' AND f.verdict = 'held' AND NOT EXISTS (
                SELECT FROM runs later WHERE later.organization_id = r.organization_id
                    AND later.created_at > r.created_at AND later.status IN ('held', 'success', 'degraded'))
            """),
        {"id": run_id},
    ).scalar_one_or_none()
    return fingerprint


def open_starts(connection: Connection) -> list[dict[str, Any]]:
    """The starts that are running or queued, oldest first, as JSON documents. `waits_for` is the organization that one
    waits for, `held_by` the start that holds it or does the same work."""
    rows = connection.execute(
        text("""
            SELECT s.id, s.task, s.ingestor, s.status, s.attempt, s.failures, s.lost, s.worker, s.created_at,
                s.started_at, s.due_at, s.error, coalesce(o.name, o.urn) AS waits_for,
                coalesce(same.id, holder.start_id) AS held_by,
                coalesce(same.ingestor, holder.ingestor) AS held_by_ingestor
            FROM starts s
                LEFT JOIN organizations o ON s.status = 'queued' AND o.id = s.waits_for
                LEFT JOIN starts same ON s.status = 'queued' AND same.status = 'running' AND same.key = s.key
                LEFT JOIN runs holder ON s.status = 'queued' AND holder.organization_id = s.waits_for
                    AND holder.status = 'running'
            WHERE s.status IN ('queued', 'running') ORDER BY s.created_at, s.id
            """)
    )
    return [dict(row._mapping) for row in rows]


def _claim(database: Database, start: Start, organization_id: int | None) -> Run:
    waiting = False
    while (run := _insert(database, start, organization_id)) is None:
        assert organization_id is not None  # noqa: S101 - nothing else is unique
        if losses.release_lost(database):
            continue
        if start.is_task:
            with database.transaction() as connection:
                connection.execute(
                    text("""
                        UPDATE runs SET rerun_requested = true
                        WHERE organization_id = :organization AND status = 'running'
                        """),
                    {"organization": organization_id},
                )
            raise OrganizationBusyError(organization_id)
        if not waiting:
            log.info("waiting for another run of the organization", organization_id=organization_id)
            waiting = True
        time.sleep(_POLL)
    return run


def _insert(database: Database, start: Start, organization_id: int | None) -> Run | None:
    """Writes the run down as running, or goes on with that of an earlier attempt; None when another start's is."""
    try:
        with database.transaction() as connection:
            row = connection.execute(
                text("""
                    INSERT INTO runs (id, start_id, ingestor, organization_id, status)
                    VALUES (:id, :start, :ingestor, :organization, 'running')
                    ON CONFLICT (start_id, organization_id) DO UPDATE SET status = 'running', error = NULL
                    RETURNING id, staged_for
                    """),
                {"id": uuid4(), "start": start.id, "ingestor": start.ingestor, "organization": organization_id},
            ).one()
            start.fence(connection)
    except IntegrityError:
        return None
    return Run(row.id, start, organization_id, row.staged_for)


def _counted(run: Run, status: Status) -> dict[Key, float]:
    """What a run adds to the counters."""
    amounts: dict[Key, float] = {("runs", (("ingestor", run.start.ingestor), ("status", status))): 1}
    for step, seconds in run.report.get("timings", {}).items():
        amounts["step_seconds", (("step", step),)] = seconds
        amounts["steps", (("step", step),)] = 1
    for kind in ("products", "product_groups", "offers"):
        counts = run.report.get("feed", {}).get(kind, {})
        amounts |= {
            ("items", (("kind", kind), ("verdict", name))): counts[name] for name in _VERDICTS if counts.get(name)
        }
    if indexed := run.report.get("vector", {}).get("indexed"):
        amounts["products_indexed", ()] = indexed
    return amounts

"""The ledger: starts, and the runs of their organizations, each held by one worker at a time."""

import os
import platform
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from uuid import UUID, uuid4

import structlog
from psycopg.types.json import Jsonb
from sqlalchemy import Connection, Row, text
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from app.core.errors import DiscoveryNodeError
from app.db.session import Database
from app.db.staging import StagingTables, leftovers

log = structlog.get_logger()

Status = Literal["running", "success", "degraded", "held", "failed"]
# From best to worst; a start is as bad as the worst of its runs.
_BADNESS: tuple[Status, ...] = ("success", "degraded", "held", "failed")

LEASE = 60.0  # seconds
HEARTBEAT = 15.0  # seconds
_HOLDERS = "SELECT id, worker, lease_expires_at < clock_timestamp() AS expired FROM runs"
_POLL = 0.2  # seconds between looks at an organization that another run holds


class LeaseLostError(DiscoveryNodeError):
    """Another worker took the run over; nothing of this one may be committed."""

    def __init__(self, run_id: UUID) -> None:
        super().__init__(f"The lease on run {run_id} was lost", remedy="Nothing to do: the run that took over goes on.")


@dataclass
class Run:
    """A run that this process holds."""

    id: UUID
    start_id: UUID
    organization_id: int | None
    attempt: int = 1
    is_recorded: bool = True
    report: dict[str, Any] = field(default_factory=dict)

    def fence(self, connection: Connection) -> None:
        """The last statement before a commit: raises `LeaseLostError` unless the run is still this worker's."""
        if self.is_recorded and not _extend_lease(connection, self):
            raise LeaseLostError(self.id)


def worst(statuses: list[Status]) -> Status:
    """The status of a start with runs of these statuses."""
    return max(statuses, key=_BADNESS.index, default="success")


def open_start(database: Database, ingestor: str) -> UUID:
    """Writes down that an ingestor was started."""
    start_id = uuid4()
    with database.transaction() as connection:
        connection.execute(
            text("INSERT INTO starts (id, ingestor, status, worker) VALUES (:id, :ingestor, 'running', :worker)"),
            {"id": start_id, "ingestor": ingestor, "worker": _worker(os.getpid())},
        )
    return start_id


def close_start(database: Database, start_id: UUID, status: Status) -> None:
    """Writes down how a start ended."""
    with database.transaction() as connection:
        connection.execute(
            text("UPDATE starts SET status = :status, finished_at = clock_timestamp() WHERE id = :id"),
            {"id": start_id, "status": status},
        )


@contextmanager
def claimed(database: Database, start_id: UUID, ingestor: str, organization_id: int | None) -> Iterator[Run]:
    """Holds a run for an organization, waiting for the one that holds it now; its lease is kept alive meanwhile.

    The block ends the run with `finish`; one that raises leaves it failed. A dry run is not recorded, since others
    would wait for what it records until it ends; it takes the organization's lock before it changes anything.
    """
    if not database.concurrent:
        with database.transaction() as connection:
            connection.execute(
                text("SELECT pg_advisory_xact_lock(hashtextextended('organization', :organization))"),
                {"organization": organization_id},
            )
        yield Run(uuid4(), start_id, organization_id, is_recorded=False)
        return
    run = _claim(database, start_id, ingestor, organization_id)
    with structlog.contextvars.bound_contextvars(run=str(run.id)), _heartbeat(database, run):
        try:
            yield run
        except BaseException as error:
            finish(database, run, "failed", f"Interrupted by {type(error).__name__}")
            raise


def finish(database: Database, run: Run, status: Status, error: str | None) -> None:
    """Ends a run and removes its staging tables. Raises `LeaseLostError` when it is another worker's by now."""
    with database.transaction() as connection:
        StagingTables(run.id).drop(connection)
        if not run.is_recorded:
            return
        ended = connection.execute(
            text("""
                UPDATE runs SET status = :status, report = :report, error = :error, lease_expires_at = NULL,
                    finished_at = clock_timestamp()
                WHERE id = :id AND attempt = :attempt AND status = 'running'
                """),
            {
                "id": run.id,
                "attempt": run.attempt,
                "status": status,
                "report": Jsonb(run.report),
                "error": error,
            },
        ).rowcount
        if not ended:
            raise LeaseLostError(run.id)


def drop_leftovers(database: Database) -> int:
    """Ends the starts of workers that are gone, and removes the staging tables of runs that are over or whose worker is
    gone; returns how many runs had left some."""
    with database.transaction() as connection:
        running = connection.execute(text("SELECT id, worker FROM starts WHERE status = 'running'")).all()
        connection.execute(
            text("UPDATE starts SET status = 'failed', finished_at = clock_timestamp() WHERE id = ANY(:ids)"),
            {"ids": [start.id for start in running if _is_dead(start.worker)]},
        )
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(hashtextextended('staging', 0))")
        runs = leftovers(connection)
        active = connection.execute(
            text(f"{_HOLDERS} WHERE id = ANY(:ids) AND status = 'running'"), {"ids": runs}
        ).all()
        lost = [holder for holder in active if _is_lost(holder)]
        for holder in lost:
            _end_lost(connection, holder)
        over = set(runs) - {holder.id for holder in active} | {holder.id for holder in lost}
        for run_id in over:
            StagingTables(run_id).drop(connection)
    return len(over)


def recent(connection: Connection, limit: int) -> list[dict[str, Any]]:
    """The latest runs, newest first, as JSON documents."""
    rows = connection.execute(
        text("""
            SELECT r.id, r.ingestor, o.urn AS organization, o.name, r.status, r.report, r.error, r.created_at,
                r.finished_at
            FROM runs r LEFT JOIN organizations o ON o.id = r.organization_id
            ORDER BY r.created_at DESC, r.id LIMIT :limit
            """),
        {"limit": limit},
    )
    return [dict(row._mapping) for row in rows]


def _claim(database: Database, start_id: UUID, ingestor: str, organization_id: int | None) -> Run:
    run = Run(uuid4(), start_id, organization_id)
    waiting = False
    while not _insert(database, run, ingestor):
        if not _end_dead_holder(database, organization_id):
            if not waiting:
                log.info("waiting for another run of the organization", organization_id=organization_id)
                waiting = True
            time.sleep(_POLL)
    return run


def _insert(database: Database, run: Run, ingestor: str) -> bool:
    """Writes the run down as running; False when another run of the organization is."""
    try:
        with database.transaction() as connection:
            connection.execute(
                text("""
                    INSERT INTO runs (id, start_id, ingestor, organization_id, status, attempt, worker,
                        lease_expires_at)
                    VALUES (:id, :start, :ingestor, :organization, 'running', 1, :worker,
                        clock_timestamp() + make_interval(secs => :lease))
                    """),
                {
                    "id": run.id,
                    "start": run.start_id,
                    "ingestor": ingestor,
                    "organization": run.organization_id,
                    "worker": _worker(os.getpid()),
                    "lease": LEASE,
                },
            )
    except IntegrityError:
        return False
    return True


def _end_dead_holder(database: Database, organization_id: int | None) -> bool:
    """Fails the organization's running run if its worker is gone; True when there is none left."""
    with database.transaction() as connection:
        holder = connection.execute(
            text(f"{_HOLDERS} WHERE organization_id = :organization AND status = 'running'"),
            {"organization": organization_id},
        ).one_or_none()
        if holder is None:
            return True
        if not _is_lost(holder):
            return False
        _end_lost(connection, holder)
    return True


def _is_lost(holder: Row[Any]) -> bool:
    return bool(holder.expired) or _is_dead(holder.worker)


def _end_lost(connection: Connection, holder: Row[Any]) -> None:
    """Fails the run of a lost worker. The attempt it raises fences off a worker that is merely late."""
    log.warning("ending the run of a lost worker", run=str(holder.id), worker=holder.worker)
    connection.execute(
        text("""
            UPDATE runs SET status = 'failed', error = 'The worker was lost', attempt = attempt + 1,
                lease_expires_at = NULL, finished_at = clock_timestamp()
            WHERE id = :id AND status = 'running'
            """),
        {"id": holder.id},
    )
    StagingTables(holder.id).drop(connection)


def _extend_lease(connection: Connection, run: Run) -> bool:
    return bool(
        connection.execute(
            text("""
                UPDATE runs SET lease_expires_at = clock_timestamp() + make_interval(secs => :lease)
                WHERE id = :id AND attempt = :attempt AND status = 'running'
                    AND lease_expires_at > clock_timestamp()
                """),
            {"id": run.id, "attempt": run.attempt, "lease": LEASE},
        ).rowcount
    )


@contextmanager
def _heartbeat(database: Database, run: Run) -> Iterator[None]:
    """Extends the lease from a thread of its own."""
    stop = threading.Event()
    thread = threading.Thread(target=_beat, args=(database, run, stop), name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _beat(database: Database, run: Run, stop: threading.Event) -> None:
    while not stop.wait(HEARTBEAT):
        try:
            with database.transaction() as connection:
                held = _extend_lease(connection, run)
        except (SQLAlchemyError, DiscoveryNodeError) as error:
            log.warning("heartbeat failed; trying again", run=str(run.id), error=type(error).__name__)
            continue
        if not held:
            log.warning("lease lost", run=str(run.id))
            return


def _worker(pid: int) -> str:
    """A process's name across machines and reuses of its number: host, number, start time."""
    return f"{platform.node()}:{pid}:{_start_time(pid)}"


def _is_dead(worker: str) -> bool:
    """Whether the worker was a process of this machine that is no more. Of others nothing is known but their lease."""
    host, pid, _ = worker.rsplit(":", 2)
    return host == platform.node() and worker != _worker(int(pid))


def _start_time(pid: int) -> str:
    """When a process started, in the kernel's ticks; "gone" when it does not run, "?" where this cannot be known."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return "gone" if Path("/proc/self/stat").exists() else "?"
    fields = status.rpartition(")")[2].split()
    # A process that is dead and not yet buried by its parent still has a number.
    return "gone" if fields[0] in {"Z", "X"} else fields[19]

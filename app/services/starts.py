"""The ledger of starts: claimed by one worker at a time, kept, given back, ended.

What is to be done, who does it, how often it failed and when it is due stand here,
and every write of a worker is fenced by its attempt.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import UUID, uuid4

import structlog
from psycopg.types.json import Jsonb
from sqlalchemy import Connection, text
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from app.core import process
from app.core.errors import DiscoveryNodeError
from app.core.logging import in_this_context
from app.db.session import Database
from app.services import counters, losses, messages
from app.services.messages import Sendable, Wanted

log = structlog.get_logger()

Status = Literal["running", "waiting", "success", "degraded", "held", "failed"]
FINAL = ("success", "degraded", "held", "failed", "coalesced")
_EARLY = 5  # seconds that a message may come before its time: clocks differ


class LeaseLostError(DiscoveryNodeError):
    """Another worker took the start over; nothing of this one may be committed."""

    def __init__(self, start_id: UUID) -> None:
        super().__init__(f"The lease on start {start_id} was lost", remedy="Nothing to do: what took over goes on.")


@dataclass
class Start:
    """A start that this process holds. One of a task `may_retry` what failed for the moment, and is given back when
    one of the `interruptions` is raised; one of the command line has neither."""

    id: UUID
    ingestor: str
    attempt: int = 1
    failures: int = 0
    lost: int = 0
    lease: float = 60.0  # seconds
    is_recorded: bool = True
    is_task: bool = False
    may_retry: bool = False
    interruptions: tuple[type[BaseException], ...] = ()
    retry_after: float = 0.0  # seconds that a publisher asked for
    busy: set[int] = field(default_factory=set)  # organizations that other starts hold

    def interruption(self, error: BaseException) -> BaseException | None:
        """What interrupted the start, if that is what led to the error: raised in the midst of the driver's work it
        leaves a broken connection, whose error is then the one that is seen."""
        seen: BaseException | None = error
        while seen is not None and not isinstance(seen, self.interruptions):
            seen = seen.__cause__ or seen.__context__
        return seen

    def fence(self, connection: Connection) -> None:
        """The last statement before a commit: raises `LeaseLostError` unless the start is still this process's."""
        if self.is_recorded and not _extend_lease(connection, self):
            raise LeaseLostError(self.id)


@dataclass(frozen=True)
class Ended:
    """A start that is over, or was never begun and will not be."""

    status: str
    result: dict[str, Any] | None
    error: str | None


def claim(
    database: Database, wanted: Wanted, *, lease: float, max_failures: int,
    interruptions: tuple[type[BaseException], ...] = (),
) -> Start | Ended | None:  # fmt: skip
    """Takes a start that is due: the start when this process holds it now, how it ended when it is over, and None when
    there is nothing to do: another worker has it, or does the same work, or it is not due yet."""
    with database.transaction() as connection:
        messages.record(connection, wanted)
    losses.release_lost(database, only=wanted.id)
    try:
        with database.transaction() as connection:
            row = connection.execute(
                text("""
                    UPDATE starts SET status = 'running', attempt = attempt + 1, worker = :worker, waits_for = NULL,
                        lease_expires_at = clock_timestamp() + make_interval(secs => :lease),
                        started_at = coalesce(started_at, clock_timestamp())
                    WHERE id = :id AND status = 'queued' AND due_at <= clock_timestamp() + make_interval(secs => :early)
                    RETURNING attempt, failures, lost
                    """),
                {"id": wanted.id, "worker": process.own_name(), "lease": lease, "early": _EARLY},
            ).one_or_none()
            if row is None:
                return _ended(connection, wanted.id)
            if row.attempt > 1:
                # What was no organization's is told anew.
                connection.execute(
                    text("DELETE FROM runs WHERE start_id = :id AND organization_id IS NULL"), {"id": wanted.id}
                )
    except IntegrityError:
        return None  # one of the same key is running, and wakes this one when it ends
    return Start(
        wanted.id, wanted.ingestor, row.attempt, row.failures, row.lost, lease, is_task=True,
        may_retry=row.failures < max_failures, interruptions=interruptions,
    )  # fmt: skip


@contextmanager
def opened(database: Database, ingestor: str, lease: float) -> Iterator[Start]:
    """Holds a start of the command line, which ends with the block: the block says how with `finish`, and one that
    raises leaves it failed. That of a dry run is not recorded."""
    start = Start(uuid4(), ingestor, lease=lease, is_recorded=database.concurrent)
    if not start.is_recorded:
        yield start
        return
    with database.transaction() as connection:
        connection.execute(
            text("""
                INSERT INTO starts (id, ingestor, status, attempt, worker, lease_expires_at, started_at)
                VALUES (:id, :ingestor, 'running', 1, :worker, clock_timestamp() + make_interval(secs => :lease),
                    clock_timestamp())
                """),
            {"id": start.id, "ingestor": ingestor, "worker": process.own_name(), "lease": lease},
        )
    with kept(database, start):
        try:
            yield start
        except BaseException as error:
            finish(database, start, "failed", error=f"Interrupted by {type(error).__name__}")
            raise


@contextmanager
def kept(database: Database, start: Start) -> Iterator[None]:
    """Keeps the lease alive from a thread of its own while the block runs."""
    stop = threading.Event()
    beat = in_this_context(_beat)
    thread = threading.Thread(target=beat, args=(database, start, stop), name="heartbeat", daemon=True)
    thread.start()
    try:
        with structlog.contextvars.bound_contextvars(start=str(start.id)):
            yield
    finally:
        stop.set()
        thread.join()


def give_back(
    database: Database, start: Start, *, after: float = 0.0, failures: int | None = None, lost: int | None = None,
    error: str | None = None,
) -> None:  # fmt: skip
    """Puts a start back into the queue, due `after` so many seconds, or when the organization it waits for is free.
    Raises `LeaseLostError` when it is another worker's by now."""
    with database.transaction() as connection:
        given = connection.execute(
            text("""
                UPDATE starts SET status = 'queued', lease_expires_at = NULL, failures = coalesce(:failures, failures),
                    lost = coalesce(:lost, lost),
                    due_at = clock_timestamp() + make_interval(secs => :after), error = :error, waits_for = :busy,
                    sent_at = NULL
                WHERE id = :id AND attempt = :attempt AND status = 'running'
                """),
            {
                "id": start.id, "attempt": start.attempt, "after": after, "failures": failures, "lost": lost,
                "error": error, "busy": min(start.busy, default=None),
            },
        ).rowcount  # fmt: skip
        if not given:
            raise LeaseLostError(start.id)
        # One that could not be told to wait, for want of the database, would keep its organization.
        connection.execute(
            text("UPDATE runs SET status = 'waiting' WHERE start_id = :id AND status = 'running'"), {"id": start.id}
        )


def finish(
    database: Database, start: Start, status: Status, *, result: dict[str, Any] | None = None, error: str | None = None
) -> list[Sendable]:
    """Ends a start; returns those that waited for it to. Raises `LeaseLostError` when it is another worker's by now."""
    with database.transaction() as connection:
        if not start.is_recorded:
            return []
        ended = connection.execute(
            text("""
                UPDATE starts SET status = :status, finished_at = clock_timestamp(), lease_expires_at = NULL,
                    result = :result, error = :error
                WHERE id = :id AND attempt = :attempt AND status = 'running' RETURNING key
                """),
            {
                "id": start.id, "attempt": start.attempt, "status": status, "error": error,
                "result": None if result is None else Jsonb(result),
            },
        ).one_or_none()  # fmt: skip
        if ended is None:
            raise LeaseLostError(start.id)
        # One whose end could not be written down must not keep its organization.
        connection.execute(
            text("""
                UPDATE runs SET status = 'failed', finished_at = clock_timestamp(),
                    error = coalesce(error, 'Its end could not be written down')
                WHERE start_id = :id AND status IN ('running', 'waiting')
                """),
            {"id": start.id},
        )
        connection.execute(text("DELETE FROM pieces WHERE owner = :id"), {"id": start.id})
        counters.add(connection, {counters.start_ended(start.ingestor, status): 1})
        # Those of the same key, and those that an organization of this one kept waiting.
        rows = connection.execute(
            text("""
                SELECT id, task, arguments, failures FROM starts
                WHERE status = 'queued' AND due_at <= clock_timestamp() AND (key = :key OR waits_for IS NOT NULL)
                """),
            {"key": ended.key},
        )
        return [Sendable(*row) for row in rows]


def _ended(connection: Connection, start_id: UUID) -> Ended | None:
    row = connection.execute(text("SELECT status, result, error FROM starts WHERE id = :id"), {"id": start_id}).one()
    return Ended(*row) if row.status in FINAL and row.status != "coalesced" else None


def _extend_lease(connection: Connection, start: Start) -> bool:
    return bool(
        connection.execute(
            text("""
                UPDATE starts SET lease_expires_at = clock_timestamp() + make_interval(secs => :lease)
                WHERE id = :id AND attempt = :attempt AND status = 'running'
                    AND lease_expires_at > clock_timestamp()
                """),
            {"id": start.id, "attempt": start.attempt, "lease": start.lease},
        ).rowcount
    )


def _beat(database: Database, start: Start, stop: threading.Event) -> None:
    while not stop.wait(start.lease / 4):
        try:
            with database.transaction() as connection:
                held = _extend_lease(connection, start)
        except (SQLAlchemyError, DiscoveryNodeError) as error:
            log.warning("heartbeat failed; trying again", start=str(start.id), error=type(error).__name__)
            continue
        if not held:
            log.warning("lease lost", start=str(start.id))
            return

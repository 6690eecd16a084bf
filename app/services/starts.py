"""The ledger of starts: written before anything is sent, claimed by one worker at a time, sent again when it is lost.

A message is only a wake-up call. What is to be done, who does it, how often it failed and when it is due stand here,
and every write of a worker is fenced by its attempt.
"""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal
from uuid import UUID, uuid4

import structlog
from psycopg.types.json import Jsonb
from sqlalchemy import Connection, Row, text
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from app.core import process
from app.core.errors import DiscoveryNodeError
from app.core.logging import in_this_context
from app.db.session import Database, end_connections
from app.db.staging import StagingTables, leftovers
from app.services import counters
from app.services.counters import Key

log = structlog.get_logger()

Status = Literal["running", "waiting", "success", "degraded", "held", "failed"]
FINAL = ("success", "degraded", "held", "failed", "coalesced")
MAX_LOST = 20
"""Workers that one start may lose before it counts as what kills them."""
_RESEND = 600  # seconds after which a message is sent again although it may still be queued
_RETELL = 60  # seconds after which a start that is over is sent again, for nobody was told of its end
_GRACE = 15  # seconds that a message may be on its way, or overtaken by others
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
class Wanted:
    """What a task asks for. Starts of the same task and arguments do the same work."""

    id: UUID
    task: str
    ingestor: str
    arguments: dict[str, Any]
    expires_at: datetime | None = None
    due_at: datetime | None = None

    @property
    def key(self) -> str:
        document = json.dumps([self.task, self.arguments], sort_keys=True)
        return hashlib.sha256(document.encode()).hexdigest()[:32]


@dataclass(frozen=True)
class Ended:
    """A start that is over, or was never begun and will not be."""

    status: str
    result: dict[str, Any] | None
    error: str | None


@dataclass(frozen=True)
class Sendable:
    """What a message for a start says."""

    id: UUID
    task: str
    arguments: dict[str, Any]
    failures: int


# --- before a worker has it ----------------------------------------------------------------------------------------


def record(connection: Connection, wanted: Wanted) -> bool:
    """Writes a start down; False when one that is queued takes it in, so that nothing is to be sent. A start that is
    known already is left as it is."""
    while True:
        if _insert(connection, wanted, "queued", None):
            return True
        if connection.execute(text("SELECT 1 FROM starts WHERE id = :id"), {"id": wanted.id}).one_or_none():
            return True
        # Locked, so that it cannot be claimed, let alone end, before it has taken this one in.
        taker = connection.execute(
            text("SELECT id FROM starts WHERE key = :key AND status = 'queued' AND attempt = 0 FOR UPDATE"),
            {"key": wanted.key},
        ).scalar_one_or_none()
        if taker is not None:
            _insert(connection, wanted, "coalesced", taker)
            connection.execute(_TAKE_IN, {"taker": taker, "due": wanted.due_at, "expires": wanted.expires_at})
            return False


# What takes another in is due no later than that one, and lasts no shorter.
_TAKE_IN = text("""
    UPDATE starts SET due_at = least(due_at, coalesce(:due, clock_timestamp())),
        expires_at = CASE WHEN CAST(:expires AS timestamptz) IS NOT NULL THEN greatest(expires_at, :expires) END
    WHERE id = :taker AND (expires_at IS NOT NULL OR due_at > coalesce(:due, clock_timestamp()))
    """)


def mark_sent(connection: Connection, start_ids: list[UUID]) -> None:
    """Remembers that messages were sent for these starts."""
    connection.execute(text("UPDATE starts SET sent_at = clock_timestamp() WHERE id = ANY(:ids)"), {"ids": start_ids})


def due(connection: Connection, *, idle: bool) -> list[Sendable]:
    """The starts whose message has to be sent again: because no message is queued (`idle`), or one of the same task
    that was sent later has been taken already, and messages keep their order; else after ten minutes only. One of them
    that was not lost after all finds its start taken."""
    rows = connection.execute(_DUE, {"idle": idle, "grace": _GRACE, "resend": _RESEND, "retell": _RETELL})
    return [Sendable(*row) for row in rows]


_DUE = text("""
    WITH taken AS (
        SELECT task, max(sent_at) - make_interval(secs => :grace) AS sent_at FROM starts
        WHERE created_at > clock_timestamp() - interval '1 hour' AND started_at >= sent_at GROUP BY task
    )
    SELECT id, starts.task, arguments, failures FROM starts LEFT JOIN taken ON taken.task = starts.task
    WHERE starts.task IS NOT NULL AND (
        status = 'queued' AND due_at <= clock_timestamp()
            AND (starts.sent_at IS NULL OR starts.sent_at < due_at OR starts.sent_at < taken.sent_at OR
                starts.sent_at < clock_timestamp()
                    - make_interval(secs => CASE WHEN :idle THEN :grace ELSE :resend END))
        OR status IN ('success', 'degraded', 'held', 'failed') AND NOT announced
            AND finished_at BETWEEN clock_timestamp() - interval '1 day' AND clock_timestamp() - interval '20 s'
            AND (starts.sent_at IS NULL OR starts.sent_at < finished_at
                OR starts.sent_at < clock_timestamp() - make_interval(secs => :retell)))
    ORDER BY due_at, id
    """)


def expire(database: Database) -> int:
    """Ends the starts that nobody began in time; returns their number. One that the same work keeps waiting goes on."""
    with database.transaction() as connection:
        rows = connection.execute(
            text("""
                UPDATE starts SET status = 'failed', finished_at = clock_timestamp(),
                    error = 'No worker began it in time: it was not begun before it expired'
                WHERE status = 'queued' AND attempt = 0 AND expires_at < clock_timestamp()
                    AND NOT EXISTS (SELECT FROM starts r WHERE r.key = starts.key AND r.status = 'running')
                RETURNING id, ingestor
                """)
        ).all()
        for row in rows:
            counters.add(connection, {_ended_as(row.ingestor, "failed"): 1})
    for row in rows:
        log.warning("a start expired before any worker began it", start=str(row.id))
    return len(rows)


def revoke(connection: Connection, start_id: UUID) -> None:
    """Ends a start that an operator revoked."""
    revoked = connection.execute(
        text("""
            UPDATE starts SET status = 'failed', error = 'It was revoked', finished_at = clock_timestamp(),
                lease_expires_at = NULL
            WHERE id = :id AND status IN ('queued', 'running') RETURNING ingestor
            """),
        {"id": start_id},
    ).one_or_none()
    if revoked is not None:
        counters.add(connection, {_ended_as(revoked.ingestor, "failed"): 1})
    connection.execute(
        text("""
            UPDATE runs SET status = 'failed', error = 'It was revoked', finished_at = clock_timestamp()
            WHERE start_id = :id AND status IN ('running', 'waiting')
            """),
        {"id": start_id},
    )


# --- while a worker has it -----------------------------------------------------------------------------------------


def claim(
    database: Database, wanted: Wanted, *, lease: float, max_failures: int,
    interruptions: tuple[type[BaseException], ...] = (),
) -> Start | Ended | None:  # fmt: skip
    """Takes a start that is due: the start when this process holds it now, how it ended when it is over, and None when
    there is nothing to do: another worker has it, or does the same work, or it is not due yet."""
    with database.transaction() as connection:
        record(connection, wanted)
    release_lost(database, only=wanted.id)
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
        counters.add(connection, {_ended_as(start.ingestor, status): 1})
        # Those of the same key, and those that an organization of this one kept waiting.
        rows = connection.execute(
            text("""
                SELECT id, task, arguments, failures FROM starts
                WHERE status = 'queued' AND due_at <= clock_timestamp() AND (key = :key OR waits_for IS NOT NULL)
                """),
            {"key": ended.key},
        )
        return [Sendable(*row) for row in rows]


def announced(connection: Connection, start_id: UUID) -> None:
    """Remembers that whoever waits for a start that is over was told."""
    connection.execute(
        text("UPDATE starts SET announced = true WHERE id = :id AND status NOT IN ('queued', 'running')"),
        {"id": start_id},
    )


def taken_in(connection: Connection, start_id: UUID) -> list[UUID]:
    """The starts that a start that is over took in: they ended with it."""
    rows = connection.execute(
        text("""
            SELECT other.id FROM starts other JOIN starts own ON own.id = other.into_id
            WHERE own.id = :id AND own.status NOT IN ('queued', 'running')
            """),
        {"id": start_id},
    )
    return list(rows.scalars())


# --- when a worker is gone -----------------------------------------------------------------------------------------


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
            counters.add(connection, {_ended_as(row.ingestor, "failed"): 1, failed: len(runs)})
    return True


def _ended_as(ingestor: str, status: str) -> Key:
    """The counter of starts that ended so."""
    return ("starts", (("ingestor", ingestor), ("status", status)))


def _insert(connection: Connection, wanted: Wanted, status: str, into: UUID | None) -> bool:
    return bool(
        connection.execute(
            text("""
                INSERT INTO starts (id, ingestor, task, arguments, key, status, into_id, due_at, expires_at, announced)
                VALUES (:id, :ingestor, :task, :arguments, :key, :status, :into,
                    coalesce(:due, clock_timestamp()), :expires, false)
                ON CONFLICT DO NOTHING
                """),
            {
                "id": wanted.id, "ingestor": wanted.ingestor, "task": wanted.task, "key": wanted.key,
                "arguments": Jsonb(wanted.arguments), "status": status, "into": into, "due": wanted.due_at,
                "expires": wanted.expires_at,
            },
        ).rowcount
    )  # fmt: skip


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

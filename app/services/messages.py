"""Starts before and after a worker has them: written down, taken in by others, sent, sent again, and told of.

A message is only a wake-up call: it may come late, twice or never.
"""

import hashlib
import json
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import structlog
from psycopg.types.json import Jsonb
from sqlalchemy import Connection, text

from app.db.session import Database
from app.services import counters

log = structlog.get_logger()

_RESEND = 600  # seconds after which a message is sent again although it may still be queued
_RETELL = 60  # seconds after which a start that is over is sent again, for nobody was told of its end
_GRACE = 5  # seconds that a message may be on its way, or overtaken by others


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
class Sendable:
    """What a message for a start says."""

    id: UUID
    task: str
    arguments: dict[str, Any]
    failures: int


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


def taker_of(connection: Connection, start_id: UUID) -> UUID:
    """The start that does the work of one that was asked for: what took it in, if anything did, else itself."""
    taker = connection.execute(text("SELECT into_id FROM starts WHERE id = :id"), {"id": start_id}).scalar()
    return taker or start_id


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
        counters.add(connection, Counter(counters.start_ended(row.ingestor, "failed") for row in rows))
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
        counters.add(connection, {counters.start_ended(revoked.ingestor, "failed"): 1})
    connection.execute(
        text("""
            UPDATE runs SET status = 'failed', error = 'It was revoked', finished_at = clock_timestamp()
            WHERE start_id = :id AND status IN ('running', 'waiting')
            """),
        {"id": start_id},
    )


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

"""Work in pieces that whoever is idle may take: each by one worker at a time, under a lease, fenced."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event, Thread
from typing import Any
from uuid import UUID

import structlog
from psycopg.types.json import Jsonb
from sqlalchemy import Connection, Row, text
from sqlalchemy.exc import SQLAlchemyError

from app.core import process
from app.core.errors import DiscoveryNodeError
from app.core.logging import in_this_context
from app.db.session import Database, end_connections

log = structlog.get_logger()

LEASE = 30.0  # seconds


class PieceLostError(DiscoveryNodeError):
    """Another worker took the piece over, or the work is done without it; nothing of it may be committed."""


@dataclass(frozen=True)
class Piece:
    """A piece that this process holds."""

    owner: UUID
    ordinal: int
    work: dict[str, Any]

    def finish(self, connection: Connection, result: dict[str, Any]) -> None:
        """Writes the result down, as the last statement before a commit. Raises `PieceLostError` when the piece is
        another's by now."""
        done = connection.execute(
            text("""
                UPDATE pieces SET result = :result
                WHERE owner = :owner AND ordinal = :ordinal AND worker = :worker AND result IS NULL
                """),
            {"owner": self.owner, "ordinal": self.ordinal, "worker": process.own_name(), "result": Jsonb(result)},
        ).rowcount
        if not done:
            raise PieceLostError(f"Piece {self.ordinal} of {self.owner} was lost")


def offer(connection: Connection, owner: UUID, work: Mapping[int, dict[str, Any]]) -> None:
    """Lays out the pieces of a run, by ordinal, in place of those it had."""
    connection.execute(text("DELETE FROM pieces WHERE owner = :owner"), {"owner": owner})
    connection.execute(
        text("""
            INSERT INTO pieces (owner, ordinal, work)
            SELECT :owner, * FROM unnest(CAST(:ordinals AS int[]), CAST(:works AS jsonb[]))
            """),
        {"owner": owner, "ordinals": list(work), "works": [Jsonb(each) for each in work.values()]},
    )


def withdraw(connection: Connection, owner: UUID) -> None:
    """Takes all pieces back; who still works on one cannot finish it."""
    connection.execute(text("DELETE FROM pieces WHERE owner = :owner"), {"owner": owner})


def end(connection: Connection, owner: UUID) -> bool:
    """Takes back the pieces that nobody works on. False while others still do: they lose nothing when that is waited
    for."""
    connection.execute(
        text("""
            DELETE FROM pieces WHERE owner = :owner AND result IS NULL AND (worker IS NULL OR worker = ANY(:idle))
            """),
        {"owner": owner, "idle": [process.own_name(), *_lost_workers(connection, owner)]},
    )
    return all(result is not None for result in results(connection, owner).values())


@contextmanager
def taken(database: Database, owner: UUID) -> Iterator[Piece | None]:
    """Holds the next free piece, or one whose worker is gone or let its lease run out, while the block runs; None when
    there is none."""
    with database.transaction(durable=False) as connection:
        row = _take(connection, owner, [])
        if row is None and (lost := _lost_workers(connection, owner)):
            # One that was stopped in the midst of its work holds locks that everybody else would wait for.
            for worker in lost:
                end_connections(connection, worker)
            row = _take(connection, owner, lost)
    if row is None:
        yield None
        return
    stop = Event()
    keep = in_this_context(_beat)
    beat = Thread(target=keep, args=(database, owner, row.ordinal, stop), name="piece heartbeat", daemon=True)
    beat.start()
    try:
        yield Piece(owner, row.ordinal, row.work)
    finally:
        stop.set()
        beat.join()


def results(connection: Connection, owner: UUID) -> dict[int, dict[str, Any] | None]:
    """The results so far by ordinal, None for what is not done."""
    rows = connection.execute(text("SELECT ordinal, result FROM pieces WHERE owner = :owner"), {"owner": owner})
    return {row.ordinal: row.result for row in rows}


def _take(connection: Connection, owner: UUID, lost: list[str]) -> Row[Any] | None:
    return connection.execute(
        text("""
            UPDATE pieces SET worker = :worker,
                lease_expires_at = clock_timestamp() + make_interval(secs => :lease)
            WHERE owner = :owner AND ordinal = (
                SELECT ordinal FROM pieces WHERE owner = :owner AND result IS NULL
                    AND (worker IS NULL OR worker = ANY(:lost))
                ORDER BY ordinal LIMIT 1 FOR UPDATE SKIP LOCKED)
            RETURNING ordinal, work
            """),
        {"owner": owner, "worker": process.own_name(), "lease": LEASE, "lost": lost},
    ).one_or_none()


def _lost_workers(connection: Connection, owner: UUID) -> list[str]:
    """Those that hold a piece and are gone, or let its lease run out."""
    rows = connection.execute(
        text("""
            SELECT worker, bool_or(lease_expires_at < clock_timestamp()) AS expired FROM pieces
            WHERE owner = :owner AND result IS NULL AND worker <> :self GROUP BY worker
            """),
        {"owner": owner, "self": process.own_name()},
    )
    return [row.worker for row in rows if row.expired or process.is_dead(row.worker)]


def _beat(database: Database, owner: UUID, ordinal: int, stop: Event) -> None:
    while not stop.wait(LEASE / 4):
        try:
            with database.transaction() as connection:
                connection.execute(
                    text("""
                        UPDATE pieces SET lease_expires_at = clock_timestamp() + make_interval(secs => :lease)
                        WHERE owner = :owner AND ordinal = :ordinal AND worker = :worker AND result IS NULL
                        """),
                    {"owner": owner, "ordinal": ordinal, "worker": process.own_name(), "lease": LEASE},
                )
        except (SQLAlchemyError, DiscoveryNodeError) as error:
            log.warning("heartbeat of a piece failed; trying again", ordinal=ordinal, error=type(error).__name__)

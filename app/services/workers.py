"""The workers that live. Each says so every few seconds."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, text

ALIVE = 60.0  # seconds after its last word that a worker counts as alive


@dataclass(frozen=True)
class LiveWorker:
    """A worker and when it was heard of."""

    name: str
    hostname: str
    started_at: datetime
    seen_at: datetime


def join(connection: Connection, name: str, hostname: str) -> bool:
    """Writes a worker down; True when it is the first of a system that was down. Of two that come at once, one is."""
    connection.exec_driver_sql("SELECT pg_advisory_xact_lock(hashtextextended('workers', 0))")
    connection.execute(
        text("DELETE FROM workers WHERE seen_at < clock_timestamp() - make_interval(secs => :alive)"), {"alive": ALIVE}
    )
    others: int = connection.execute(
        text("SELECT count(*) FROM workers WHERE name <> :name"), {"name": name}
    ).scalar_one()
    stay(connection, name, hostname)
    return others == 0


def stay(connection: Connection, name: str, hostname: str) -> None:
    """Says that a worker lives."""
    connection.execute(
        text("""
            INSERT INTO workers (name, hostname, started_at, seen_at)
            VALUES (:name, :hostname, clock_timestamp(), clock_timestamp())
            ON CONFLICT (name) DO UPDATE SET seen_at = clock_timestamp()
            """),
        {"name": name, "hostname": hostname},
    )


def leave(connection: Connection, name: str) -> None:
    """Forgets a worker that ends."""
    connection.execute(text("DELETE FROM workers WHERE name = :name"), {"name": name})


def alive(connection: Connection) -> list[LiveWorker]:
    """The workers that were heard of lately."""
    rows = connection.execute(
        text("""
            SELECT name, hostname, started_at, seen_at FROM workers
            WHERE seen_at > clock_timestamp() - make_interval(secs => :alive) ORDER BY started_at
            """),
        {"alive": ALIVE},
    )
    return [LiveWorker(*row) for row in rows]

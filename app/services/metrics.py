"""What the database tells of the node's health: a few statements, cheap enough to be asked every few seconds."""

from dataclasses import dataclass

from sqlalchemy import Connection, text

from app.services import counters, generations, refusals, workers

_PATIENCE = "5s"  # of a single statement


@dataclass(frozen=True)
class Pending:
    """Products that the search index is behind with, and seconds since the oldest of them changed. Those whose text is
    refused do not count, but may be the oldest."""

    products: int
    oldest: float


@dataclass(frozen=True)
class Outcomes:
    """How many of the starts of the last day failed or are held."""

    failed: int
    held: int


@dataclass(frozen=True)
class Readings:
    """The ledger now; ages are seconds. `oldest_queued` is how long the start that waits longest has been due,
    `feed_ages` tells by organization how long ago its feed was last applied (those that left their registry are not
    refreshed, and left out), `beat_age` how long ago a beat last sent what keeps the node going, None when none ever
    did."""

    counters: list[tuple[str, dict[str, str], float]]
    queued: int
    running: int
    oldest_queued: float
    feed_ages: dict[str, float]
    feeds_held: int
    workers: int
    beat_age: float | None


def read(connection: Connection) -> Readings:
    """Everything but what is pending."""
    connection.exec_driver_sql(f"SET LOCAL statement_timeout = '{_PATIENCE}'")
    counted = counters.read(connection)
    opened = connection.execute(_OPEN).one()
    feeds = connection.execute(_FEEDS).all()
    return Readings(
        counters=counted,
        queued=opened.queued,
        running=opened.running,
        oldest_queued=opened.oldest_queued,
        feed_ages={row.urn: row.age for row in feeds if row.age is not None},
        feeds_held=sum(row.held for row in feeds),
        workers=len(workers.alive(connection)),
        beat_age=connection.execute(_BEAT).scalar_one_or_none(),
    )


def pending(connection: Connection) -> Pending:
    """How far the live search index is behind; before there is one, everything is pending. It walks two indexes from
    end to end: a fraction of a second for a hundred thousand products."""
    connection.exec_driver_sql(f"SET LOCAL statement_timeout = '{_PATIENCE}'")
    live = generations.live_generation(connection)
    if live is None:
        return Pending(*connection.execute(_UNINDEXED).one())
    return Pending(*refusals.lag(connection, live))


def outcomes(connection: Connection) -> Outcomes:
    """How the starts of the last day ended that did not end well."""
    return Outcomes(*connection.execute(_OUTCOMES).one())


def has_used_workers(connection: Connection) -> bool:
    """Whether a task was ever sent, as far as the ledger remembers."""
    used: bool = connection.execute(text("SELECT EXISTS (SELECT FROM starts WHERE task IS NOT NULL)")).scalar_one()
    return used


_OPEN = text("""
    SELECT count(*) FILTER (WHERE status = 'queued') AS queued, count(*) FILTER (WHERE status = 'running') AS running,
        CAST(coalesce(extract(epoch FROM clock_timestamp() - min(due_at) FILTER (
            WHERE status = 'queued' AND due_at <= clock_timestamp())), 0) AS float8) AS oldest_queued
    FROM starts WHERE status IN ('queued', 'running')
    """)
_FEEDS = text("""
    SELECT o.urn, CAST(extract(epoch FROM clock_timestamp() - f.merged_at) AS float8) AS age,
        coalesce(f.verdict = 'held', false) AS held
    FROM feeds f JOIN organizations o ON o.id = f.organization_id
    WHERE o.unlisted_since IS NULL
    """)
_BEAT = text("""
    SELECT CAST(extract(epoch FROM clock_timestamp() - taken_at) AS float8) FROM beat_slots WHERE name = 'recover'
    """)
_UNINDEXED = text("""
    SELECT CAST(coalesce(sum(live_products), 0) AS int8),
        CAST(coalesce(extract(epoch FROM clock_timestamp() - min(merged_at)), 0) AS float8)
    FROM feeds WHERE live_products > 0
    """)
_OUTCOMES = text("""
    SELECT count(*) FILTER (WHERE status = 'failed'), count(*) FILTER (WHERE status = 'held') FROM starts
    WHERE created_at > clock_timestamp() - interval '1 day'
    """)

"""Generations that another took the place of: they are dropped when nobody can still be searching them."""

import structlog
from sqlalchemy import text

from app.core.errors import DiscoveryNodeError
from app.db.session import Database
from app.services.generations import Generation, generations, lock_generations

log = structlog.get_logger()

GRACE = 3600
"""Seconds that a retired generation stays for searches with its model."""


def drop_retired(database: Database, *, grace: int = GRACE, dry_run: bool = False) -> int:
    """Drops the generations that were retired longer ago, wherever they are; returns their number. One that cannot be
    reached is left for the next time."""
    if dry_run:
        with database.transaction() as connection:
            return len(connection.execute(_EXPIRED, {"grace": grace}).all())
    with database.transaction() as connection:
        lock_generations(connection)
        expired = connection.execute(_EXPIRED, {"grace": grace}).scalars().all()
        connection.execute(
            text("UPDATE index_generations SET status = 'dropping' WHERE id = ANY(:ids)"), {"ids": expired}
        )
        dropping = [generation for generation in generations(connection) if generation.status == "dropping"]
    return sum(_drop(database, generation) for generation in dropping)


def _drop(database: Database, generation: Generation) -> bool:
    """First what is elsewhere, then what the database has. False when it cannot be reached."""
    try:
        generation.index.discard()
    except DiscoveryNodeError as error:
        log.warning("a retired index cannot be dropped now", generation=generation.id, error=str(error))
        return False
    with database.transaction() as connection:
        lock_generations(connection)
        generation.index.drop(connection)
        connection.execute(text("DELETE FROM index_generations WHERE id = :id"), {"id": generation.id})
    log.info("index generation dropped", generation=generation.id)
    return True


_EXPIRED = text("""
    SELECT id FROM index_generations WHERE status = 'dropping'
        OR (status = 'retired' AND retired_at <= clock_timestamp() - make_interval(secs => :grace))
    """)

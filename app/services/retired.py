"""Generations that another took the place of: they are dropped when nobody can still be searching them."""

import structlog
from sqlalchemy import text

from app.core.errors import DiscoveryNodeError
from app.db.session import Database
from app.services import dropped, generation_lock
from app.services.generations import Generation, generations

log = structlog.get_logger()

GRACE = 3600
"""Seconds that a retired generation stays for searches with its model."""


def drop_retired(database: Database, *, grace: int = GRACE, dry_run: bool = False) -> int:
    """Drops the generations that were retired longer ago, wherever they are; returns their number. One that cannot be
    reached, or that somebody looks at for long, is left for the next time."""
    with database.transaction() as connection:
        found = connection.execute(_EXPIRED, {"grace": grace}).all()
    if dry_run or not found:
        return len(found)
    with database.transaction() as connection:
        if not generation_lock.try_to_take(connection):
            log.info("retired indexes stay for now: the indexes are being worked on")
            return 0
        expired = connection.execute(_EXPIRED, {"grace": grace}).scalars().all()
        connection.execute(
            text("UPDATE index_generations SET status = 'dropping' WHERE id = ANY(:ids)"), {"ids": expired}
        )
        dropping = [generation for generation in generations(connection) if generation.status == "dropping"]
    return sum(_drop(database, generation) for generation in dropping)


def _drop(database: Database, generation: Generation) -> bool:
    """First what is elsewhere, then what the database has. False when that cannot be done now."""
    try:
        generation.index.discard()
    except DiscoveryNodeError as error:
        log.warning("a retired index cannot be dropped now", generation=generation.id, error=str(error))
        return False
    with database.transaction() as connection:
        if not generation_lock.try_to_take(connection):
            log.info("a retired index stays for now: the indexes are being worked on", generation=generation.id)
            return False
        generation.index.drop(connection)
        dropped.note(connection, generation.id)
    log.info("index generation dropped", generation=generation.id)
    return True


_EXPIRED = text("""
    SELECT id FROM index_generations WHERE status = 'dropping'
        OR (status = 'retired' AND retired_at <= clock_timestamp() - make_interval(secs => :grace))
    """)

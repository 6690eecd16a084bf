"""The database as commands use it."""

from collections.abc import Iterator
from contextlib import contextmanager

import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from app.cli.output import console, one_line
from app.core.config import Settings, get_settings
from app.core.errors import DiscoveryNodeError
from app.core.logging import configure_logging
from app.db import embedded, schema
from app.db.session import LiveDatabase, connect, connect_to_read

log = structlog.get_logger()


class DatabaseFailedError(DiscoveryNodeError):
    """The database answered with an error that is none of the command's."""


def settings() -> Settings:
    """The settings; logs are written as they say from here on."""
    found = get_settings()
    configure_logging(found.log_level, form=found.log_format)
    return found


def opened(settings: Settings) -> LiveDatabase:
    """The database at the revision this version needs; the embedded one is brought there."""
    database = connect(settings)
    with database_errors():
        schema.prepare(database, upgrade_it=settings.database_url is None)
    return database


def keep_database_up(settings: Settings) -> None:
    """Starts the embedded PostgreSQL again if it died."""
    if settings.database_url is None and not embedded.is_running(settings.data_dir):
        log.warning("child.died", child="postgres", back_in_seconds=0)
        embedded.start(settings.data_dir)
        log.info("child.started", child="postgres")


@contextmanager
def reading(settings: Settings) -> Iterator[Connection]:
    """A transaction to read in."""
    database = opened(settings)
    with database_errors(), database.transaction() as connection:
        yield connection


@contextmanager
def searching(settings: Settings) -> Iterator[Connection]:
    """Like `reading`, of the replica where there is one."""
    if settings.database_read_url is None:
        with reading(settings) as connection:
            yield connection
    else:
        with database_errors(), connect_to_read(settings).transaction() as connection:
            yield connection


@contextmanager
def database_errors() -> Iterator[None]:
    """What the database says against it, in a line."""
    try:
        yield
    except SQLAlchemyError as error:
        said = one_line(str(getattr(error, "orig", None) or error))
        raise DatabaseFailedError(f"The database failed: {said}", remedy="See `discovery-node doctor`.") from error


def upgrade() -> None:
    """Brings the schema to the newest revision."""
    found = settings()
    database = connect(found)
    with database_errors():
        schema.upgrade(database)
    console().print(f"The database is at revision {schema.REVISION}.")

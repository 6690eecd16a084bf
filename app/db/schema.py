"""The schema's version: what the database has, what the code wants, and how to get there. Alembic, slow to load, is
imported only to migrate."""

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, inspect, text

from app.core.errors import DiscoveryNodeError
from app.db.session import Database

if TYPE_CHECKING:
    from alembic.config import Config

REVISION = "0002"  # the revision this code needs: the newest of `migrations/versions`
_LOCK = 0x636D70  # one migration at a time, whoever starts it


class SchemaOutdatedError(DiscoveryNodeError):
    """The database was made by another version of the code."""


def current(connection: Connection) -> str | None:
    """The revision the database is at; None before the first migration."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
    return revision


def upgrade(database: Database, revision: str = "head") -> None:
    """Brings the database to `revision`, in one transaction."""
    from alembic import command

    with database.transaction() as connection:
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
        command.upgrade(_config(connection), revision)


def downgrade(database: Database, revision: str) -> None:
    """Takes the database back to `revision` (`base`: to nothing), in one transaction."""
    from alembic import command

    with database.transaction() as connection:
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
        command.downgrade(_config(connection), revision)


def prepare(database: Database, *, upgrade_it: bool) -> None:
    """Makes sure that the database is at the revision this code needs: by bringing it there when that is nobody else's
    business, else by raising `SchemaOutdatedError`."""
    with database.transaction() as connection:
        found = current(connection)
    if found == REVISION:
        return
    if upgrade_it:
        upgrade(database)
    else:
        raise SchemaOutdatedError(
            f"The database is at revision {found or 'none'}, this version needs {REVISION}",
            remedy="Run `discovery-node db upgrade`.",
        )


def _config(connection: Connection | None = None) -> "Config":
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    return config

"""The schema's version: what the database has, what the code wants, and how to get there."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from app.core.errors import DiscoveryNodeError
from app.db.session import Database

_LOCK = 0x636D70  # one migration at a time, whoever starts it


class SchemaOutdatedError(DiscoveryNodeError):
    """The database was made by another version of the code."""


def current(connection: Connection) -> str | None:
    """The revision the database is at; None before the first migration."""
    return MigrationContext.configure(connection).get_current_revision()


def wanted() -> str:
    """The revision this code needs."""
    head = ScriptDirectory.from_config(_config()).get_current_head()
    assert head is not None  # noqa: S101 - the package holds its migrations
    return head


def upgrade(database: Database, revision: str = "head") -> None:
    """Brings the database to `revision`, in one transaction."""
    with database.transaction() as connection:
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
        command.upgrade(_config(connection), revision)


def downgrade(database: Database, revision: str) -> None:
    """Takes the database back to `revision` (`base`: to nothing), in one transaction."""
    with database.transaction() as connection:
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
        command.downgrade(_config(connection), revision)


def prepare(database: Database, *, upgrade_it: bool) -> None:
    """Makes sure that the database is at the revision this code needs: by bringing it there when that is nobody else's
    business, else by raising `SchemaOutdatedError`."""
    with database.transaction() as connection:
        found = current(connection)
    if found == wanted():
        return
    if upgrade_it:
        upgrade(database)
    else:
        raise SchemaOutdatedError(
            f"The database is at revision {found or 'none'}, this version needs {wanted()}",
            remedy="Run `discovery-node db upgrade`.",
        )


def _config(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    return config

"""The schema's version: what the database has, what the code wants, and how to get there. Alembic, slow to load, is
imported only to migrate."""

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, inspect, text

from app.core.errors import DiscoveryNodeError
from app.db.session import Database

if TYPE_CHECKING:
    from alembic.config import Config

REVISION = "0013"  # the revision this code needs: the newest of `migrations/versions`
_LOCK = 0x636D70  # one migration at a time, whoever starts it
_WORKS_SINCE = "works with the code since revision "


class SchemaOutdatedError(DiscoveryNodeError):
    """The database was made by an older version of the code."""


class SchemaAheadError(DiscoveryNodeError):
    """The database was made by a newer version of the code, and this one cannot go on with it."""


def current(connection: Connection) -> str | None:
    """The revision the database is at; None before the first migration."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
    return revision


def supported(connection: Connection) -> str | None:
    """The oldest revision whose code goes on with the database, as the migration to its own says with `WORKS_SINCE`.
    The database keeps it as a comment, for code that does not know that migration."""
    said: str | None = connection.execute(
        text("SELECT obj_description(to_regclass('alembic_version'), 'pg_class')")
    ).scalar_one()
    return said.removeprefix(_WORKS_SINCE) if said and said.startswith(_WORKS_SINCE) else None


def upgrade(database: Database, revision: str = "head") -> None:
    """Brings the database to `revision`, in one transaction. Raises `SchemaAheadError`."""
    from alembic import command

    with database.transaction() as connection:
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
        found = current(connection)
        if found is not None and found > REVISION:
            raise _ahead(found)
        command.upgrade(_config(connection), revision)
        _note_supported(connection)


def downgrade(database: Database, revision: str) -> None:
    """Takes the database back to `revision` (`base`: to nothing), in one transaction."""
    from alembic import command

    with database.transaction() as connection:
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
        command.downgrade(_config(connection), revision)
        _note_supported(connection)


def prepare(database: Database, *, upgrade_it: bool) -> None:
    """Makes sure that this code can work with the database: it is at the revision the code needs, or at a newer one
    that takes nothing from the code, as during a rolling upgrade. An older one is brought there when that is nobody
    else's business; else raises `SchemaOutdatedError`, and `SchemaAheadError` for one that is too new."""
    with database.transaction() as connection:
        found = current(connection)
        oldest = supported(connection) if found is not None and found > REVISION else None
    if found == REVISION or (oldest is not None and oldest <= REVISION):
        return
    if found is not None and found > REVISION:
        raise _ahead(found)
    if upgrade_it:
        upgrade(database)
    else:
        raise SchemaOutdatedError(
            f"The database is at revision {found or 'none'}, this version needs {REVISION}",
            remedy="Run `discovery-node db upgrade`.",
        )


def _ahead(found: str) -> SchemaAheadError:
    return SchemaAheadError(
        f"The database is at revision {found}, which a newer version made; this one needs {REVISION}",
        remedy="Install the newer version here too.",
    )


def _note_supported(connection: Connection) -> None:
    """Writes down what `supported` tells."""
    from alembic.script import ScriptDirectory

    found = current(connection)
    if found is None:
        connection.exec_driver_sql("COMMENT ON TABLE alembic_version IS NULL")
        return
    migration = ScriptDirectory.from_config(_config()).get_revision(found).module
    oldest = getattr(migration, "WORKS_SINCE", found)
    connection.exec_driver_sql(f"COMMENT ON TABLE alembic_version IS '{_WORKS_SINCE}{oldest}'")


def _config(connection: Connection | None = None) -> "Config":
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    return config

"""The migrations lead to the models, and back."""

from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect

from app.core.config import Settings
from app.db import schema
from app.db.models import Base
from app.db.schema import SchemaAheadError, SchemaOutdatedError
from app.db.session import LiveDatabase
from tests.support.feeds import FeedFolder, product
from tests.support.nodes import Node


def test_migrations_make_what_the_models_say(database: LiveDatabase) -> None:
    with database.transaction() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


def test_downgrade_removes_everything_and_upgrade_restores_it(database: LiveDatabase) -> None:
    schema.downgrade(database, "base")
    with database.transaction() as connection:
        assert inspect(connection).get_table_names() == ["alembic_version"]
        assert "staging" not in inspect(connection).get_schema_names()
    schema.upgrade(database)
    with database.transaction() as connection:
        assert set(Base.metadata.tables) <= set(inspect(connection).get_table_names())


def test_an_outdated_database_is_refused_unless_it_is_ours_to_upgrade(database: LiveDatabase) -> None:
    schema.downgrade(database, "base")
    with pytest.raises(SchemaOutdatedError, match=f"needs {schema.REVISION}"):
        schema.prepare(database, upgrade_it=False)
    schema.prepare(database, upgrade_it=True)
    schema.prepare(database, upgrade_it=False)


def test_the_revision_the_code_needs_is_the_newest_migration() -> None:
    scripts = ScriptDirectory(Path(schema.__file__).parent / "migrations")
    assert scripts.get_current_head() == schema.REVISION


def _next_version(connection: Connection, works_since: str | None) -> None:
    """What `db upgrade` of a version to come does to the database."""
    connection.exec_driver_sql("ALTER TABLE starts ADD something_new int NOT NULL DEFAULT 0")
    connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    told = f"'works with the code since revision {works_since}'" if works_since else "NULL"
    connection.exec_driver_sql(f"COMMENT ON TABLE alembic_version IS {told}")


@pytest.mark.parametrize("is_embedded", [True, False])
def test_a_newer_database_that_takes_nothing_away_is_worked_with(
    settings: Settings, database: LiveDatabase, folder: FeedFolder, tmp_path: Path, *, is_embedded: bool
) -> None:
    with database.transaction() as connection:
        assert schema.supported(connection) == "0002"
        _next_version(connection, schema.REVISION)
    schema.prepare(database, upgrade_it=is_embedded)
    folder.publish([product(1)])
    acme = {"name": "acme", "registry": "publisher/registry.json"}
    assert Node(database, settings, tmp_path, [acme]).run()["status"] == "success"


@pytest.mark.parametrize("works_since", ["9999", None])
@pytest.mark.parametrize("is_embedded", [True, False])
def test_a_newer_database_of_which_that_is_not_known_is_refused(
    database: LiveDatabase, works_since: str | None, *, is_embedded: bool
) -> None:
    with database.transaction() as connection:
        _next_version(connection, works_since)
    with pytest.raises(SchemaAheadError, match="revision 9999, which a newer version made"):
        schema.prepare(database, upgrade_it=is_embedded)
    with pytest.raises(SchemaAheadError):
        schema.upgrade(database)


def test_every_later_migration_says_since_when_it_works() -> None:
    scripts = ScriptDirectory(Path(schema.__file__).parent / "migrations")
    later = [script for script in scripts.walk_revisions() if script.revision > "0001"]
    assert later
    assert all(script.revision >= script.module.WORKS_SINCE for script in later)

"""The migrations lead to the models, and back."""

from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect

from app.db import schema
from app.db.models import Base
from app.db.schema import SchemaOutdatedError
from app.db.session import LiveDatabase


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
    with pytest.raises(SchemaOutdatedError, match="needs 0002"):
        schema.prepare(database, upgrade_it=False)
    schema.prepare(database, upgrade_it=True)
    schema.prepare(database, upgrade_it=False)


def test_the_revision_the_code_needs_is_the_newest_migration() -> None:
    scripts = ScriptDirectory(Path(schema.__file__).parent / "migrations")
    assert scripts.get_current_head() == schema.REVISION

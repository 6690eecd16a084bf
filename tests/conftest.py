"""What tests share: one embedded PostgreSQL for the session, a database of its own for each test that asks."""

import atexit
import itertools
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import hypothesis
import pytest
from sqlalchemy import create_engine, make_url

from app.core.config import Settings
from app.db import embedded, schema
from app.db.session import LiveDatabase
from tests.support.feeds import FeedFolder
from tests.support.nodes import Node

_TEMPLATE = "node_template"
_numbers = itertools.count()

# How long an example takes depends on what else the machine does.
hypothesis.settings.register_profile("node", deadline=None)
hypothesis.settings.load_profile("node")


@pytest.fixture(scope="session")
def server_url() -> str:
    """An embedded server of this test process, with a migrated database to copy. Its folder is not pytest's, which
    another session closes to the user that PostgreSQL runs as when tests run as root."""
    folder = Path(tempfile.mkdtemp(prefix="node-tests-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)  # after the server, which stops at exit, has stopped
    url = embedded.start(folder)
    _administrate(url, f"CREATE DATABASE {_TEMPLATE}")
    template = LiveDatabase(_named(url, _TEMPLATE))
    schema.upgrade(template)
    template.engine.dispose()
    return url


@pytest.fixture
def database_url(server_url: str) -> Iterator[str]:
    """The URL of an empty, migrated database."""
    with copied(server_url) as url:
        yield url


@pytest.fixture(scope="module")
def module_url(server_url: str) -> Iterator[str]:
    """The URL of a database that the tests of a module share and leave as it is."""
    with copied(server_url) as url:
        yield url


@contextmanager
def copied(server_url: str) -> Iterator[str]:
    """The URL of an empty, migrated database, for as long as it is entered."""
    name = f"test_{next(_numbers)}"
    _administrate(server_url, f"CREATE DATABASE {name} TEMPLATE {_TEMPLATE}")
    yield _named(server_url, name)
    _administrate(server_url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def database(database_url: str) -> Iterator[LiveDatabase]:
    """An empty, migrated database."""
    database = LiveDatabase(database_url)
    yield database
    database.engine.dispose()


@pytest.fixture
def settings(tmp_path: Path, database_url: str) -> Settings:
    """Settings for `database_url`, with nothing taken from the machine's environment but the model."""
    return Settings(
        _env_file=None,
        database_url=database_url,
        data_dir=tmp_path / "data",
        ingestion_config_path=tmp_path / "ingestion.yaml",
        log_level="warning",
    )


def _administrate(url: str, statement: str) -> None:
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(statement)
    engine.dispose()


def _named(url: str, name: str) -> str:
    return make_url(url).set(database=name).render_as_string(hide_password=False)


@pytest.fixture(scope="session")
def shared_url(server_url: str) -> str:
    """A database that tests share, each of which empties it first: ten times as fast as one for each."""
    _administrate(server_url, f"CREATE DATABASE shared TEMPLATE {_TEMPLATE}")
    _administrate(server_url, "ALTER SYSTEM SET fsync = off")
    _administrate(server_url, "SELECT pg_reload_conf()")
    return _named(server_url, "shared")


@pytest.fixture(scope="session")
def shared_database(shared_url: str) -> Iterator[LiveDatabase]:
    database = LiveDatabase(shared_url)
    yield database
    database.engine.dispose()


@pytest.fixture
def folder(tmp_path: Path) -> FeedFolder:
    """An empty publisher's folder."""
    return FeedFolder(tmp_path / "publisher")


@pytest.fixture
def node(shared_database: LiveDatabase, shared_url: str, tmp_path: Path, folder: FeedFolder) -> Node:
    """A node with an ingestor `acme`, of the registry in `folder`; more are added with `Node.configure`."""
    settings = Settings(_env_file=None, database_url=shared_url, data_dir=tmp_path / "data", log_level="error")
    node = Node(shared_database, settings, tmp_path, [{"name": "acme", "registry": "publisher/registry.json"}])
    node.empty()
    return node

"""A publisher's folder, and a node that ingests it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings

from app.core.config import Settings
from app.db.session import LiveDatabase
from tests.conftest import _TEMPLATE, _administrate, _named
from tests.support.feeds import FeedFolder
from tests.support.nodes import Node

# Property tests against the database: the same few examples each time, and with --hypothesis-profile=thorough many that
# differ, without the hours of making a failing one smaller.
_PATIENT = settings(deadline=None, database=None, suppress_health_check=list(HealthCheck))
settings.register_profile("quick", parent=_PATIENT, max_examples=40, derandomize=True)
settings.register_profile("thorough", parent=_PATIENT, max_examples=1000, phases=[Phase.explicit, Phase.generate])


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

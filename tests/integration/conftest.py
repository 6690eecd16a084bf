"""A publisher's folder, and a node that ingests it."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings

from app.core.config import Settings
from app.db.session import LiveDatabase
from tests.support.feeds import FeedFolder
from tests.support.nodes import Node

# Property tests against the database: the same few examples each time, and with --hypothesis-profile=thorough many that
# differ, without the hours of making a failing one smaller.
_PATIENT = settings(deadline=None, database=None, suppress_health_check=list(HealthCheck))
settings.register_profile("quick", parent=_PATIENT, max_examples=25, derandomize=True)
settings.register_profile("thorough", parent=_PATIENT, max_examples=1000, phases=[Phase.explicit, Phase.generate])


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

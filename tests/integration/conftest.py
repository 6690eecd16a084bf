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
settings.register_profile("quick", parent=_PATIENT, max_examples=40, derandomize=True)
settings.register_profile("thorough", parent=_PATIENT, max_examples=1000, phases=[Phase.explicit, Phase.generate])


@pytest.fixture
def folder(tmp_path: Path) -> FeedFolder:
    """An empty publisher's folder."""
    return FeedFolder(tmp_path / "publisher")


@pytest.fixture
def node(database: LiveDatabase, settings: Settings, folder: FeedFolder) -> Node:
    """A node with one ingestor, `acme`, of the registry in `folder`."""
    return Node(database, settings, [{"name": "acme", "registry": "registry.json"}], folder.path)

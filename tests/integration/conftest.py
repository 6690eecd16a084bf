"""A publisher's folder, and a node that ingests it."""

from pathlib import Path

import pytest

from app.core.config import Settings
from app.db.session import LiveDatabase
from tests.support.feeds import FeedFolder
from tests.support.nodes import Node


@pytest.fixture
def folder(tmp_path: Path) -> FeedFolder:
    """An empty publisher's folder."""
    return FeedFolder(tmp_path / "publisher")


@pytest.fixture
def node(database: LiveDatabase, settings: Settings, folder: FeedFolder) -> Node:
    """A node with one ingestor, `acme`, of the registry in `folder`."""
    return Node(database, settings, [{"name": "acme", "registry": "registry.json"}], folder.path)

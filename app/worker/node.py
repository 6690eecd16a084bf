"""What the tasks of one process share."""

from dataclasses import dataclass
from functools import cache

from app.core.config import Settings, get_settings
from app.db import schema
from app.db.session import LiveDatabase, connect
from app.ingestors.helpers import Helpers
from app.ingestors.manager import IngestorManager
from app.services import generations
from app.services.generations import Recipe


@dataclass(frozen=True)
class Node:
    """Settings, database, and the embedding model, which is loaded by the first text that needs it."""

    settings: Settings
    database: LiveDatabase
    embedders: Recipe

    def manager(self, helpers: Helpers | None = None) -> IngestorManager:
        """A manager that reads `ingestion.yaml` as it is now."""
        return IngestorManager(self.settings, database=self.database, helpers=helpers, embedders=self.embedders)


@cache
def node() -> Node:
    """This process's node. A process that was forked has its parent's, and must dispose of the connections. Raises
    `DiscoveryNodeError` when the database cannot be used."""
    settings = get_settings()
    database = connect(settings)
    schema.prepare(database, upgrade_it=settings.database_url is None)
    return Node(settings, database, generations.configured(settings))


def close() -> None:
    """Ends the connections of this process's node, if it has one; whoever asks for it then gets another."""
    if node.cache_info().currsize:
        node().database.engine.dispose()
        node.cache_clear()

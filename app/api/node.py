"""What the requests of one process share."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property

import structlog
from fastapi import Request
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from app.api.negotiation import Page
from app.api.rates import KnownKeys, RateLimiter
from app.core.config import Settings
from app.core.errors import DiscoveryNodeError
from app.db.session import LiveDatabase
from app.services import generations, secrets, traffic
from app.vectors.embedders import Embedder

log = structlog.get_logger()

_PATIENCE = 10  # seconds, of a single statement
_MODEL_KNOWN_FOR = 2.0  # seconds


@dataclass
class ApiNode:
    """Settings, database and what is read of it by whoever searches, rate limits, and the console's pages."""

    settings: Settings
    database: LiveDatabase
    replica: LiveDatabase
    limiter: RateLimiter
    pages: Mapping[str, Page] = field(default_factory=dict)
    known_keys: KnownKeys = field(default_factory=KnownKeys)
    _embedder: tuple[float, Embedder | None] = (0.0, None)

    @property
    def has_replica(self) -> bool:
        """Whether searches are answered by another server than the database."""
        return self.replica is not self.database

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction to read in; none of its statements may take long."""
        with self.database.reading(_PATIENCE) as connection:
            yield connection

    @contextmanager
    def searching(self) -> Iterator[Connection]:
        """Like `reading`, of the replica where there is one: for products, which may be some moments old."""
        with self.replica.reading(_PATIENCE) as connection:
            yield connection

    def embedder(self, connection: Connection) -> Embedder:
        """The model of the live index, which is looked up again after some seconds."""
        known_since, embedder = self._embedder
        if embedder is None or known_since + _MODEL_KNOWN_FOR < time.monotonic():
            embedder = generations.query_embedder(connection, self.settings)
            self._embedder = time.monotonic(), embedder
        return embedder

    def count_traffic(self) -> None:
        """Writes down what this process sent to an index that is elsewhere; what cannot be written now is kept."""
        if not traffic.is_counted():
            return
        try:
            with traffic.counting(self.database):
                pass
        except (DiscoveryNodeError, SQLAlchemyError) as error:
            log.warning("traffic was not counted yet", error=str(error).partition("\n")[0])

    @cached_property
    def signing_key(self) -> bytes:
        """What page tokens are signed with, in every process of the node."""
        if self.settings.api_signing_key is not None:
            return self.settings.api_signing_key.get_secret_value().encode()
        with self.database.transaction() as connection:
            return secrets.shared(connection, "page tokens")


def node_of(request: Request) -> ApiNode:
    """The node that a request is for."""
    node: ApiNode = request.app.state.node
    return node

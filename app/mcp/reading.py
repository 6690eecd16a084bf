"""Where answers come from, and what an agent is told when they cannot be had."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import structlog
from mcp.server.mcpserver.exceptions import ResourceError
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from app.core.errors import DiscoveryNodeError
from app.db.session import is_away, is_foreseen, is_too_slow
from app.vectors.embedders import Embedder
from app.vectors.indexes.base import IndexUnavailableError

log = structlog.get_logger()

_AWAY = "The catalogue is away for the moment. Try the same again in a few seconds."
_TOO_SLOW = "The answer would have taken too long. Ask for less: a more precise query, or narrower filters."
_BROKEN = (
    "The node cannot answer this now, and asking again will not help until whoever runs it has looked at its log. "
    "Tell the user so."
)


@dataclass(frozen=True)
class Catalogue:
    """The catalogue: a transaction to read in, and the model that queries are read with."""

    reading: Callable[[], AbstractContextManager[Connection]]
    embedder: Callable[[Connection], Embedder]

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction to read in. What fails there and is foreseen is a `ResourceError`, which the SDK passes on from
        tools and resources alike; it tells what to do, and nothing of the node: the log has that."""
        try:
            with self.reading() as connection:
                yield connection
        except (DiscoveryNodeError, SQLAlchemyError) as error:
            if not is_foreseen(error):
                raise
            log.warning("agent.failed", error=str(error).partition("\n")[0])
            raise ResourceError(_told(error)) from error


def _told(error: DiscoveryNodeError | SQLAlchemyError) -> str:
    if is_too_slow(error):
        return _TOO_SLOW
    if is_away(error) or isinstance(error, SQLAlchemyError | IndexUnavailableError):
        return _AWAY
    return _BROKEN

"""`mcp`: the catalogue for a desktop assistant that starts this command."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial

from sqlalchemy import Connection

from app.cli.database import keep_database_up, opened, settings
from app.core.config import Settings
from app.db.session import LiveDatabase, connect_to_read
from app.mcp.reading import Catalogue
from app.mcp.server import create_server
from app.services import generations

_PATIENCE = 10  # seconds, of a single statement


def serve() -> None:
    """Answers over standard input and output, until the assistant closes them. Logs go to stderr."""
    found = settings()
    database = cache(
        partial(_database, found)
    )  # opened by the first question: an assistant starts this before all else

    @contextmanager
    def reading() -> Iterator[Connection]:
        keep_database_up(found)
        with database().reading(_PATIENCE) as connection:
            yield connection

    catalogue = Catalogue(reading, lambda connection: generations.query_embedder(connection, found))
    create_server(catalogue).run("stdio")


def _database(settings: Settings) -> LiveDatabase:
    return opened(settings) if settings.database_read_url is None else connect_to_read(settings)

"""`mcp`: the catalogue for a desktop assistant that starts this command."""

from app.cli.database import searching, settings
from app.mcp.server import Catalogue, create_server
from app.services import generations


def serve() -> None:
    """Answers over standard input and output, until the assistant closes them. Logs go to stderr."""
    found = settings()
    catalogue = Catalogue(
        lambda: searching(found), lambda connection: generations.query_embedder(connection, found)
    )  # fmt: skip
    create_server(catalogue).run("stdio")

"""`search` and `product`."""

from rich.highlighter import JSONHighlighter
from sqlalchemy import Connection

from app.cli.database import searching, settings
from app.cli.hits import filters_document, hit_document, print_explanations, print_hits
from app.cli.output import console, print_json, to_json
from app.cmp.text import clean
from app.core.config import Settings
from app.core.errors import DiscoveryNodeError
from app.services import generations, organizations, products
from app.services.search import SearchFilters
from app.services.search import search as find


class UnknownProductError(DiscoveryNodeError):
    """No publisher ever sold a product of that URN."""


def search(query: str, filters: SearchFilters, limit: int, *, explain: bool, as_json: bool) -> None:
    """Prints the best hits, and why they are."""
    found = settings()
    with searching(found) as connection:
        hits = find(connection, generations.query_embedder(connection, found), query, filters, limit)
        names = organizations.names(connection, {hit.organization for hit in hits})
        why = "" if hits or as_json else _why_nothing(connection, found, filters)
    if as_json:
        told = {"filters": filters_document(filters)} if explain else {}
        print_json({"query": query, **told, "results": [hit_document(hit, explained=explain) for hit in hits]})
    elif hits:
        print_hits(console(), hits, names)
        if explain:
            print_explanations(console(), hits, filters)
        console().print(f"In full: discovery-node product {hits[0].urn}", soft_wrap=True)
    else:
        console().print(why)


def product(urn: str, *, as_json: bool) -> None:
    """Prints a product as JSON-LD. Raises `UnknownProductError`, or `ProductDeletedError`."""
    with searching(settings()) as connection:
        found = products.get(connection, urn)
    if found is None:
        raise UnknownProductError(
            f"There is no product {urn}", remedy="`discovery-node search … --json` names the URNs of what is found."
        )
    if as_json:
        print_json(found.document)
    else:
        shown = JSONHighlighter()(clean(to_json(found.document)))
        console().print(shown, soft_wrap=True)


def _why_nothing(connection: Connection, settings: Settings, filters: SearchFilters) -> str:
    """What to do when nothing is found. The empty query finds whatever there is."""
    if not find(connection, generations.query_embedder(connection, settings), "", limit=1):
        return "Nothing is in the catalogue yet. Run `discovery-node ingest`."
    if generations.live_generation(connection) is None:
        return "No product is indexed yet. Run `discovery-node ingest --only vector`."
    if filters != SearchFilters():
        return "Nothing passes these filters. Try fewer of them."
    return "Nothing was found. Products may still have to be indexed: `discovery-node doctor` tells."

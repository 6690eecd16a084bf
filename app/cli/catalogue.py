"""`search` and `product`."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.highlighter import JSONHighlighter
from rich.text import Text
from sqlalchemy import Connection

from app.cli.database import searching, settings
from app.cli.output import console, money, print_json, table, to_json
from app.cmp.text import clean
from app.core.config import Settings
from app.core.errors import DiscoveryNodeError
from app.services import generations, organizations, products
from app.services.search import SearchFilters, SearchHit
from app.services.search import search as find

_KEYS = ("urn", "name", "brand", "category", "price", "currency", "availability", "url", "score", "organization")


class UnknownProductError(DiscoveryNodeError):
    """No publisher ever sold a product of that URN."""


def search(query: str, filters: SearchFilters, limit: int, *, as_json: bool) -> None:
    """Prints the best hits."""
    found = settings()
    with searching(found) as connection:
        hits = find(connection, generations.query_embedder(connection, found), query, filters, limit)
        names = organizations.names(connection, {hit.organization for hit in hits})
        why = "" if hits or as_json else _why_nothing(connection, found, filters)
    if as_json:
        print_json({"query": query, "results": [_document(hit) for hit in hits]})
    elif hits:
        _print_hits(console(), hits, names)
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


def _document(hit: SearchHit) -> dict[str, Any]:
    values = asdict(hit)
    return {key: values[key] for key in _KEYS}


def _why_nothing(connection: Connection, settings: Settings, filters: SearchFilters) -> str:
    """What to do when nothing is found. The empty query finds whatever there is."""
    if not find(connection, generations.query_embedder(connection, settings), "", limit=1):
        return "Nothing is in the catalogue yet. Run `discovery-node ingest`."
    if generations.live_generation(connection) is None:
        return "No product is indexed yet. Run `discovery-node ingest --only vector`."
    if filters != SearchFilters():
        return "Nothing passes these filters. Try fewer of them."
    return "Nothing was found. Products may still have to be indexed: `discovery-node doctor` tells."


def _print_hits(out: Console, hits: Sequence[SearchHit], names: Mapping[str, str]) -> None:
    listed = table("#", "name", "brand", "price", "availability", "organization", "score", numbers=["#", "price"])
    for rank, hit in enumerate(hits, 1):
        listed.add_row(
            str(rank),
            Text(hit.name, "bold"),
            hit.brand or "-",
            money(hit.price, hit.currency),
            _availability(hit.availability),
            names.get(hit.organization, hit.organization),
            f"{hit.score:.3f}",
        )
    out.print(listed)
    out.print(f"In full: discovery-node product {hits[0].urn}", soft_wrap=True)


def _availability(name: str | None) -> Text:
    """`InStock` in words."""
    words = "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in name or "-").strip()
    return Text(words, "green" if name == "InStock" else "")

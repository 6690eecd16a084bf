"""Hits of a search, as they are printed."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

from rich.console import Console
from rich.text import Text

from app.cli.output import money, table
from app.services.search import Explanation, Place, SearchFilters, SearchHit

_KEYS = (
    "urn", "name", "brand", "category", "price", "currency", "availability", "url", "score", "organization", "variants",
)  # fmt: skip


def hit_document(hit: SearchHit, *, explained: bool) -> dict[str, Any]:
    values = asdict(hit)
    keys = (*_KEYS, "explanation") if explained else _KEYS
    return {key: values[key] for key in keys}


def filters_document(filters: SearchFilters) -> dict[str, Any]:
    """Those that are set."""
    return {name: value for name, value in asdict(filters).items() if value not in (None, False)}


def print_hits(out: Console, hits: Sequence[SearchHit], names: Mapping[str, str]) -> None:
    listed = table("#", "name", "brand", "price", "availability", "organization", "score", numbers=["#", "price"])
    for rank, hit in enumerate(hits, 1):
        more = f" and {len(hit.variants)} more" if hit.variants else ""
        listed.add_row(
            str(rank),
            Text.assemble((hit.name, "bold"), more),
            hit.brand or "-",
            money(hit.price, hit.currency),
            _availability(hit.availability),
            names.get(hit.organization, hit.organization),
            f"{hit.score:.3f}",
        )
    out.print(listed)


def print_explanations(out: Console, hits: Sequence[SearchHit], filters: SearchFilters) -> None:
    """Where each hit stands in each ranking, and what was filtered by."""
    respelled = next((hit.explanation.respelled for hit in hits if hit.explanation and hit.explanation.respelled), None)
    if respelled:
        out.print(f"Read as: {respelled}", markup=False)
    listed = table("#", "by vector", "by words", "by part of them", "identifier or brand", numbers=["#"])
    for rank, hit in enumerate(hits, 1):
        why = hit.explanation or Explanation()
        named = why.identifier or (hit.brand if why.is_brand else None)
        listed.add_row(str(rank), _place(why.dense), _place(why.text), _place(why.partial), Text(named or "-"))
    out.print(listed)
    told = ", ".join(_told(filters_document(filters)))
    out.print(f"Filters: {told or 'none'}", markup=False)


def _place(place: Place | None) -> str:
    return f"{place.rank}. ({place.score:.3f})" if place else "-"


def _told(filters: Mapping[str, Any]) -> Iterator[str]:
    for field in fields(SearchFilters):
        if field.name in filters:
            value = filters[field.name]
            words = field.name.replace("_", " ")
            yield words if value is True else f"{words} {value}"


def _availability(name: str | None) -> Text:
    """`InStock` in words."""
    words = "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in name or "-").strip()
    return Text(words, "green" if name == "InStock" else "")

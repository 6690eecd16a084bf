"""Throughput and latency at growing sizes, drawn for `docs/vectors.md`."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from app.services.search import SearchFilters
from app.vectors.embedders.local import available_cores
from bench.catalogues import Catalogue, catalogue
from bench.place import Bench
from bench.plot import Line, Panel, draw, write
from bench.search import QUERIES, TEXTS, searching
from bench.table import REPEATS, Answers, Row, console, load, median

PLOT = Path(__file__).parents[1] / "docs" / "images" / "scale.svg"


def measure_scale(bench: Bench, sizes: Sequence[int]) -> Iterator[Row]:
    """First loads of the index, and searches by one client without a filter; writes the plot."""
    made = [catalogue(bench, products) for products in sizes]
    found = [_searched(each) for each in made]
    for each, latency in zip(made, found, strict=True):
        throughput = (
            "" if each.throughput is None else f"first load {each.throughput:,.0f}/s at a load of {each.load:.1f}; "
        )
        yield Row(f"{each.products:,} products", f"{throughput}search {latency}")
    throughputs = {each.products: each.throughput for each in made if each.throughput is not None}
    panels = [
        Panel("First load of the index, products/s", [Line("embedded, graph included", throughputs)]),
        Panel(
            "Search, one client, ms",
            [
                Line("p50", {size: each.p50 for size, each in zip(sizes, found, strict=True)}),
                Line("p95", {size: each.p95 for size, each in zip(sizes, found, strict=True)}),
            ],
        ),
    ]
    write(
        PLOT,
        draw(
            sizes, panels, f"Products in the catalogue. Local embedder, embedded PostgreSQL, {available_cores()} cores."
        ),
    )
    console.print(f"bench: wrote {PLOT}")


def _searched(made: Catalogue) -> Answers:
    with searching(made.url, made.texts(TEXTS)) as searcher:
        rounds = []
        for _ in range(REPEATS):
            console.print(f"bench: search among {made.products:,} products, at a load of {load():.1f}")
            rounds.append(searcher.round(SearchFilters(), 1, QUERIES[1])[0])
    return median(rounds)

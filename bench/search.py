"""Search below any HTTP layer: distinct queries, embedded anew, on a catalogue whose vectors are made up.

The vectors of three thousand texts stand for all products, each copy moved a little: what a search costs depends on
their number and spread, not on what they mean.
"""

import itertools
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from app.core.config import Settings
from app.db.session import LiveDatabase, connect
from app.services import generations, vectors
from app.services.generations import Recipe
from app.services.search import SearchFilters, search
from app.vectors.embedders import Embedder, create_embedder
from app.vectors.indexes.base import Block, Entry

QUERIES = 400
CLIENTS = 16
_BATCH = 2_000


@dataclass(frozen=True)
class SearchFigures:
    """Milliseconds with one client and with 16, and requests a second with 16."""

    single_p50: float
    single_p95: float
    many_p95: float
    many_rate: float


def measure_search(settings: Settings, texts: list[str]) -> SearchFigures:
    """Fills the index of the database's products, and searches it with queries cut from `texts`."""
    database = connect(settings)
    embedder = create_embedder(settings)
    fill_index(database, embedder, texts)
    queries = queries_of(texts)
    for query in queries[:20]:
        _ask(database, embedder, query)
    single = [_ask(database, embedder, query) for query in queries[20 : 20 + QUERIES]]
    began = time.perf_counter()
    with ThreadPoolExecutor(CLIENTS) as pool:
        many = list(pool.map(lambda query: _ask(database, embedder, query), queries[500 : 500 + 4 * QUERIES]))
    rate = len(many) / (time.perf_counter() - began)
    database.engine.dispose()
    return SearchFigures(statistics.median(single), _p95(single), _p95(many), rate)


def _ask(database: LiveDatabase, embedder: Embedder, query: str) -> float:
    began = time.perf_counter()
    with database.transaction() as connection:
        search(connection, embedder, query, SearchFilters(), 20)
    return (time.perf_counter() - began) * 1000


def _p95(values: list[float]) -> float:
    return sorted(values)[int(len(values) * 0.95)]


def queries_of(texts: list[str], shift: int = 0) -> list[str]:
    """A query of some words for each text; others with another shift."""
    places = [(number + shift) % 5 for number in range(len(texts))]
    return [" ".join(text.split()[place : place + 6]) for place, text in zip(places, texts, strict=True)]


def fill_index(database: LiveDatabase, embedder: Embedder, texts: list[str]) -> None:
    """Makes an index of all products, whose vectors are those of the texts, moved."""
    seeds = embedder.embed(texts).vectors
    noise = np.random.default_rng(1)
    opened = generations.open_generation(database, Recipe(lambda variant: embedder))
    index = opened.generation.index
    with database.transaction() as connection:
        (organization,) = [outdated.organization_id for outdated in index.outdated(connection, None)]
    first = 0
    for number in itertools.count():
        with database.transaction() as connection:
            pending = index.pending(connection, Block(organization, first, 2**63 - 1), _BATCH)
            if not pending:
                break
            first = pending[-1].product_id + 1
            rows = (np.arange(len(pending)) + number * _BATCH) % len(seeds)
            moved = seeds[rows] + noise.normal(0, 0.01, (len(pending), seeds.shape[1])).astype(np.float32)
            moved /= np.linalg.norm(moved, axis=1, keepdims=True)
            index.acknowledge(connection, [Entry(*each) for each in zip(pending, moved, strict=True)])
    vectors.complete(database, Recipe(lambda variant: embedder))

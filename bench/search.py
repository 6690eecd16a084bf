"""Search below any HTTP layer, as a request does it: distinct queries, each embedded anew, within filters that let ever
fewer products pass."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice

import psutil

from app.core.config import Settings
from app.db.session import LiveDatabase, connect
from app.services.generations import query_embedder, searched_generation
from app.services.search import SearchFilters, first_page
from app.vectors.embedders import Embedder
from bench.beside import ingestions
from bench.catalogues import catalogue
from bench.place import Bench
from bench.queries import distinct_queries
from bench.recall import FILTERS, Passing, Recall, passing, recall
from bench.table import REPEATS, Answers, Row, Spent, answers, console, load, median

MANY = 16
LIMIT = 20
TEXTS = 20_000  # that queries are cut from
QUERIES = {1: 300, MANY: 400}
_JUDGED = 200  # queries whose recall is taken
_WARM_UP = 300
_PATIENCE = 60  # seconds
_BOUND = 100_000  # products for which there is a budget of time


@dataclass(frozen=True)
class Searcher:
    """Asks what was not asked before."""

    database: LiveDatabase
    embedder: Embedder
    queries: Iterator[str]
    server: psutil.Process

    def spent(self) -> Spent:
        """Until now. Connections stay open, so that what they spent is not lost with them."""
        there = sum(sum(each.cpu_times()[:2]) for each in self.server.children())
        return Spent(time.process_time() * 1000, there * 1000)

    def search(self, query: str, filters: SearchFilters) -> tuple[float, int]:
        """Milliseconds, and the number of hits."""
        began = time.perf_counter()
        with self.database.reading(_PATIENCE) as connection:
            hits = first_page(connection, self.embedder, query, filters, LIMIT).hits
        return (time.perf_counter() - began) * 1000, len(hits)

    def round(self, filters: SearchFilters, clients: int, queries: int) -> tuple[Answers, list[int]]:
        """Each client asks again as soon as it has its answer; the numbers of hits beside."""
        asked = list(islice(self.queries, queries))
        spent, began = self.spent(), time.perf_counter()
        with ThreadPoolExecutor(clients) as pool:
            found = list(pool.map(lambda query: self.search(query, filters), asked))
        taken, hits = zip(*found, strict=True)
        return answers(clients, taken, time.perf_counter() - began, self.spent() - spent), list(hits)

    def passing(self, filters: SearchFilters) -> Passing:
        with self.database.transaction() as connection:
            return passing(connection, filters)

    def recall(self, filters: SearchFilters, queries: int) -> Recall:
        asked = list(islice(self.queries, queries))
        vectors = self.embedder.embed(asked).vectors
        with self.database.transaction() as connection:
            generation = searched_generation(connection, self.embedder)
            if generation is None:
                raise RuntimeError("Nothing is indexed")
            return recall(connection, generation.index, asked, vectors, filters)


@dataclass
class Measured:
    """What was measured of one filter, round by round; `short` answers had fewer hits than there are."""

    passing: Passing
    recall: Recall
    rounds: dict[int, list[Answers]] = field(default_factory=lambda: {1: [], MANY: []})
    searches: int = 0
    short: int = 0

    def ask(self, searcher: Searcher, filters: SearchFilters, clients: int) -> None:
        found, hits = searcher.round(filters, clients, QUERIES[clients])
        self.rounds[clients].append(found)
        self.searches += len(hits)
        self.short += sum(each < min(LIMIT, self.passing.hits) for each in hits)


@contextmanager
def searching(url: str, texts: list[str], warm_up: int = _WARM_UP) -> Iterator[Searcher]:
    """A searcher in a database whose pages are in memory."""
    settings = Settings(database_url=url)
    database = connect(settings, connections=MANY, prepares=True)  # as the API does
    with database.transaction() as connection:
        embedder = query_embedder(connection, settings)
        backend = psutil.Process(connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one())
    searcher = Searcher(database, embedder, distinct_queries(texts), backend.parent() or backend)
    try:
        for query in islice(searcher.queries, warm_up):
            searcher.search(query, SearchFilters())
        yield searcher
    finally:
        database.engine.dispose()


def measure_search(bench: Bench, products: int) -> Iterator[Row]:
    """Recall, short answers, and searches by 1 and 16 clients, for each filter."""
    made = catalogue(bench, products)
    loads = []
    with searching(made.url, made.texts(TEXTS)) as searcher:
        console.print(f"bench: recall among {products:,} products, at a load of {load():.1f}")
        measured = {
            name: Measured(searcher.passing(filters), searcher.recall(filters, _JUDGED))
            for name, filters in FILTERS.items()
        }
        for _ in range(REPEATS):
            loads.append(load())
            console.print(f"bench: search among {products:,} products, at a load of {loads[-1]:.1f}")
            for name, filters in FILTERS.items():
                for clients in (1, MANY):
                    measured[name].ask(searcher, filters, clients)
    yield Row(f"search among {products:,} products: load meanwhile", f"{min(loads):.1f} to {max(loads):.1f}")
    for name, each in measured.items():
        yield from _rows(name, each, is_bound=products == _BOUND)


def _rows(name: str, measured: Measured, *, is_bound: bool) -> Iterator[Row]:
    recall, short = measured.recall, measured.recall.short + measured.short
    told = f"recall@10 {recall.mean:.4f}, {short} of {recall.queries + measured.searches:,} short"
    work = f"{name}: {measured.passing.products:,} pass"
    yield Row(work, told, "≥ 0.99, none", recall.mean >= 0.99 and not short)
    one, many = (median(measured.rounds[clients]) for clients in (1, MANY))
    if is_bound and measured.passing.products == _BOUND:
        yield Row("… 1 client", f"{one}", "p95 ≤ 10 ms", one.p95 <= 10)
    else:
        yield Row("… 1 client", f"{one}")
    yield Row("… of a processor", f"{one.processor}")
    yield Row(f"… {MANY} clients, one process", f"{many}")


def measure_beside(bench: Bench, products: int) -> Iterator[Row]:
    """Searches by one client while a changed feed is ingested, in a copy of the catalogue."""
    made = catalogue(bench, products)
    rounds = []
    with bench.database(made.database) as url, searching(url, made.texts(TEXTS)) as searcher:
        for running in ingestions(bench, url, products):
            console.print(f"bench: search beside an ingestion, at a load of {load():.1f}")
            taken, began = [], time.perf_counter()
            while running():
                taken.append(searcher.search(next(searcher.queries), SearchFilters())[0])
            rounds.append(answers(1, taken, time.perf_counter() - began))
    found = median(rounds)
    told = f"{found} ({found.rate:.0f} searches/s)"
    yield Row(f"search among {products:,} products beside an ingestion", told, "p95 ≤ 60 ms", found.p95 <= 60)

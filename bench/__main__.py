"""`make bench`: the budget table, measured here and now, each figure beside its baseline of the same run."""

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from sqlalchemy import create_engine, make_url, text

from app.cmp.text import search_text
from app.core.config import Settings
from app.db import embedded, schema
from app.db.session import LiveDatabase
from app.vectors.embedders.local import LocalEmbedder
from bench.baselines import bare_session, copy_and_insert
from bench.feeds import Edit, write_feed
from bench.http import measure_http
from bench.search import measure_search
from bench.workers import latency, redis_running, staged_and_merged, worker_running
from tests.support.web import Site, WebServer

REPEATS = 3
_MIB = 1024 * 1024
_numbers = itertools.count()
console = Console(width=130)


@dataclass(frozen=True)
class Row:
    """A line of the table; `met` is None where there is no budget."""

    work: str
    measured: str
    budget: str = ""
    met: bool | None = None


@dataclass(frozen=True)
class Bench:
    """Where it is measured."""

    folder: Path
    server_url: str

    @contextmanager
    def database(self) -> Iterator[str]:
        """The URL of a migrated database that goes when the block ends."""
        name = f"bench_{next(_numbers)}"
        self._administrate(f"CREATE DATABASE {name}")
        url = make_url(self.server_url).set(database=name).render_as_string(hide_password=False)
        database = LiveDatabase(url)
        schema.upgrade(database)
        database.engine.dispose()
        yield url
        self._administrate(f"DROP DATABASE {name} WITH (FORCE)")

    def feed(self, products: int, edit: Edit | None = None, *, single: bool = False) -> Path:
        """A feed of so many products, as it is or edited."""
        folder = self.folder / f"{products}{'-single' if single else ''}"
        console.print(f"bench: writing a feed of {products:,} products")
        write_feed(folder, products, edit, single=single)
        return folder

    def _administrate(self, statement: str) -> None:
        engine = create_engine(self.server_url, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.exec_driver_sql(statement)
        engine.dispose()


def ingest(url: str, place: Path | str, steps: str = "registry,feed") -> dict[str, Any]:
    """One ingestion in a process of its own: `bench.measure`'s document."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.measure", str(place), steps],
        env=os.environ | {"DATABASE_URL": url, "ALLOWED_PRIVATE_HOSTS": "127.0.0.1"},
        check=True,
        capture_output=True,
        text=True,
    )
    measured: dict[str, Any] = json.loads(done.stdout)
    if measured["run"]["status"] != "success":
        raise RuntimeError(f"The ingestion ended {measured['run']['status']}: {measured['run']['error']}")
    return measured


def feed_seconds(measured: dict[str, Any]) -> float:
    seconds: float = measured["run"]["timings"]["feed"]
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--large", action="store_true", help="two million products too")
    parser.add_argument(
        "--only", choices=["feed", "growth", "memory", "remote", "vectors", "http", "workers"], help="one part of it"
    )
    arguments = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        bench = Bench(Path(name), embedded.start(Path(name)))
        parts: dict[str, Callable[[], Iterator[Row]]] = {
            "feed": lambda: measure_feed(bench, 50_000),
            "growth": lambda: measure_growth(bench, large=arguments.large),
            "memory": lambda: measure_memory(bench),
            "remote": lambda: measure_remote(bench, 50_000),
            "vectors": lambda: measure_vectors(bench),
            "http": lambda: measure_api(bench),
            "workers": lambda: measure_workers(bench, 500_000),
        }
        rows = [row for part, measure in parts.items() if arguments.only in (None, part) for row in measure()]
    _print(rows)
    console.print(f"bench: {time.monotonic() - began:.0f} s in all; medians of {REPEATS} where repeated")


def measure_feed(bench: Bench, products: int) -> Iterator[Row]:
    """First, unchanged, 1 % changed, 1 % removed, for one size."""
    firsts, bares, statements = [], [], 0
    folder = bench.feed(products)
    for _ in range(REPEATS):
        console.print("bench: bare COPY and INSERT, then a first ingestion")
        with bench.database() as url:
            database = LiveDatabase(url)
            bares.append(copy_and_insert(database, folder))
            database.engine.dispose()
            measured = ingest(url, folder)
            firsts.append(feed_seconds(measured))
            statements = measured["statements"]
    first, bare = statistics.median(firsts), statistics.median(bares)
    ratio = statistics.median(bare / first for bare, first in zip(bares, firsts, strict=True))
    yield _rate(f"first, {products:,} products", products, first, 10_000)
    yield Row("… against bare COPY + INSERT", f"{ratio:.2f} x ({products / bare:,.0f}/s)", "≥ 0.5 x", ratio >= 0.5)
    yield Row("… SQL statements per product", f"{statements / products:.4f}")
    with bench.database() as url:
        ingest(url, folder)
        same = statistics.median(feed_seconds(ingest(url, folder)) for _ in range(REPEATS + 2))
        yield _rate("unchanged", products, same, 300_000)
        changes = []
        for edit in [Edit(changed_every=100), None, Edit(changed_every=100)]:
            bench.feed(products, edit)
            measured = ingest(url, folder)
            changes.append(feed_seconds(measured))
        yield _rate("1 % changed, in every shard", products, statistics.median(changes), 40_000)
        yield Row("… SQL statements per product", f"{measured['statements'] / products:.4f}")
        bench.feed(products, Edit(changed_every=100, removed_every=100))
        yield _rate("1 % removed", products, feed_seconds(ingest(url, folder)))


def measure_growth(bench: Bench, *, large: bool) -> Iterator[Row]:
    """Time per product of a first ingestion at growing sizes, against that at 50,000."""
    per_product: dict[int, float] = {}
    for products in (10_000, 50_000, 500_000, *([2_000_000] if large else [])):
        folder = bench.feed(products)
        with bench.database() as url:
            console.print(f"bench: ingesting {products:,} products")
            measured = ingest(url, folder)
            per_product[products] = feed_seconds(measured) / products
            if products >= 500_000:
                same = feed_seconds(ingest(url, folder))
                bench.feed(products, Edit(changed_every=100))
                changed = feed_seconds(ingest(url, folder))
        rate = f"{1 / per_product[products]:,.0f}/s, {measured['peak'] / _MIB:.0f} MiB at the peak"
        yield Row(f"first, {products:,} products", rate)
        if products >= 500_000:
            growth = per_product[products] / per_product[50_000]
            yield Row("… time per product against 50,000", f"{growth:.2f} x", "≤ 1.3 x", growth <= 1.3)
            yield Row("… unchanged, 1 % changed", f"{products / same:,.0f}/s, {products / changed:,.0f}/s")


def measure_memory(bench: Bench) -> Iterator[Row]:
    """Anonymous memory of the feed step on one shard of 1 GB, and of all steps with the embedder."""
    folder = bench.feed(450_000, single=True)
    size = (folder / "feed-0000.json").stat().st_size
    with bench.database() as url:
        console.print(f"bench: ingesting one shard of {size / 1e9:.2f} GB")
        peak = ingest(url, folder)["peak"] / _MIB
    yield Row(f"memory, one shard of {size / 1e9:.2f} GB", f"{peak:.0f} MiB", "≤ 300 MB", peak <= 300e6 / _MIB)
    folder = bench.feed(3_000)
    with bench.database() as url:
        console.print("bench: ingesting and embedding 3,000 products")
        peak = ingest(url, folder, "registry,feed,vector")["peak"] / _MIB
    yield Row("memory, embedder included", f"{peak:.0f} MiB", "≤ 450 MB", peak <= 450e6 / _MIB)


def measure_remote(bench: Bench, products: int) -> Iterator[Row]:
    """First ingestions from files, from a web server, and from one that takes its time, in turn."""
    folder = bench.feed(products)
    seconds: dict[str, list[float]] = {"files": [], "http": [], "http, 50 ms more a request": []}
    with WebServer(Site(folder)) as prompt, WebServer(Site(folder, latency=0.05)) as slow:
        for _ in range(REPEATS):
            console.print("bench: ingesting from files, from a server, from a slow one")
            places: list[Path | str] = [folder, prompt.url, slow.url]
            for taken, place in zip(seconds.values(), places, strict=True):
                with bench.database() as url:
                    taken.append(feed_seconds(ingest(url, place)))
    medians = {name: statistics.median(taken) for name, taken in seconds.items()}
    for (name, median), budget in zip(medians.items(), (None, 0.8, 0.6), strict=True):
        ratio, rate = medians["files"] / median, f"{products / median:,.0f}/s"
        if budget is None:
            yield Row(f"first, {products:,} products, {name}", rate)
        else:
            yield Row(f"… {name}", f"{ratio:.2f} x ({rate})", f"≥ {budget} x", ratio >= budget)


def measure_vectors(bench: Bench) -> Iterator[Row]:
    """The embedder and the vector step against the bare session, and search."""
    products = 3_000
    folder = bench.feed(products)
    with bench.database() as url:
        ingest(url, folder)
        database = LiveDatabase(url)
        with database.transaction() as connection:
            rows = connection.execute(text("SELECT name, brand_name, description FROM products ORDER BY id")).all()
        texts = [search_text(*row) for row in rows]
        embedder = LocalEmbedder()
        embedder.embed(texts[:50])
        ratios = []
        for _ in range(REPEATS):
            console.print("bench: the bare ONNX session, then the embedder")
            bare = bare_session(texts)
            began = time.perf_counter()
            embedder.embed(texts)
            ratios.append(bare / (time.perf_counter() - began))
        ratio = statistics.median(ratios)
        yield Row(
            "embedder against the bare session", f"{ratio:.2f} x ({products / bare:.0f}/s)", "≥ 0.9 x", ratio >= 0.9
        )
        bare = bare_session(texts)
        seconds = ingest(url, folder, "vector")["run"]["timings"]["vector"]
        whole = bare / seconds
        yield Row("… with the index", f"{whole:.2f} x ({products / seconds:.0f}/s)", "≥ 0.65 x", whole >= 0.65)
        database.engine.dispose()
    console.print("bench: search among 100,000 products")
    with bench.database() as url:
        ingest(url, bench.feed(100_000))
        found = measure_search(Settings(database_url=url), texts)
    yield Row(
        "search, 100,000 products, 1 client",
        f"p50 {found.single_p50:.1f} ms, p95 {found.single_p95:.1f} ms",
        "p95 ≤ 12 ms",
        found.single_p95 <= 12,
    )
    yield Row(
        "… 16 clients, one process",
        f"{found.many_rate:.0f}/s, p95 {found.many_p95:.0f} ms",
        "≥ 300/s, p95 ≤ 80 ms",
        found.many_rate >= 300 and found.many_p95 <= 80,
    )


def measure_api(bench: Bench) -> Iterator[Row]:
    """Search and products over HTTP, as `discovery-node serve` answers them, with 1, 16 and 64 clients."""
    with bench.database() as url:
        ingest(url, bench.feed(100_000))
        console.print("bench: filling the index of 100,000 products, then asking over HTTP")
        for route, figures in measure_http(url).items():
            for each in figures:
                told = f"{each.rate:.0f}/s, p50 {each.p50:.1f} ms, p95 {each.p95:.1f} ms"
                work = f"{route} over HTTP, {each.clients} client{'' if each.clients == 1 else 's'}"
                if route == "search" and each.clients == 1:
                    yield Row(work, told, "p95 ≤ 12 ms", each.p95 <= 12)
                elif route == "search" and each.clients == 16:
                    yield Row(work, told, "≥ 300/s, p95 ≤ 80 ms", each.rate >= 300 and each.p95 <= 80)
                else:
                    yield Row(work, told)


def measure_workers(bench: Bench, products: int) -> Iterator[Row]:
    """A first ingestion by 1, 2 and 4 processes; the time until a start begins; what sharing costs by the shard."""
    folder = bench.feed(products)
    alone = 0.0
    for processes in (1, 2, 4):
        with bench.database() as url, redis_running(bench.folder) as redis:
            environment = redis | {"DATABASE_URL": url, "DATA_DIR": str(bench.folder)}
            with worker_running(environment, processes - 1):
                console.print(f"bench: {processes} processes ingest {products:,} products")
                parts = staged_and_merged(environment, folder)
        alone = alone or parts["staging"]
        told = f"{parts['feed']:.1f} s: staging {parts['staging']:.1f} s, merge {parts['merge']:.1f} s"
        yield Row(f"{products:,} products, {processes} process{'es' if processes > 1 else ''}", told)
        if processes > 1:
            yield Row("… staging against one process", f"{alone / parts['staging']:.2f} x as fast")
    small = bench.feed(50_000)
    shards = len(list(small.glob("feed-*.json")))
    with bench.database() as url, redis_running(bench.folder) as redis:
        environment = redis | {"DATABASE_URL": url, "DATA_DIR": str(bench.folder)}
        with worker_running(environment, 1):
            seconds = latency(environment, bench.feed(1_000), 5)
            yield Row("from .delay() to the first staged row, idle worker", f"{seconds * 1000:.0f} ms")
    overheads = []
    for _ in range(REPEATS):
        console.print("bench: a feed alone, then in pieces that nobody takes")
        with bench.database() as url:
            whole = ingest(url, small)["run"]["timings"]["staging"]
        with bench.database() as url, redis_running(bench.folder) as redis:
            pieces = staged_and_merged(redis | {"DATABASE_URL": url, "DATA_DIR": str(bench.folder)}, small)["staging"]
        overheads.append((pieces - whole) / shards * 1000)
    overhead = statistics.median(overheads)
    yield Row("scheduling overhead of a shard", f"{overhead:.1f} ms", "< 20 ms", overhead < 20)


def _rate(work: str, products: int, seconds: float, budget: int | None = None) -> Row:
    rate = products / seconds
    told = f"{rate:,.0f}/s ({seconds:.2f} s)"
    return Row(work, told) if budget is None else Row(work, told, f"≥ {budget:,}/s", rate >= budget)


def _print(rows: list[Row]) -> None:
    table = Table("work", "measured", "budget", "")
    for row in rows:
        verdict = "" if row.met is None else "[green]met[/]" if row.met else "[red]missed[/]"
        table.add_row(row.work, row.measured, row.budget, verdict)
    console.print(table)


if __name__ == "__main__":
    main()

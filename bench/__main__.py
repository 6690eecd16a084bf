"""`make bench`: the budget table, measured here and now, each figure beside its baseline of the same run."""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import text

from app.cmp.text import search_text
from app.db import embedded
from app.db.session import LiveDatabase
from app.vectors.embedders.local import LocalEmbedder
from bench.baselines import bare_session, copy_and_insert
from bench.catalogues import catalogue
from bench.feeds import Edit, Kind
from bench.http import measure_http
from bench.place import Bench, ingest
from bench.scale import measure_scale
from bench.search import measure_beside, measure_search
from bench.table import REPEATS, Row, console, show
from bench.workers import latency, redis_running, staged_and_merged, worker_running
from tests.support.web import Site, WebServer

_SEARCHED = 100_000
_LARGE = 1_000_000
_MIB = 1024 * 1024


def feed_seconds(measured: dict[str, Any]) -> float:
    seconds: float = measured["run"]["timings"]["feed"]
    return seconds


def main() -> None:
    large = "--large" in sys.argv
    sizes = [_SEARCHED, *([_LARGE] if large else [])]
    parts: dict[str, Callable[[Bench], Iterator[Row]]] = {
        "feed": partial(measure_feed, products=50_000),
        "growth": partial(measure_growth, large=large),
        "memory": measure_memory,
        "remote": partial(measure_remote, products=50_000),
        "vectors": measure_vectors,
        "catalogue": partial(measure_catalogue, sizes=sizes),
        "search": lambda bench: (row for products in sizes for row in measure_search(bench, products)),
        "scale": partial(measure_scale, sizes=[1_000, 10_000, 30_000, *sizes]),
        "beside": partial(measure_beside, products=_SEARCHED),
        "http": partial(measure_http, products=_SEARCHED),
        "workers": partial(measure_workers, products=500_000),
    }
    arguments = _arguments(list(parts))
    began = time.monotonic()
    with _folder(arguments.at) as folder:
        bench = Bench(folder, embedded.start(folder))
        show([row for part in arguments.only or parts for row in parts[part](bench)])
    console.print(f"bench: {time.monotonic() - began:.0f} s in all; medians of {REPEATS} where repeated")


def _arguments(parts: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--large", action="store_true", help="two million products too, and search among one million")
    parser.add_argument("--only", choices=parts, action="append", help="one part of it; may be repeated")
    parser.add_argument("--at", type=Path, help="a folder to keep catalogues in, for the next run to search")
    return parser.parse_args()


@contextmanager
def _folder(kept: Path | None) -> Iterator[Path]:
    if kept is not None:
        kept.mkdir(parents=True, exist_ok=True)
        yield kept
        return
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        yield Path(name)


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
    folder = bench.feed(450_000, kind=Kind(single=True))
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


def measure_catalogue(bench: Bench, sizes: Sequence[int]) -> Iterator[Row]:
    """First loads of the index, unless catalogues of these sizes are there; the parts that search make theirs too."""
    for products in sizes:
        made = catalogue(bench, products)
        if made.throughput is not None:
            told = f"{made.throughput:,.0f}/s ({made.seconds:.0f} s, at a load of {made.load:.1f})"
            yield Row(f"first load of the index, {products:,} products, graph included", told)


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


if __name__ == "__main__":
    main()

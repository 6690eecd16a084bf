"""`make relevance`: how good the ranking is, on a real catalogue with queries that people judged.

The shipped settings ingest it into a database of its own; then every query is asked at a depth of 100. A product graded
2 or 3 is relevant. nDCG@10 counts unjudged products as irrelevant, judged-only nDCG@10 leaves them out of the ranking:
the first is too hard on products that the judged pools never held, the second too kind to everything. Read both.
"""

import argparse
import csv
import math
import statistics
import tarfile
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from app.core.config import Settings
from app.core.logging import configure_logging
from app.db.session import connect
from app.ingestors.config import IngestionConfig
from app.ingestors.manager import IngestorManager
from app.services.generations import configured, open_generation
from app.services.search import search

DEPTH = 100
CUT = 10
RELEVANT = 2
DATA = Path("../shared/data/icecat")

Judgments = dict[str, int]
"""Grades, 0 to 3, by product URN."""

console = Console()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.relevance", description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=DATA, help="catalogue, queries and judgments")
    folder: Path = parser.parse_args().folder
    archive = folder / "catalogue.tar.xz"
    if not archive.is_file():
        console.print(f"relevance: skipped, there is no {archive}")
        return
    configure_logging("error")
    queries, judged = read_queries(folder / "dev-queries.tsv"), read_judgments(folder / "dev-qrels.tsv")
    usable = [query for query in queries if any(grade >= RELEVANT for grade in judged[query].values())]
    with tempfile.TemporaryDirectory(prefix="relevance-") as name:
        rankings = rank(Path(name), archive, {query: queries[query] for query in usable})
    print_figures([(rankings[query], judged[query]) for query in usable])


def rank(folder: Path, archive: Path, queries: dict[str, str]) -> dict[str, list[str]]:
    """The URNs found for each query by a node that has ingested the catalogue."""
    console.print("relevance: unpacking and ingesting the catalogue")
    with tarfile.open(archive) as packed:
        packed.extractall(folder / "catalogue", filter="data")
    settings = Settings(_env_file=None, database_url=None, data_dir=folder / "data")
    database = connect(settings)
    listed = {"ingestion": [{"name": "icecat", "source_type": "local", "registry": "brands.json"}]}
    config = IngestionConfig.model_validate(listed, context={"root": folder / "catalogue"})
    began = time.monotonic()
    report = IngestorManager(settings, database=database, config=config).ingest()
    indexed = sum(run["vector"].get("indexed", 0) for run in report["runs"])
    console.print(f"relevance: {indexed:,} products in {time.monotonic() - began:.0f} s, status {report['status']}")
    embedder = open_generation(database, configured(settings)).embedder
    rankings = {}
    for query, words in queries.items():
        with database.transaction() as connection:
            rankings[query] = [hit.urn for hit in search(connection, embedder, words, limit=DEPTH)]
    database.engine.dispose()
    return rankings


def ndcg(ranking: Sequence[str], judgments: Judgments) -> float:
    """Normalized discounted cumulative gain of the first ten, with the gain 2^grade - 1."""
    ideal = sorted(judgments.values(), reverse=True)
    return _dcg(judgments.get(urn, 0) for urn in ranking[:CUT]) / _dcg(ideal[:CUT])


def judged_only(ranking: Sequence[str], judgments: Judgments) -> float:
    return ndcg([urn for urn in ranking if urn in judgments], judgments)


def judged_share(ranking: Sequence[str], judgments: Judgments) -> float:
    return sum(urn in judgments for urn in ranking[:CUT]) / CUT


def recall(ranking: Sequence[str], judgments: Judgments) -> float:
    relevant = {urn for urn, grade in judgments.items() if grade >= RELEVANT}
    return len(relevant & set(ranking)) / len(relevant)


FIGURES: dict[str, Callable[[Sequence[str], Judgments], float]] = {
    f"nDCG@{CUT}": ndcg,
    f"judged-only nDCG@{CUT}": judged_only,
    f"judged@{CUT}": judged_share,
    f"recall@{DEPTH}": recall,
}


def print_figures(ranked: list[tuple[list[str], Judgments]]) -> None:
    table = Table(title=f"{len(ranked)} judged queries at depth {DEPTH}")
    for heading in ("figure", "mean", "standard error"):
        table.add_column(heading)
    for name, figure in FIGURES.items():
        values = [figure(ranking, judgments) for ranking, judgments in ranked]
        error = statistics.stdev(values) / math.sqrt(len(values))
        table.add_row(name, f"{statistics.mean(values):.3f}", f"{error:.3f}")
    console.print(table)


def read_queries(path: Path) -> dict[str, str]:
    """Queries by their id."""
    with path.open(newline="") as file:
        return {row[0]: row[1] for row in csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)}


def read_judgments(path: Path) -> defaultdict[str, Judgments]:
    """Judgments by query id, from TREC's format."""
    judged: defaultdict[str, Judgments] = defaultdict(dict)
    with path.open(newline="") as file:
        for query, _, urn, grade in csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
            judged[query][urn] = int(grade)
    return judged


def _dcg(grades: Iterable[int]) -> float:
    return math.fsum((2**grade - 1) / math.log2(place + 1) for place, grade in enumerate(grades, 1))


if __name__ == "__main__":
    main()

"""`make relevance`: how good the ranking is, and that it is better than each of its legs.

The shipped settings ingest the samples and, where it is at hand, a real catalogue with queries that people judged, each
into a database of its own; then every question is asked at a depth of 100: those of the judged set, and the project's
own (`bench/questions/`). A product graded 2 or 3 is relevant. nDCG@10 counts unjudged products as irrelevant,
judged-only nDCG@10 leaves them out of the ranking: the first is too hard on products that the judged pools never held,
the second too kind to everything. Read both.

Fails when a figure of the ranking is below the recorded one by more than the noise, or a part number is not answered by
its product.
"""

import argparse
import json
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table
from sqlalchemy import Connection, text

from app.core.config import Settings
from app.core.logging import configure_logging
from app.db.session import LiveDatabase, connect
from app.ingestors.config import IngestionConfig
from app.ingestors.manager import IngestorManager
from app.services.generations import configured, open_generation
from app.services.ranked import find
from app.services.scope import resolve
from app.services.search import search
from app.vectors.embedders import Embedder
from app.vectors.ranking import DEPTH as CANDIDATES
from bench.judging import (
    DEPTH,
    PART_NUMBER,
    Figure,
    Judgments,
    Question,
    hit_at_1,
    measure,
    read_judged,
    read_questions,
)

HERE = Path(__file__).parent
DATA = Path("../shared/data/icecat")
RECORDED = HERE / "questions" / "recorded.json"

NOISE = 0.01
"""What another graph or another variant of the model moves."""

RANKING = "ranking"
LEGS = ("by vector", "by words")

console = Console()


@dataclass(frozen=True)
class Answered:
    """A question, and what answers it by the ranking and by each of its legs alone."""

    question: Question
    rankings: dict[str, list[str]]

    def by(self, ranking: str) -> tuple[list[str], Judgments]:
        return self.rankings[ranking], self.question.answers


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.relevance", description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=DATA, help="catalogue, queries and judgments")
    parser.add_argument("--record", action="store_true", help="make these figures the recorded ones")
    arguments = parser.parse_args()
    configure_logging("error")
    recorded: dict[str, dict[str, float]] = json.loads(RECORDED.read_text())
    found: dict[str, dict[str, float]] = {}
    worse: list[str] = []
    with tempfile.TemporaryDirectory(prefix="relevance-") as name:
        for title, answered in _all(Path(name), arguments.folder):
            figures = {ranking: measure([each.by(ranking) for each in answered]) for ranking in (*LEGS, RANKING)}
            _print(title, len(answered), figures)
            worse += [f"{title}: {each}" for each in _print_part_numbers(answered)]
            found[title] = {figure: round(value.mean, 3) for figure, value in figures[RANKING].items()}
            worse += compare(title, found[title], recorded.get(title, {}))
    if arguments.record:
        RECORDED.write_text(json.dumps(recorded | found, indent=2) + "\n")
    elif worse:
        sys.exit("\n".join(worse))


def _all(folder: Path, data: Path) -> Iterator[tuple[str, list[Answered]]]:
    """Each set of questions with its answers."""
    listed = yaml.safe_load(Path("ingestion.yaml").read_text())["ingestion"]
    samples = _ingested(folder / "samples", Path(), listed)
    yield "own questions, samples", answer(*samples, read_questions(HERE / "questions" / "samples.json"))
    archive = data / "catalogue.tar.xz"
    if not archive.is_file():
        console.print(f"relevance: the questions about Icecat are skipped, there is no {archive}")
        return
    with tarfile.open(archive) as packed:
        packed.extractall(folder / "catalogue", filter="data")
    listed = [{"name": "icecat", "source_type": "local", "registry": "brands.json"}]
    icecat = _ingested(folder / "icecat", folder / "catalogue", listed)
    yield "judged queries, Icecat", answer(*icecat, read_judged(data / "dev-queries.tsv", data / "dev-qrels.tsv"))
    yield "own questions, Icecat", answer(*icecat, read_questions(HERE / "questions" / "icecat.json"))


def _ingested(folder: Path, root: Path, listed: list[dict[str, Any]]) -> tuple[LiveDatabase, Embedder]:
    """A node's database that holds what is listed, and the model of its index."""
    settings = Settings(_env_file=None, database_url=None, data_dir=folder)
    database = connect(settings)
    config = IngestionConfig.model_validate({"ingestion": listed}, context={"root": root.absolute()})
    began = time.monotonic()
    report = IngestorManager(settings, database=database, config=config).ingest()
    indexed = sum(run["vector"].get("indexed", 0) for run in report["runs"])
    console.print(f"relevance: {indexed:,} products in {time.monotonic() - began:.0f} s, status {report['status']}")
    return database, open_generation(database, configured(settings)).embedder


def answer(database: LiveDatabase, embedder: Embedder, questions: Sequence[Question]) -> list[Answered]:
    answered = []
    for question in questions:
        with database.transaction() as connection:
            hits = search(connection, embedder, question.query, question.filters, DEPTH)
            rankings = {RANKING: [urn for hit in hits for urn in (hit.urn, *(each.urn for each in hit.variants))]}
            rankings |= _legs(connection, embedder, question)
        answered.append(Answered(question, rankings))
    return answered


def _legs(connection: Connection, embedder: Embedder, question: Question) -> dict[str, list[str]]:
    scope = resolve(connection, question.filters)
    if scope is None:
        return {leg: [] for leg in LEGS}
    legs = find(connection, embedder, scope, question.query, CANDIDATES).legs
    rankings = dict(zip(LEGS, (list(legs.dense), [*legs.text, *legs.partial]), strict=True))
    ids = [product for ranking in rankings.values() for product in ranking]
    rows = connection.execute(text("SELECT id, urn FROM products WHERE id = ANY(:ids)"), {"ids": ids})
    urns = {row[0]: row[1] for row in rows}
    return {leg: [urns[product] for product in ranking] for leg, ranking in rankings.items()}


def compare(title: str, found: dict[str, float], recorded: dict[str, float]) -> list[str]:
    """What is worse than it was."""
    return [
        f"{title}: {figure} is {found[figure]:.3f}, and was {value:.3f}"
        for figure, value in recorded.items()
        if found[figure] < value - NOISE
    ]


def part_numbers(answered: Sequence[Answered]) -> list[Answered]:
    return [each for each in answered if each.question.kind == PART_NUMBER]


def _print(title: str, number: int, figures: dict[str, dict[str, Figure]]) -> None:
    table = Table(title=f"{title}: {number}, {DEPTH} results deep")
    table.add_column("figure")
    for ranking in figures:
        table.add_column(ranking)
    for figure in figures[RANKING]:
        table.add_row(figure, *(str(each[figure]) for each in figures.values()))
    console.print(table)


def _print_part_numbers(answered: Sequence[Answered]) -> list[str]:
    """Returns those that are not answered by their product."""
    asked = part_numbers(answered)
    if not asked:
        return []
    console.print(f"part numbers: hit@1 {hit_at_1([each.by(RANKING) for each in asked]):.3f} of {len(asked)}")
    return [
        f"the part number {each.question.query!r} does not put its product first"
        for each in asked
        if hit_at_1([each.by(RANKING)]) < 1
    ]


if __name__ == "__main__":
    main()

"""Questions with graded answers, and figures of how well a ranking answers them."""

import csv
import json
import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from app.services.search import SearchFilters

DEPTH = 100
CUT = 10
RELEVANT = 2
PART_NUMBER = "part number"

Judgments = dict[str, int]
"""Grades, 0 to 3, by product URN."""


@dataclass(frozen=True)
class Question:
    """A query within filters, and what answers it. `kind` is how it is put: plain, paraphrase, misspelled, part number
    or filtered."""

    kind: str
    query: str
    filters: SearchFilters
    answers: Judgments


def read_questions(path: Path) -> list[Question]:
    """This project's own."""
    return [
        Question(each["kind"], each["question"], _filters(each.get("filters", {})), each["answers"])
        for each in json.loads(path.read_text())
    ]


def read_judged(queries: Path, judgments: Path) -> list[Question]:
    """Queries of a judged set in TREC's format, those that a relevant product is known of."""
    judged: defaultdict[str, Judgments] = defaultdict(dict)
    for query, _, urn, grade in _rows(judgments):
        judged[query][urn] = int(grade)
    return [
        Question("judged", words, SearchFilters(), judged[query])
        for query, words in _rows(queries)
        if any(grade >= RELEVANT for grade in judged[query].values())
    ]


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


@dataclass(frozen=True)
class Figure:
    """A mean over questions, and its standard error."""

    mean: float
    error: float

    def __str__(self) -> str:
        return f"{self.mean:.3f} ± {self.error:.3f}"


def measure(ranked: Sequence[tuple[Sequence[str], Judgments]]) -> dict[str, Figure]:
    """Each figure over rankings, 100 deep, and what is known of their questions."""
    return {
        name: _mean([figure(ranking[:DEPTH], judgments) for ranking, judgments in ranked])
        for name, figure in FIGURES.items()
    }


def hit_at_1(ranked: Iterable[tuple[Sequence[str], Judgments]]) -> float:
    """How often what comes first is what was asked for."""
    return statistics.mean(bool(ranking) and judgments.get(ranking[0]) == 3 for ranking, judgments in ranked)


def _mean(values: list[float]) -> Figure:
    error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else 0.0
    return Figure(statistics.mean(values), error)


def _dcg(grades: Iterable[int]) -> float:
    return math.fsum((2**grade - 1) / math.log2(place + 1) for place, grade in enumerate(grades, 1))


def _filters(named: dict[str, str | bool]) -> SearchFilters:
    prices = {name: Decimal(value) for name, value in named.items() if name in ("min_price", "max_price")}
    return SearchFilters(**{**named, **prices})  # type: ignore[arg-type]  # what the file's own tests hold to


def _rows(path: Path) -> list[list[str]]:
    with path.open(newline="") as file:
        return list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))

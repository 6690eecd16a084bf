"""One ranking of several."""

from collections import defaultdict
from collections.abc import Iterable, Sequence


def reciprocal_rank_fusion(rankings: Iterable[tuple[float, Sequence[int]]], k: int) -> list[tuple[int, float]]:
    """Ids with their scores, best first: the sum of weight / (k + place) over the weighted rankings that hold the id.
    Equal scores stand by id."""
    scores: defaultdict[int, float] = defaultdict(float)
    for weight, ranking in rankings:
        for place, item in enumerate(ranking, 1):
            scores[item] += weight / (k + place)
    return sorted(scores.items(), key=lambda scored: (-scored[1], scored[0]))

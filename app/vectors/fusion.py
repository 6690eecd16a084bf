"""One ranking of several."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

K = 60
"""How little the first places of one ranking count against a place in all of them."""


def reciprocal_rank_fusion(rankings: Iterable[Sequence[int]], k: int = K) -> list[tuple[int, float]]:
    """Ids with their scores, best first: the sum of 1 / (k + place) over the rankings that hold the id.
    Equal scores stand by id."""
    scores: defaultdict[int, float] = defaultdict(float)
    for ranking in rankings:
        for place, item in enumerate(ranking, 1):
            scores[item] += 1 / (k + place)
    return sorted(scores.items(), key=lambda scored: (-scored[1], scored[0]))

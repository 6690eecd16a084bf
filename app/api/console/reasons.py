"""Why a product was found, in words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.vectors.ranking import DENSE_WEIGHT, PARTIAL_WEIGHT, TEXT_WEIGHT, K

# The rankings as documents name them: in words, what their score is, and how much they weigh.
_RANKINGS = {
    "dense": ("meaning", "By vector; the score is the cosine similarity", DENSE_WEIGHT),
    "text": ("all words", "By words, all of which it holds", TEXT_WEIGHT),
    "partial": ("some words", "By words, a part of which it holds", PARTIAL_WEIGHT),
}


@dataclass(frozen=True)
class RankedPlace:
    """A product's place in a ranking, and what that counts: 1 for the first place of a ranking of full weight."""

    name: str
    told: str
    rank: int
    score: float
    part: float


def places(explanation: Mapping[str, Any]) -> list[RankedPlace]:
    """The places that an explanation tells of."""
    return [
        RankedPlace(name, told, place["rank"], place["score"], weight * (K + 1) / (K + place["rank"]))
        for ranking, (name, told, weight) in _RANKINGS.items()
        if (place := explanation.get(ranking))
    ]


def respelled(products: Sequence[Mapping[str, Any]]) -> str:
    """How the query was read that found the products, if not as it was written; else nothing."""
    read = (product.get("cmp:explanation", {}).get("respelled") for product in products)
    return next(filter(None, read), "")

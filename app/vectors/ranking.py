"""How products are ranked: every figure that decides it, and the fusion. Chosen by measurement
(`docs/decisions/ranking.md`, `make relevance`)."""

from app.vectors.fusion import reciprocal_rank_fusion

DEPTH = 200
"""Candidates of each ranking; more when more hits are asked for."""

K = 60
"""How little the first places of one ranking count against a place in both."""

DENSE_WEIGHT = 1.0
TEXT_WEIGHT = 1.0
PARTIAL_WEIGHT = 0.75

FEW = 10
"""Matches of all words below which products that hold a part of them are looked for too."""

PART = 0.4
"""The part that is enough: of all words, the rare ones counting more."""

COMMON = 500
"""A word that so many products hold says too little to find a product by it alone."""

IDENTIFIER_SCORE = 1.0
"""Of a product whose SKU, GTIN or MPN is in the query; fused rankings stay far below."""

BRAND_SCORE = 0.5
"""Of a product of the brand that the query names and nothing else."""


def fuse(dense: list[int], text: list[int], partial: list[int]) -> list[tuple[int, float]]:
    """Ids with their scores, best first."""
    return reciprocal_rank_fusion([(DENSE_WEIGHT, dense), (TEXT_WEIGHT, text), (PARTIAL_WEIGHT, partial)], K)

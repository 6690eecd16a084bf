"""The order of what is found: what an identifier names, what a brand does, then meaning and words fused; of each
product group the best variant."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import structlog
from sqlalchemy import Connection, text

from app.services.asking import Question, ask
from app.services.identifiers import Identified, identified
from app.services.scope import Scope
from app.vectors.embedders import Embedder
from app.vectors.indexes.base import Candidates, IndexUnavailableError, Leg
from app.vectors.ranking import BRAND_SCORE, DEPTH, FEW, IDENTIFIER_SCORE, fuse

log = structlog.get_logger()

_GROWTH = 4  # times deeper, when variants of few groups are all that was found

Ranking = list[tuple[int, float]]
"""Ids of products with their scores, best first."""


@dataclass(frozen=True)
class Place:
    """Where a product stands in one ranking, from 1 on, and its score there."""

    rank: int
    score: float


@dataclass(frozen=True)
class Explanation:
    """Why a product stands where it does: the identifier of its that the query holds; whether the query is its brand;
    its places by vector (cosine similarity), by words, all of which it holds, and by a part of the words; and how the
    query was read, if not as it was written."""

    identifier: str | None = None
    is_brand: bool = False
    dense: Place | None = None
    text: Place | None = None
    partial: Place | None = None
    respelled: str | None = None


@dataclass(frozen=True)
class Found:
    """Products in their order, and what it was made of. `is_all` when nothing else passes the filters. `is_degraded`
    when there was no vector for the query, or the index did not answer: more is found when they are there."""

    ranking: Ranking
    is_all: bool = True
    identifiers: dict[int, Identified] = field(default_factory=dict)
    brand: frozenset[int] = frozenset()
    legs: Candidates = field(default_factory=lambda: Candidates({}, {}))
    respelled: str | None = None
    is_degraded: bool = False

    def explain(self, products: Sequence[int]) -> dict[int, Explanation]:
        dense, words, part = (_places(leg, products) for leg in (self.legs.dense, self.legs.text, self.legs.partial))
        return {
            each: Explanation(
                self.identifiers[each].identifier if each in self.identifiers else None,
                each in self.brand,
                dense.get(each),
                words.get(each),
                part.get(each),
                self.respelled,
            )
            for each in products
        }


def find(
    connection: Connection, embedder: Embedder, scope: Scope, query: str, limit: int, most: int | None = None
) -> Found:
    """The best products, one of each group: as many as there are, up to the limit. Up to `most` when it is more, as
    far as they come without looking deeper."""
    look = partial(_search, connection, embedder, scope, query) if query else partial(_browse, connection, scope)
    depth = max(DEPTH, limit)
    while True:
        found = look(depth)
        ranking = _best_of_groups(connection, found.ranking, max(limit, most or 0))
        if found.is_all or len(ranking) >= limit:
            return replace(found, ranking=ranking)
        depth *= _GROWTH


def _browse(connection: Connection, scope: Scope, depth: int) -> Found:
    """The newest first."""
    statement = f"SELECT p.id FROM products p WHERE {scope.products} ORDER BY p.id DESC LIMIT :limit"  # noqa: S608 - this package's own fragments
    products = connection.execute(text(statement), {**scope.parameters, "limit": depth}).scalars().all()
    return Found([(product, 0.0) for product in products], len(products) < depth)


def _search(connection: Connection, embedder: Embedder, scope: Scope, query: str, depth: int) -> Found:
    named = {each.product: each for each in identified(connection, scope, query, depth)}
    by_identifiers = Found([(product, IDENTIFIER_SCORE) for product in named], identifiers=named)
    question = ask(connection, embedder, query)
    if question is None:
        return by_identifiers
    try:
        return _fused(question, embedder, scope, depth, named)
    except IndexUnavailableError as error:
        log.warning("the index does not answer: identifiers alone decide", error=str(error), remedy=error.remedy)
        return replace(by_identifiers, is_degraded=True)


def _fused(question: Question, embedder: Embedder, scope: Scope, depth: int, named: dict[int, Identified]) -> Found:
    """What the index finds, after what is named."""
    question, legs = _candidates(question, embedder, scope, depth)
    fused = dict(fuse(list(legs.dense), list(legs.text), list(legs.partial)))
    first = sorted(named.values(), key=lambda each: (-each.length, -fused.get(each.product, 0.0)))
    brand = question.of_brand(scope, depth)
    ranking = {each.product: IDENTIFIER_SCORE for each in first}
    for product, score in [*((product, BRAND_SCORE) for product in brand), *fused.items()]:
        ranking.setdefault(product, score)
    is_all = len(legs.text if question.vector is None else legs.dense) < depth
    is_degraded = question.vector is None
    return Found(list(ranking.items()), is_all, named, frozenset(brand), legs, question.respelled, is_degraded)


def _candidates(question: Question, embedder: Embedder, scope: Scope, depth: int) -> tuple[Question, Candidates]:
    """Of the query as it is written; where few products hold its words, as the index would have it."""
    legs = question.candidates(scope, depth)
    if len(legs.text) < FEW:
        respelled = question.respell(embedder)
        if respelled is not question:
            return respelled, respelled.candidates(scope, depth)
    return question, legs


def _best_of_groups(connection: Connection, ranking: Ranking, most: int) -> Ranking:
    """The first product of each group, and all of none."""
    best: Ranking = []
    seen = set[int]()
    for start in range(0, len(ranking), most):
        chunk = ranking[start : start + most]
        groups = _groups(connection, [product for product, _ in chunk])
        for product, score in chunk:
            group = groups.get(product)
            if group is None or group not in seen:
                best.append((product, score))
            if group is not None:
                seen.add(group)
        if len(best) >= most:
            break
    return best[:most]


def _groups(connection: Connection, products: Sequence[int]) -> dict[int, int]:
    """The groups of those that have one, by product."""
    statement = "SELECT id, group_id FROM products WHERE id = ANY(CAST(:ids AS bigint[])) AND group_id IS NOT NULL"
    return {row[0]: row[1] for row in connection.execute(text(statement), {"ids": products}).all()}


def _places(leg: Leg, wanted: Sequence[int]) -> dict[int, Place]:
    of = frozenset(wanted)
    return {each: Place(rank, score) for rank, (each, score) in enumerate(leg.items(), 1) if each in of}

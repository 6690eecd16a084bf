"""Whether what is found is what exists: filters that let so many products pass, and the ranking by vector against a
comparison of all that pass."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, text

from app.services.scope import Scope, resolve
from app.vectors.indexes.base import Index, SearchFilters
from app.vectors.ranking import DEPTH

AT = 10
EPSILON = 1e-5
"""Two computations of one score differ by less, and the scores of neighbours mostly by a hundred times more."""

_HEAD = 4  # bytes of a vector as PostgreSQL sends it that tell its length
_CHUNK = 20_000  # vectors that are compared at once

# Of the products of `bench.feeds` all are in stock, prices are spread evenly from 1.00 to 999.99, and there are as many
# of each of 40 brands, 12 departments and 240 shelves.
FILTERS = {
    "no filter": SearchFilters(),
    "100 %, in stock": SearchFilters(in_stock=True),
    "10 %, by price": SearchFilters(max_price=Decimal("100.89")),
    "1 %, by category and price": SearchFilters(category="Department 3", max_price=Decimal("120.87")),
    "0.1 %, by brand and price": SearchFilters(brand="Brand 7", max_price=Decimal("40.95")),
    "0.01 %, by category and price": SearchFilters(category="Shelf 17", max_price=Decimal("24.97")),
}


@dataclass(frozen=True)
class Passing:
    """Products that pass a filter, and hits that they make: of a group there is one."""

    products: int
    hits: int


@dataclass(frozen=True)
class Recall:
    """The mean of all queries, and how many got a ranking that lacks products."""

    mean: float
    short: int
    queries: int


def passing(connection: Connection, filters: SearchFilters) -> Passing:
    scope = _scope(connection, filters)
    row = connection.execute(
        text(f"SELECT count(*), count(DISTINCT coalesce(-group_id, id)) FROM products p WHERE {scope.products}"),
        scope.parameters,
    ).one()
    return Passing(*row)


def recall(
    connection: Connection, index: Index, queries: Sequence[str], vectors: NDArray[np.float32], filters: SearchFilters
) -> Recall:
    """Of the ranking by vector, as deep as a search looks. The vectors are those of the queries, a row each."""
    scope = _scope(connection, filters)
    expected = min(DEPTH, passing(connection, filters).products)
    # In half precision, as the index compares them: else a rounding alone makes an order.
    vectors = vectors.astype(np.float16).astype(np.float32)
    parts, short = [], 0
    for query, vector, exact in zip(queries, vectors, exact_scores(connection, index, scope, vectors), strict=True):
        found = index.candidates(connection, query, vector, scope.condition, DEPTH).dense
        parts.append(recall_by_score(list(found.values()), exact.tolist()))
        short += len(found) < expected
    return Recall(sum(parts) / len(parts), short, len(parts))


def recall_by_score(found: Sequence[float], exact: Sequence[float]) -> float:
    """The part of the best ten that is there: what scores as high as the last of the exact ones is as good as it."""
    wanted = exact[:AT]
    if not wanted:
        return 1.0
    return sum(score >= wanted[-1] - EPSILON for score in found[: len(wanted)]) / len(wanted)


def exact_scores(
    connection: Connection, index: Index, scope: Scope, vectors: NDArray[np.float32]
) -> NDArray[np.float32]:
    """The ten best for each vector, best first, of all products that pass: fewer where fewer do."""
    statement = f"""
        SELECT halfvec_send(v.embedding) FROM {index.table} v JOIN products p ON p.id = v.product_id
        WHERE {scope.products}
        """
    rows = connection.execute(text(statement), scope.parameters, execution_options={"yield_per": _CHUNK}).scalars()
    best = np.empty((len(vectors), 0), np.float32)
    for chunk in rows.partitions():
        stored = np.frombuffer(b"".join(each[_HEAD:] for each in chunk), ">f2").reshape(len(chunk), -1)
        best = np.sort(np.hstack([best, vectors @ stored.astype(np.float32).T]))[:, : -AT - 1 : -1]
    return best


def _scope(connection: Connection, filters: SearchFilters) -> Scope:
    scope = resolve(connection, filters)
    if scope is None:
        raise RuntimeError(f"The catalogue knows no such name: {filters}")
    return scope

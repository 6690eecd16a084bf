# ruff: noqa: S608 - statements are made of this package's own fragments
"""Finding products in the table of a generation: by vector, by words, by a part of the words. One statement, or two
when filters decide how to look."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, text

from app.vectors.indexes.base import Candidates, Condition, Leg
from app.vectors.indexes.fulltext import HAS_TERMS, QUERY, RANK, common, partial_leg, partial_terms
from app.vectors.ranking import FEW
from app.vectors.spelling import has_operators

MAX_EXACT = 20_000
"""Up to so many products that pass the filters are compared one by one; HNSW would have to walk past the others."""

_SURELY_MANY = 3
"""Times as many, by the planner's guess, are not counted before HNSW is asked."""

# Short queries: compiling them, or starting workers for them, takes longer than running them. Without filters their
# values decide nothing about how they are run; so a statement that is kept is not planned again.
_SETTINGS = (
    "SET LOCAL jit = off; SET LOCAL max_parallel_workers_per_gather = 0; "
    "SET LOCAL hnsw.ef_search = 200; SET LOCAL hnsw.iterative_scan = strict_order; "
    "SET LOCAL random_page_cost = 1.1; SET LOCAL plan_cache_mode = {}"
)


def find(
    connection: Connection,
    table: str,
    query: str,
    vector: NDArray[np.float32] | None,
    condition: Condition,
    depth: int,
) -> Candidates:
    """`Index.candidates`, in a table of vectors. Few products that pass the filters are compared one by one, among many
    HNSW finds its way. So the dense ranking is shorter than `depth` only when fewer products pass."""
    connection.exec_driver_sql(_SETTINGS.format("auto" if condition.is_filter else "force_generic_plan"))
    parameters = {**condition.parameters, **common(connection, table).parameters, "query": query}
    if vector is not None:
        parameters["vector"] = literal(vector)
    finder = _Finder(connection, table, condition, depth, parameters, not has_operators(query))
    if vector is None:
        return finder.by_words()
    if condition.is_filter and finder.guess() <= _SURELY_MANY * MAX_EXACT:
        few = finder.exact(at_most=MAX_EXACT)
        if few is not None:
            return few
    found = finder.approximate()
    # It also comes short when the walk was given up, far from products that pass.
    return found if len(found.dense) == depth else finder.exact() or found


def literal(vector: NDArray[np.float32]) -> str:
    """A vector as PostgreSQL reads it. Six decimals are finer than half precision keeps of a unit vector."""
    return msgspec.json.encode(vector.astype(np.float64).round(6).tolist()).decode()


# Read once: a plan that is kept would read it for every row.
_DISTANCE = "v.embedding <#> (SELECT CAST(:vector AS halfvec))"
_WORDS = "SELECT 'text' AS leg, product_id AS found, rank AS score FROM words ORDER BY rank DESC, distance, product_id"


@dataclass(frozen=True)
class _Finder:
    """The statements. `has_parts`, when products that hold a part of the words are asked for where few hold all."""

    connection: Connection
    table: str
    condition: Condition
    depth: int
    parameters: Mapping[str, Any]
    has_parts: bool

    def by_words(self) -> Candidates:
        """Without a vector: full-text matches from the best rank on."""
        words = f"""
            SELECT v.product_id, v.rank, v.product_id AS distance FROM (
                SELECT product_id, {RANK} AS rank FROM {self.table} v WHERE {HAS_TERMS} AND tsv @@ {QUERY}
                ORDER BY rank DESC, product_id
            ) v JOIN products p ON p.id = v.product_id WHERE {self.condition.sql}
            ORDER BY v.rank DESC, v.product_id LIMIT {self.depth}
            """
        return _candidates(self._legs({"words": words}, [_WORDS], nearest="v.product_id"))

    def guess(self) -> int:
        """How many products the planner thinks will pass."""
        statement = f"EXPLAIN (FORMAT JSON) SELECT FROM products p WHERE {self.condition.sql}"
        plan = self.connection.execute(text(statement), self.parameters).scalar_one()
        rows: int = plan[0]["Plan"]["Plan Rows"]
        return rows

    def exact(self, at_most: int | None = None) -> Candidates | None:
        """Compares every product that passes; None when they are more than `at_most`."""
        most, is_few = "ALL", "true"
        if at_most is not None:
            most, is_few = str(at_most + 1), f"(SELECT count(*) FROM passing) <= {at_most}"
        expressions = {
            "passing": f"SELECT p.id FROM products p WHERE {self.condition.sql} LIMIT {most}",
            "compared": f"""
                SELECT v.product_id, {_DISTANCE} AS distance,
                    CASE WHEN {HAS_TERMS} AND v.tsv @@ {QUERY} THEN {RANK} END AS rank
                FROM passing JOIN {self.table} v ON v.product_id = passing.id WHERE {is_few}
                """,
            "words": f"""
                SELECT * FROM compared WHERE rank IS NOT NULL
                ORDER BY rank DESC, distance, product_id LIMIT {self.depth}
                """,
        }
        dense = f"""
            SELECT 'dense' AS leg, product_id AS found, -distance AS score FROM compared
            ORDER BY distance, product_id LIMIT {self.depth}
            """
        many = f"SELECT 'many' AS leg, 0 AS found, 0 AS score WHERE NOT {is_few}"
        legs = self._legs(expressions, [dense, _WORDS, many], is_few)
        return None if legs["many"] else _candidates(legs)

    def approximate(self) -> Candidates:
        """Walks the HNSW graph until enough products passed; full-text matches from the best rank on."""
        passing = _passing(self.condition)
        words = f"""
            SELECT v.product_id, v.rank, v.distance FROM (
                SELECT product_id, {RANK} AS rank, {_DISTANCE} AS distance
                FROM {self.table} v WHERE {HAS_TERMS} AND tsv @@ {QUERY} ORDER BY rank DESC, distance, product_id
            ) v {passing} ORDER BY v.rank DESC, v.distance, v.product_id LIMIT {self.depth}
            """
        # Rows of equal distance are put in order after the walk: within it that takes half as long again.
        dense = f"""
            SELECT 'dense' AS leg, product_id AS found, -distance AS score FROM (
                SELECT v.product_id, {_DISTANCE} AS distance FROM {self.table} v {passing}
                ORDER BY {_DISTANCE} LIMIT {self.depth}
            ) AS nearest ORDER BY distance, product_id
            """
        return _candidates(self._legs({"words": words}, [dense, _WORDS]))

    def _legs(
        self, expressions: Mapping[str, str], selects: Sequence[str], is_few: str = "true", nearest: str = _DISTANCE
    ) -> defaultdict[str, Leg]:
        """What the statements find, by leg, with the one by a part of the words when `is_few`."""
        tables = [f"{name} AS MATERIALIZED ({expression})" for name, expression in expressions.items()]
        if self.has_parts:
            where = f"{self.condition.sql} AND {is_few} AND (SELECT count(*) FROM words) < {FEW}"
            tables.append(partial_terms(self.table))
            selects = [*selects, partial_leg(self.table, where, nearest, self.depth)]
        statement = f"WITH {', '.join(tables)} {' UNION ALL '.join(f'({select})' for select in selects)}"
        found: defaultdict[str, Leg] = defaultdict(dict)
        for leg, product, score in self.connection.execute(text(statement), self.parameters).all():
            found[leg][product] = score
        return found


def _candidates(legs: Mapping[str, Leg]) -> Candidates:
    dense, words, part = (legs.get(name, {}) for name in ("dense", "text", "partial"))
    return Candidates(dense, words, {each: score for each, score in part.items() if each not in words})


def _passing(condition: Condition) -> str:
    """What lets through the rows of `v` whose products pass: by an index of the few that are deleted where nothing else
    is asked of them, since looking up every product takes as long as the walk. OFFSET keeps it from being planned as a
    join, by how many were deleted when somebody last counted."""
    if condition.is_filter:
        return f"JOIN products p ON p.id = v.product_id WHERE {condition.sql}"
    return "WHERE NOT EXISTS (SELECT FROM products p WHERE p.id = v.product_id AND p.deleted_at IS NOT NULL OFFSET 0)"

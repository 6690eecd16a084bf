"""The search index in PostgreSQL: a table of its own for each generation, with a product's vector and its full text.

A row is written for the text that was embedded, known by its hash; whether the product still is live, and all that is
filtered by or shown, is asked of the catalogue at query time. So there is no foreign key: a row that has outlived its
product is never found, and goes with the next vector step.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Row, text

from app.core.errors import DiscoveryNodeError
from app.db.session import Database
from app.vectors.indexes.base import Block, Candidates, Condition, Differences, Entry, Leg, PendingProduct
from app.vectors.indexes.fulltext import HAS_TERMS, QUERY, RANK, TSV, count_phrases, count_words, partial_matches
from app.vectors.indexes.graph import build_graph
from app.vectors.indexes.tracking import GONE, Tracking, facets
from app.vectors.ranking import FEW
from app.vectors.spelling import has_operators

MIN_ROWS_TO_INDEX = 5_000
"""Below this a scan is fast, and a first load is not slowed by index upkeep: 100 times slower than plain rows."""

MAX_EXACT = 10_000
"""Up to so many products that pass the filters are compared one by one; HNSW would have to walk past the others."""

_MIN_VERSION = (0, 8, 2)
# Short queries: compiling them, or starting workers for them, takes longer than running them.
_QUERY_SETTINGS = (
    "SET LOCAL jit = off; SET LOCAL max_parallel_workers_per_gather = 0; "
    "SET LOCAL hnsw.ef_search = 200; SET LOCAL hnsw.iterative_scan = strict_order"
)
# Of the first half of the hash alone; as a range, so that the index on it serves.
_HAS_SAME_TEXT = """t.text_hash BETWEEN substring(p.text_hash FOR 8)
    AND substring(p.text_hash FOR 8) || decode('ffffffffffffffff', 'hex')"""


class PgVectorOutdatedError(DiscoveryNodeError):
    """The server's pgvector is too old to be used safely."""


@dataclass(frozen=True)
class PgVectorIndex(Tracking):
    """The table of one generation."""

    generation_id: int
    dimensions: int

    @property
    def table(self) -> str:
        return f"vectors_{self.generation_id}"

    @property
    def is_in_database(self) -> bool:
        return True

    def create(self, connection: Connection) -> None:
        """Makes the table. Vectors are stored in the row: they are read with every comparison."""
        require_version(connection)
        connection.exec_driver_sql(
            f"""
            CREATE TABLE {self.table} (
                product_id bigint PRIMARY KEY,
                organization_id bigint NOT NULL,
                text_hash bytea NOT NULL,
                embedding halfvec({self.dimensions}) STORAGE PLAIN NOT NULL,
                tsv tsvector NOT NULL
            );
            CREATE INDEX {self.table}_organization ON {self.table} (organization_id, product_id) INCLUDE (text_hash);
            CREATE INDEX {self.table}_text_hash ON {self.table} (text_hash)
            """
        )

    def discard(self) -> None:
        """Nothing is elsewhere."""

    # --- keeping in step with the catalogue ----------------------------------------------------------------------

    def pending(self, connection: Connection, block: Block, limit: int) -> list[PendingProduct]:
        # Row by row along two indexes: any other join would read the whole organization for every batch.
        connection.exec_driver_sql("SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off")
        rows = connection.execute(
            text(f"""
                SELECT p.id, p.text_hash, p.name, p.brand_name, p.description, p.raw,
                    (SELECT t.product_id FROM {self.table} t WHERE {_HAS_SAME_TEXT} LIMIT 1) AS twin
                FROM products p LEFT JOIN {self.table} v ON v.product_id = p.id
                WHERE p.organization_id = :organization AND p.deleted_at IS NULL AND p.id BETWEEN :first AND :last
                    AND p.text_hash IS DISTINCT FROM v.text_hash
                ORDER BY p.id LIMIT :limit
                """),
            {"organization": block.organization_id, "first": block.first, "last": block.last, "limit": limit},
        )
        return [
            PendingProduct(row.id, row.text_hash, row.name, row.brand_name, row.description, facets(row.raw), row.twin)
            for row in rows
        ]

    def send(self, entries: Sequence[Entry]) -> None:
        """Nothing: what is acknowledged is what is written."""

    def acknowledge(self, connection: Connection, entries: Sequence[Entry]) -> int:
        return connection.execute(
            text(f"""
                INSERT INTO {self.table} (product_id, organization_id, text_hash, embedding, tsv)
                SELECT p.id, p.organization_id, b.text_hash,
                    coalesce(CAST(b.vector AS halfvec({self.dimensions})), t.embedding),
                    {TSV}
                FROM unnest(
                    CAST(:ids AS bigint[]), CAST(:hashes AS bytea[]), CAST(:vectors AS text[]),
                    CAST(:twins AS bigint[]), CAST(:facets AS text[])
                ) AS b (id, text_hash, vector, twin, facets)
                CROSS JOIN LATERAL (
                    SELECT * FROM products
                    WHERE id = b.id AND text_hash = b.text_hash AND deleted_at IS NULL LIMIT 1
                ) p
                LEFT JOIN {self.table} t ON t.product_id = b.twin AND {_HAS_SAME_TEXT}
                WHERE b.vector IS NOT NULL OR t.embedding IS NOT NULL
                ORDER BY p.id
                ON CONFLICT (product_id) DO UPDATE
                    SET text_hash = excluded.text_hash, embedding = excluded.embedding, tsv = excluded.tsv
                """),
            {
                "ids": [entry.product.product_id for entry in entries],
                "hashes": [entry.product.text_hash for entry in entries],
                "vectors": [None if entry.vector is None else _literal(entry.vector) for entry in entries],
                "twins": [entry.product.twin for entry in entries],
                "facets": [entry.product.facets for entry in entries],
            },
        ).rowcount

    def erase(self, product_ids: Sequence[int]) -> None:
        """Nothing: what is forgotten is what is taken out."""

    def forget(self, connection: Connection, product_ids: Sequence[int]) -> int:
        return connection.execute(
            text(f"DELETE FROM {self.table} v WHERE product_id = ANY(CAST(:ids AS bigint[])) AND {GONE}"),
            {"ids": product_ids},
        ).rowcount

    def compare(self, database: Database) -> Differences:
        with database.transaction() as connection:
            row = connection.execute(
                text(f"""
                    SELECT array_agg(p.id) FILTER (WHERE v.product_id IS NULL),
                        array_agg(p.id) FILTER (WHERE p.text_hash <> v.text_hash),
                        array_agg(v.product_id) FILTER (WHERE p.id IS NULL)
                    FROM (SELECT id, text_hash FROM products WHERE deleted_at IS NULL) p
                    FULL JOIN {self.table} v ON v.product_id = p.id
                    WHERE p.text_hash IS DISTINCT FROM v.text_hash
                    """)
            ).one()
        return Differences(*(sorted(ids or ()) for ids in row))

    def doubt(self, connection: Connection, differences: Differences) -> None:
        """Nothing: the step compares the same."""

    def traffic(self) -> dict[str, dict[str, int]]:
        return {}

    def ensure_search_structures(self, connection: Connection, min_rows: int = MIN_ROWS_TO_INDEX) -> bool:
        """Builds the indexes of a table that has grown to need them; True when it did. Readers go on, writers wait."""
        connection.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))"), {"name": self.table})
        if self.is_indexed(connection) or not self._has_rows(connection, min_rows):
            return False
        require_version(connection)
        build_graph(connection, self.table, self.dimensions)
        connection.exec_driver_sql(
            f"""
            CREATE INDEX {self.table}_tsv ON {self.table} USING gin (tsv) WITH (fastupdate = off);
            ANALYZE {self.table} (product_id, organization_id, tsv)
            """
        )
        return True

    def is_indexed(self, connection: Connection) -> bool:
        """Whether the indexes are built; without them searching is exact, and slow on a large table."""
        found: bool = connection.exec_driver_sql(f"SELECT to_regclass('{self.table}_hnsw') IS NOT NULL").scalar_one()
        return found

    def _has_rows(self, connection: Connection, number: int) -> bool:
        first = f"SELECT count(*) FROM (SELECT FROM {self.table} LIMIT {number}) AS first"
        count: int = connection.exec_driver_sql(first).scalar_one()
        return count >= number

    # --- finding -------------------------------------------------------------------------------------------------

    def candidates(
        self, connection: Connection, query: str, vector: NDArray[np.float32] | None, condition: Condition, depth: int
    ) -> Candidates:
        """The filters are part of all queries. Few products that pass them are compared one by one, among many HNSW
        finds its way. So the dense ranking is shorter than `depth` only when fewer products pass."""
        connection.exec_driver_sql(_QUERY_SETTINGS)
        parameters = {**condition.parameters, "query": query, "depth": depth}
        if vector is None:
            found = Candidates({}, self._by_words(connection, condition, parameters))
        else:
            parameters["vector"] = _literal(vector)
            found = self._nearest(connection, condition, parameters, depth)
        if len(found.text) >= FEW or has_operators(query):
            return found
        partial = self._by_part(connection, condition, parameters, has_vector=vector is not None)
        return Candidates(
            found.dense, found.text, {each: part for each, part in partial.items() if each not in found.text}
        )

    def count_phrases(self, connection: Connection, phrases: Sequence[str]) -> Mapping[str, int]:
        with _by_index(connection):
            return count_phrases(connection, self.table, phrases)

    def count_words(self, connection: Connection, words: Sequence[str]) -> Mapping[str, int]:
        with _by_index(connection):
            return count_words(connection, self.table, words)

    def _nearest(
        self, connection: Connection, condition: Condition, parameters: Mapping[str, Any], depth: int
    ) -> Candidates:
        if condition.is_filter:
            few = self._exact(connection, condition, parameters, at_most=MAX_EXACT)
            if few is not None:
                return few
        found = self._approximate(connection, condition, parameters)
        # It also comes short when the walk was given up, far from products that pass.
        return found if len(found.dense) == depth else self._exact(connection, condition, parameters) or found

    def _by_words(self, connection: Connection, condition: Condition, parameters: Mapping[str, Any]) -> Leg:
        """Full-text matches from the best rank on."""
        rows = connection.execute(
            text(f"""
                SELECT v.product_id AS found, v.rank AS score FROM (
                    SELECT product_id, {RANK} AS rank FROM {self.table} v WHERE {HAS_TERMS} AND tsv @@ {QUERY}
                    ORDER BY rank DESC, product_id
                ) v JOIN products p ON p.id = v.product_id WHERE {condition.sql}
                ORDER BY v.rank DESC, v.product_id LIMIT :depth
                """),
            parameters,
        )
        return {row.found: row.score for row in rows}

    def _by_part(
        self, connection: Connection, condition: Condition, parameters: Mapping[str, Any], *, has_vector: bool
    ) -> Leg:
        nearest = self._distance if has_vector else "v.product_id"
        with _by_index(connection):
            rows = connection.execute(text(partial_matches(self.table, condition.sql, nearest)), parameters).all()
        return {row.found: row.score for row in rows}

    def _exact(
        self, connection: Connection, condition: Condition, parameters: Mapping[str, Any], at_most: int | None = None
    ) -> Candidates | None:
        """Compares every product that passes; None when they are more than `at_most`."""
        rows = connection.execute(
            text(f"""
                WITH passing AS MATERIALIZED (
                    SELECT p.id FROM products p WHERE {condition.sql} LIMIT CAST(:at_most AS bigint) + 1
                ),
                compared AS MATERIALIZED (
                    SELECT v.product_id, {self._distance} AS distance,
                        CASE WHEN {HAS_TERMS} AND v.tsv @@ {QUERY} THEN {RANK} END AS rank
                    FROM passing JOIN {self.table} v ON v.product_id = passing.id
                    WHERE coalesce((SELECT count(*) FROM passing) <= :at_most, true)
                )
                SELECT 'passing' AS leg, count(*) AS found, 0 AS score FROM passing
                UNION ALL
                (SELECT 'dense', product_id, -distance FROM compared ORDER BY distance, product_id LIMIT :depth)
                UNION ALL
                (SELECT 'text', product_id, rank FROM compared WHERE rank IS NOT NULL
                 ORDER BY rank DESC, distance, product_id LIMIT :depth)
                """),
            {**parameters, "at_most": at_most},
        ).all()
        if at_most is not None and rows[0].found > at_most:
            return None
        return _candidates(rows)

    def _approximate(self, connection: Connection, condition: Condition, parameters: Mapping[str, Any]) -> Candidates:
        """Walks the HNSW graph until enough products passed, and full-text matches from the best rank on."""
        passing = _passing(condition)
        # Rows of equal distance are put in order after the walk: within it that takes half as long again.
        rows = connection.execute(
            text(f"""
                (SELECT 'dense' AS leg, product_id AS found, -distance AS score FROM (
                     SELECT v.product_id, {self._distance} AS distance FROM {self.table} v {passing}
                     ORDER BY {self._distance} LIMIT :depth
                 ) nearest ORDER BY distance, product_id)
                UNION ALL
                (SELECT 'text', v.product_id, v.rank FROM (
                     SELECT product_id, {RANK} AS rank, {self._distance} AS distance
                     FROM {self.table} v WHERE {HAS_TERMS} AND tsv @@ {QUERY}
                     ORDER BY rank DESC, distance, product_id
                 ) v {passing}
                 ORDER BY rank DESC, distance, v.product_id LIMIT :depth)
                """),
            parameters,
        ).all()
        return _candidates(rows)

    @property
    def _distance(self) -> str:
        return f"v.embedding <#> CAST(:vector AS halfvec({self.dimensions}))"


def require_version(connection: Connection) -> None:
    """Raises `PgVectorOutdatedError` when building an index could overflow a buffer (CVE-2026-3172)."""
    version = connection.exec_driver_sql("SELECT extversion FROM pg_extension WHERE extname = 'vector'").scalar_one()
    if tuple(int(part) for part in re.findall(r"\d+", version)) < _MIN_VERSION:
        raise PgVectorOutdatedError(
            f"The database has pgvector {version}, which can crash the server or leak data when it builds an index "
            "(CVE-2026-3172)",
            remedy="Install pgvector 0.8.2 or newer, and run `ALTER EXTENSION vector UPDATE` in the database.",
        )


@contextmanager
def _by_index(connection: Connection) -> Iterator[None]:
    """For the sake of their limits, the planner would rather read the table for words than its index."""
    connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
    yield
    connection.exec_driver_sql("SET LOCAL enable_seqscan = on")


def _passing(condition: Condition) -> str:
    """What lets through the rows of `v` whose products pass: by an index of the few that are deleted where nothing else
    is asked of them, since looking up every product takes as long as the walk."""
    if condition.is_filter:
        return f"JOIN products p ON p.id = v.product_id WHERE {condition.sql}"
    return "WHERE NOT EXISTS (SELECT FROM products p WHERE p.id = v.product_id AND p.deleted_at IS NOT NULL)"


def _candidates(rows: Sequence[Row[Any]]) -> Candidates:
    """The legs that the rows name."""
    legs: defaultdict[str, Leg] = defaultdict(dict)
    for row in rows:
        legs[row.leg][row.found] = row.score
    return Candidates(legs["dense"], legs["text"])


def _literal(vector: NDArray[np.float32]) -> str:
    """A vector as PostgreSQL reads it. Six decimals are finer than half precision keeps of a unit vector."""
    return msgspec.json.encode(vector.astype(np.float64).round(6).tolist()).decode()

"""The search index in PostgreSQL: a table of its own for each generation, with a product's vector and its full text.

A row is written for the text that was embedded, known by its hash; whether the product still is live, and all that is
filtered by or shown, is asked of the catalogue at query time. So there is no foreign key: a row that has outlived its
product is never found, and goes with the next vector step.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, text

from app.core.errors import DiscoveryNodeError
from app.db.session import Database
from app.vectors.indexes.base import Block, Candidates, Condition, Differences, Entry, PendingProduct
from app.vectors.indexes.finding import find, literal
from app.vectors.indexes.fulltext import TSV, count_phrases, count_words
from app.vectors.indexes.graph import build_graph
from app.vectors.indexes.tracking import GONE, HAS_SAME_TEXT, Tracking, facets

MIN_ROWS_TO_INDEX = 5_000
"""Below this a scan is fast, and a first load is not slowed by index upkeep: 100 times slower than plain rows."""

_MIN_VERSION = (0, 8, 2)


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
                    (SELECT t.product_id FROM {self.table} t WHERE {HAS_SAME_TEXT} LIMIT 1) AS twin
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

    def outdated_facts(self, connection: Connection, block: Block, limit: int) -> list[PendingProduct]:
        return []

    def release(self, connection: Connection, products: Sequence[PendingProduct]) -> None:
        """Nothing: what is pending is not marked."""

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
                LEFT JOIN {self.table} t ON t.product_id = b.twin AND {HAS_SAME_TEXT}
                WHERE b.vector IS NOT NULL OR t.embedding IS NOT NULL
                ORDER BY p.id
                ON CONFLICT (product_id) DO UPDATE
                    SET text_hash = excluded.text_hash, embedding = excluded.embedding, tsv = excluded.tsv
                """),
            {
                "ids": [entry.product.product_id for entry in entries],
                "hashes": [entry.product.text_hash for entry in entries],
                "vectors": [None if entry.vector is None else literal(entry.vector) for entry in entries],
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
        missing, stale, surplus = (sorted(ids or ()) for ids in row)
        return Differences(missing, stale, surplus)

    def doubt(self, connection: Connection, differences: Differences) -> None:
        """Nothing: the step compares the same."""

    def ensure_search_structures(self, connection: Connection, min_rows: int = MIN_ROWS_TO_INDEX) -> bool:
        """Builds the indexes of a table that has grown to need them, and gathers what a search is planned by: on a
        server that runs but for a while, nobody else does. True when it did. Readers go on, writers wait."""
        connection.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))"), {"name": self.table})
        if self.is_indexed(connection) or not self._has_rows(connection, min_rows):
            return False
        require_version(connection)
        build_graph(connection, self.table, self.dimensions)
        connection.exec_driver_sql(
            f"""
            CREATE INDEX {self.table}_tsv ON {self.table} USING gin (tsv) WITH (fastupdate = off);
            ANALYZE {self.table} (product_id, organization_id, tsv);
            ANALYZE products (id, organization_id, brand_id, category_id, group_id, brand_name, deleted_at);
            ANALYZE offers (product_id, price, currency, availability)
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
        return find(connection, self.table, query, vector, condition, depth)

    def count_phrases(self, connection: Connection, phrases: Sequence[str]) -> Mapping[str, int]:
        return count_phrases(connection, self.table, phrases)

    def count_words(self, connection: Connection, words: Sequence[str]) -> Mapping[str, int]:
        return count_words(connection, self.table, words)


def require_version(connection: Connection) -> None:
    """Raises `PgVectorOutdatedError` when building an index could overflow a buffer (CVE-2026-3172)."""
    version = connection.exec_driver_sql("SELECT extversion FROM pg_extension WHERE extname = 'vector'").scalar_one()
    if tuple(int(part) for part in re.findall(r"\d+", version)) < _MIN_VERSION:
        raise PgVectorOutdatedError(
            f"The database has pgvector {version}, which can crash the server or leak data when it builds an index "
            "(CVE-2026-3172)",
            remedy="Install pgvector 0.8.2 or newer, and run `ALTER EXTENSION vector UPDATE` in the database.",
        )

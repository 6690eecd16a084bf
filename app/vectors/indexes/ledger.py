"""What an index that is not in the database has acknowledged, product by product.

A row is there before a product is sent, and empty until that is acknowledged: whatever gets to the index is known of
here, and what is not known to have arrived is pending. Each batch marks its rows with a claim. When an acknowledgement
finds another batch's claim, both sent the product, and nobody knows which arrived last: it becomes pending again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import ClassVar
from uuid import UUID, uuid4

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, text

from app.vectors.indexes.base import Block, Differences, PendingProduct
from app.vectors.indexes.pinecone.metadata import (
    PRODUCT,
    Metadata,
    OfferFacts,
    ProductFacts,
    metadata_hash,
    product_metadata,
)
from app.vectors.indexes.tracking import HAS_SAME_TEXT, Tracking, facets

_RECIPE = 1  # raise it whenever other metadata is made of the same product


@dataclass(frozen=True, kw_only=True)
class PendingRecord(PendingProduct):
    """A pending product with all that is sent of it. `state` is that of the catalogue, or an earlier one; its words and
    its metadata may be as they were acknowledged. `vector` is that of a twin that is another product."""

    organization_id: int
    claim: UUID
    state: bytes
    metadata: Metadata
    has_new_metadata: bool
    has_new_words: bool
    vector: NDArray[np.float32] | None = field(default=None, compare=False)

    @property
    def has_new_text(self) -> bool:
        """Whether its vector is another than it was."""
        return self.twin != self.product_id

    @property
    def words(self) -> str:
        """All that is searched of it, what is embedded first."""
        return f"{self.text}\n{self.facets}".strip()


@dataclass(frozen=True)
class Ledger(Tracking):
    """The table of one generation."""

    generation_id: int

    PRODUCTS: ClassVar[str] = "products p LEFT JOIN brands b ON b.id = p.brand_id"
    # All that metadata is made of, without a look at offers and categories: the content's hash stands for those.
    STATE: ClassVar[str] = f"""p.text_hash || decode(md5(concat_ws('|', {_RECIPE}, encode(p.content_hash, 'hex'),
        coalesce(p.brand_id, 0), coalesce(p.category_id, 0), b.name, b.urn)), 'hex')"""
    KEPT: ClassVar[str] = "state"

    @property
    def table(self) -> str:
        return f"acknowledged_{self.generation_id}"

    def create(self, connection: Connection) -> None:
        connection.exec_driver_sql(
            f"""
            CREATE TABLE {self.table} (
                product_id bigint PRIMARY KEY,
                organization_id bigint NOT NULL,
                text_hash bytea,
                metadata_hash bytea,
                state bytea,
                claim uuid
            );
            CREATE INDEX {self.table}_organization ON {self.table} (organization_id, product_id) INCLUDE (state);
            CREATE INDEX {self.table}_text_hash ON {self.table} (text_hash)
            """
        )

    def pending(self, connection: Connection, block: Block, limit: int) -> list[PendingProduct]:
        """Claims what it returns."""
        connection.exec_driver_sql("SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off")
        rows = connection.execute(
            text(f"""
                SELECT p.id, p.text_hash, p.name, p.brand_name, p.description, p.raw, {self.STATE} AS state,
                    v.metadata_hash, v.text_hash IS DISTINCT FROM p.text_hash AS has_new_words,
                    CASE WHEN substring(v.text_hash FOR 8) = substring(p.text_hash FOR 8) THEN p.id
                        ELSE (SELECT t.product_id FROM {self.table} t WHERE {HAS_SAME_TEXT} LIMIT 1) END AS twin
                FROM {self.PRODUCTS} LEFT JOIN {self.table} v ON v.product_id = p.id
                WHERE p.organization_id = :organization AND p.deleted_at IS NULL AND p.id BETWEEN :first AND :last
                    AND {self.STATE} IS DISTINCT FROM v.state
                ORDER BY p.id LIMIT :limit
                """),
            {"organization": block.organization_id, "first": block.first, "last": block.last, "limit": limit},
        ).all()
        claim = uuid4()
        ids = [row.id for row in rows]
        self._claim(connection, block.organization_id, ids, claim)
        # Read after the state: what changes between the two is then pending again.
        facts = product_facts(connection, ids)
        products: list[PendingProduct] = []
        for row in rows:
            metadata = described(row.id, facts[row.id], row.text_hash)
            products.append(
                PendingRecord(
                    product_id=row.id,
                    text_hash=row.text_hash,
                    name=row.name,
                    brand_name=row.brand_name,
                    description=row.description,
                    facets=facets(row.raw),
                    twin=row.twin,
                    organization_id=block.organization_id,
                    claim=claim,
                    state=row.state,
                    metadata=metadata,
                    has_new_metadata=metadata_hash(metadata) != row.metadata_hash,
                    has_new_words=row.has_new_words,
                )
            )
        return products

    def acknowledge(self, connection: Connection, records: Sequence[PendingRecord]) -> int:
        """Returns how many are known to be in as they were sent."""
        ids = [each.product_id for each in records]
        self._lock(connection, ids)
        rows = connection.execute(
            text(f"""
                UPDATE {self.table} v SET
                    text_hash = CASE WHEN v.claim = r.claim THEN r.text_hash END,
                    metadata_hash = CASE WHEN v.claim = r.claim THEN r.metadata_hash END,
                    state = CASE WHEN v.claim = r.claim THEN r.state END,
                    claim = NULL
                FROM unnest(CAST(:ids AS bigint[]), CAST(:texts AS bytea[]), CAST(:metadata AS bytea[]),
                    CAST(:states AS bytea[]), CAST(:claims AS uuid[])) AS r (id, text_hash, metadata_hash, state, claim)
                WHERE v.product_id = r.id RETURNING v.product_id, v.state IS NOT NULL AS is_known
                """),
            {
                "ids": ids,
                "texts": [each.text_hash for each in records],
                "metadata": [metadata_hash(each.metadata) for each in records],
                "states": [each.state for each in records],
                "claims": [each.claim for each in records],
            },
        ).all()
        self._note_forgotten(connection, records, {row.product_id for row in rows})
        return sum(row.is_known for row in rows)

    def _lock(self, connection: Connection, ids: Sequence[int]) -> None:
        """In the order that all take."""
        query = (
            f"SELECT FROM {self.table} WHERE product_id = ANY(CAST(:ids AS bigint[])) ORDER BY product_id FOR UPDATE"
        )
        connection.execute(text(query), {"ids": ids})

    def _note_forgotten(self, connection: Connection, records: Sequence[PendingRecord], kept: set[int]) -> None:
        """What was forgotten while it was sent may be there or not."""
        for each in records:
            if each.product_id not in kept:
                self._claim(connection, each.organization_id, [each.product_id], each.claim)

    def forget(self, connection: Connection, product_ids: Sequence[int]) -> int:
        """Whether a product came back meanwhile or not: then it is pending, as it was erased, perhaps."""
        return connection.execute(
            text(f"DELETE FROM {self.table} WHERE product_id = ANY(CAST(:ids AS bigint[]))"), {"ids": product_ids}
        ).rowcount

    def doubt(self, connection: Connection, differences: Differences) -> None:
        """What is missing or stale is not known to be in; what is surplus is known of, so that it is erased."""
        connection.execute(
            text(f"""
                INSERT INTO {self.table} (product_id, organization_id)
                SELECT d.id, coalesce(p.organization_id, 0)
                FROM unnest(CAST(:ids AS bigint[])) AS d (id) LEFT JOIN products p ON p.id = d.id ORDER BY d.id
                ON CONFLICT (product_id) DO UPDATE SET text_hash = NULL, metadata_hash = NULL, state = NULL
                """),
            {"ids": [*differences.missing, *differences.stale, *differences.surplus]},
        )

    def _claim(self, connection: Connection, organization_id: int, ids: Sequence[int], claim: UUID) -> None:
        connection.execute(
            text(f"""
                INSERT INTO {self.table} (product_id, organization_id, claim)
                SELECT id, :organization, :claim FROM unnest(CAST(:ids AS bigint[])) AS r (id) ORDER BY id
                ON CONFLICT (product_id) DO UPDATE
                    SET claim = excluded.claim, text_hash = NULL, metadata_hash = NULL, state = NULL
                """),
            {"organization": organization_id, "claim": claim, "ids": ids},
        )


def product_facts(connection: Connection, product_ids: Sequence[int]) -> dict[int, ProductFacts]:
    """What live products are filtered by, by id."""
    rows = connection.execute(_FACTS, {"ids": product_ids})
    return {
        row.id: ProductFacts(
            organization_urn=row.organization,
            brand_names=[name for name in (row.brand_name, row.brand) if name is not None],
            brand_urn=row.brand_urn,
            category_path=row.category,
            offers=[
                OfferFacts(Decimal(price), currency, availability) for price, currency, availability in row.offers or ()
            ],
        )
        for row in rows
    }


def described(product_id: int, facts: ProductFacts, text_hash: bytes) -> Metadata:
    """The metadata of a product's record."""
    return product_metadata(facts, text_hash) | {PRODUCT: record_id(product_id)}


def record_id(product: int) -> str:
    return str(product)


def product_id(record: str) -> int:
    return int(record)


def texts(connection: Connection, product_ids: Sequence[int]) -> Mapping[int, bytes]:
    """The text hashes of those that are live."""
    rows = connection.execute(
        text("SELECT id, text_hash FROM products WHERE id = ANY(CAST(:ids AS bigint[])) AND deleted_at IS NULL"),
        {"ids": product_ids},
    )
    return {row.id: row.text_hash for row in rows}


# Prices as text: JSON's numbers would be read as floats.
_FACTS = text("""
    SELECT p.id, g.urn AS organization, p.brand_name, b.name AS brand, b.urn AS brand_urn, c.path AS category,
        (SELECT json_agg(json_build_array(o.price::text, o.currency, o.availability) ORDER BY o.ordinal)
         FROM offers o WHERE o.product_id = p.id) AS offers
    FROM products p
    JOIN organizations g ON g.id = p.organization_id
    LEFT JOIN brands b ON b.id = p.brand_id
    LEFT JOIN categories c ON c.id = p.category_id
    WHERE p.id = ANY(CAST(:ids AS bigint[]))
    """)

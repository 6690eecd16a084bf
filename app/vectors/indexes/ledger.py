"""What an index that is not in the database has acknowledged, product by product.

A row is there before a product is sent, and empty but for the text that it stays with until that is acknowledged:
whatever gets to the index is known of here, and what is not known to have arrived is pending. Each batch marks its rows
with a claim. When an acknowledgement finds another batch's claim, both sent the product, and nobody knows which arrived
last: it becomes pending again.

A product whose text cannot be put in keeps the one that is in the index, and is pending; of its state the row then has
the part that tells of its facts, once these have arrived.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, ClassVar
from uuid import UUID, uuid4

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Row, text

from app.cmp.text import embedded_hash
from app.vectors.indexes.base import Block, Differences, PendingProduct
from app.vectors.indexes.pinecone.metadata import (
    PRODUCT,
    TEXT_HASH,
    Metadata,
    OfferFacts,
    ProductFacts,
    metadata_hash,
    product_metadata,
)
from app.vectors.indexes.tracking import HAS_SAME_TEXT, Tracking, facets

_UNKNOWN = b""  # the hash of a text that may be there or not
_RECIPE = 1  # raise it whenever other metadata is made of the same product


@dataclass(frozen=True)
class Acknowledged:
    """What a row says is in the index; nothing before the first acknowledgement."""

    text_hash: bytes | None = None
    metadata_hash: bytes | None = None
    state: bytes | None = None

    def is_of(self, text_hash: bytes) -> bool:
        """Whether the text that is embedded is the same."""
        return self.text_hash is not None and embedded_hash(self.text_hash) == embedded_hash(text_hash)


@dataclass(frozen=True, kw_only=True)
class PendingRecord(PendingProduct):
    """A pending product with all that is sent of it. `state` is that of the catalogue, or an earlier one; its words and
    its metadata may be as they were acknowledged `before`. `vector` is that of a twin that is another product."""

    organization_id: int
    claim: UUID
    before: Acknowledged
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
    FACTS: ClassVar[str] = f"""decode(md5(concat_ws('|', {_RECIPE}, encode(p.content_hash, 'hex'),
        coalesce(p.brand_id, 0), coalesce(p.category_id, 0), b.name, b.urn)), 'hex')"""
    STATE: ClassVar[str] = f"p.text_hash || {FACTS}"
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
        which = f"LEFT JOIN {self.table} v ON v.product_id = p.id WHERE {self.STATE} IS DISTINCT FROM v.state"
        rows = self._rows(connection, block, limit, which)
        before = self._lock(connection, [row.id for row in rows])
        claim = self._claim(connection, block.organization_id, {row.id: row.text_hash for row in rows})
        # Read after the state: what changes between the two is then pending again.
        facts = product_facts(connection, [row.id for row in rows])
        return [
            _record(
                row, block, claim, before.get(row.id, Acknowledged()), described(row.id, facts[row.id], row.text_hash)
            )
            for row in rows
        ]

    def outdated_facts(self, connection: Connection, block: Block, limit: int) -> list[PendingProduct]:
        """As records that stay with the text that they have, if they are there. Claims what it returns."""
        which = f"""JOIN {self.table} v ON v.product_id = p.id
            WHERE {self.STATE} IS DISTINCT FROM v.state AND {self.FACTS} IS DISTINCT FROM v.state"""
        rows = self._rows(connection, block, limit, which)
        before = self._lock(connection, [row.id for row in rows])
        kept = {each: known.text_hash or _UNKNOWN for each, known in before.items()}
        claim = self._claim(connection, block.organization_id, kept)
        facts = product_facts(connection, list(kept))
        products: list[PendingProduct] = []
        for row in rows:
            if row.id in kept:  # else forgotten meanwhile
                metadata = described(row.id, facts[row.id], kept[row.id])
                del metadata[TEXT_HASH]
                record = _record(row, block, claim, before[row.id], metadata)
                state = row.state if kept[row.id] == row.text_hash else row.facts
                products.append(replace(record, text_hash=kept[row.id], twin=row.id, state=state, has_new_words=False))
        return products

    def _rows(self, connection: Connection, block: Block, limit: int, which: str) -> Sequence[Row[tuple[Any, ...]]]:
        """Products of a block, chosen by their rows `v`; a twin is another product."""
        connection.exec_driver_sql("SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off")
        return connection.execute(
            text(f"""
                SELECT p.id, p.text_hash, p.name, p.brand_name, p.description, p.raw,
                    {self.STATE} AS state, {self.FACTS} AS facts,
                    (SELECT t.product_id FROM {self.table} t WHERE {HAS_SAME_TEXT} AND t.product_id <> p.id LIMIT 1)
                        AS twin
                FROM {self.PRODUCTS} {which}
                    AND p.organization_id = :organization AND p.deleted_at IS NULL AND p.id BETWEEN :first AND :last
                ORDER BY p.id LIMIT :limit
                """),
            {"organization": block.organization_id, "first": block.first, "last": block.last, "limit": limit},
        ).all()

    def acknowledge(self, connection: Connection, records: Sequence[PendingRecord]) -> int:
        """Returns how many are known to be in as they were sent."""
        ids = [each.product_id for each in records]
        self._lock(connection, ids)
        rows = connection.execute(
            text(f"""
                UPDATE {self.table} v SET
                    text_hash = CASE WHEN v.claim = r.claim AND r.text_hash <> '' THEN r.text_hash END,
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

    def release(self, connection: Connection, records: Sequence[PendingRecord]) -> None:
        """Where nobody else has claimed one since."""
        ids = [each.product_id for each in records]
        self._lock(connection, ids)
        connection.execute(
            text(f"""
                UPDATE {self.table} v
                SET text_hash = r.text_hash, metadata_hash = r.metadata_hash, state = r.state, claim = NULL
                FROM unnest(CAST(:ids AS bigint[]), CAST(:texts AS bytea[]), CAST(:metadata AS bytea[]),
                    CAST(:states AS bytea[]), CAST(:claims AS uuid[])) AS r (id, text_hash, metadata_hash, state, claim)
                WHERE v.product_id = r.id AND v.claim = r.claim
                """),
            {
                "ids": ids,
                "texts": [each.before.text_hash for each in records],
                "metadata": [each.before.metadata_hash for each in records],
                "states": [each.before.state for each in records],
                "claims": [each.claim for each in records],
            },
        )

    def _lock(self, connection: Connection, ids: Sequence[int]) -> dict[int, Acknowledged]:
        """In the order that all take; returns what the rows say."""
        query = f"""
            SELECT product_id, text_hash, metadata_hash, state FROM {self.table}
            WHERE product_id = ANY(CAST(:ids AS bigint[])) ORDER BY product_id FOR UPDATE
            """
        return {row[0]: Acknowledged(*row[1:]) for row in connection.execute(text(query), {"ids": ids})}

    def _note_forgotten(self, connection: Connection, records: Sequence[PendingRecord], kept: set[int]) -> None:
        """What was forgotten while it was sent may be there or not."""
        for each in records:
            if each.product_id not in kept:
                self._claim(connection, each.organization_id, {each.product_id: each.text_hash})

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

    def _claim(self, connection: Connection, organization_id: int, text_hashes: Mapping[int, bytes]) -> UUID:
        """Of products that are about to have those texts. Of the text that was acknowledged it stays known what is the
        same: that is in the index whatever becomes of this."""
        claim = uuid4()
        sent = {"ids": list(text_hashes), "texts": list(text_hashes.values())}
        connection.execute(
            text(f"""
                INSERT INTO {self.table} (product_id, organization_id, claim)
                SELECT id, :organization, :claim FROM unnest(CAST(:ids AS bigint[])) AS r (id) ORDER BY id
                ON CONFLICT (product_id) DO UPDATE SET claim = excluded.claim, metadata_hash = NULL, state = NULL
                """),
            {"organization": organization_id, "claim": claim, "ids": sent["ids"]},
        )
        connection.execute(
            text(f"""
                UPDATE {self.table} v SET text_hash = CASE substring(v.text_hash FOR 8)
                    WHEN substring(r.text_hash FOR 8) THEN substring(r.text_hash FOR 8) END
                FROM unnest(CAST(:ids AS bigint[]), CAST(:texts AS bytea[])) AS r (id, text_hash)
                WHERE v.product_id = r.id AND v.text_hash <> r.text_hash
                """),
            sent,
        )
        return claim


def _record(
    row: Row[tuple[Any, ...]], block: Block, claim: UUID, before: Acknowledged, metadata: Metadata
) -> PendingRecord:
    """With the text of the catalogue."""
    return PendingRecord(
        product_id=row.id,
        text_hash=row.text_hash,
        name=row.name,
        brand_name=row.brand_name,
        description=row.description,
        facets=facets(row.raw),
        twin=row.id if before.is_of(row.text_hash) else row.twin,
        organization_id=block.organization_id,
        claim=claim,
        before=before,
        state=row.state,
        metadata=metadata,
        has_new_metadata=metadata_hash(metadata) != before.metadata_hash,
        has_new_words=row.text_hash != before.text_hash,
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


def text_hashes(connection: Connection, product_ids: Sequence[int]) -> Mapping[int, bytes]:
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

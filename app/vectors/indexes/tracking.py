"""How far what an index holds is from the catalogue: what every index asks of the table that it keeps of it."""

from collections.abc import Sequence
from typing import ClassVar

import zstandard
from sqlalchemy import Connection, text

from app.cmp.items import facets_of
from app.vectors.indexes.base import Block, Outdated, PendingProduct

GONE = "NOT EXISTS (SELECT FROM products p WHERE p.id = v.product_id AND p.deleted_at IS NULL)"

# Of the first half of the hash alone; as a range, so that the index on it serves.
HAS_SAME_TEXT = """t.text_hash BETWEEN substring(p.text_hash FOR 8)
    AND substring(p.text_hash FOR 8) || decode('ffffffffffffffff', 'hex')"""


class Tracking:
    """Compares live products with the rows, called `v`, of a table with their `product_id` and `organization_id`.

    A product is pending unless its state, which SQL makes of what `PRODUCTS` joins, is the one that the row keeps.
    """

    PRODUCTS: ClassVar[str] = "products p"
    STATE: ClassVar[str] = "p.text_hash"
    KEPT: ClassVar[str] = "text_hash"

    @property
    def table(self) -> str:
        raise NotImplementedError

    def outdated(self, connection: Connection, organization_ids: Sequence[int] | None) -> list[Outdated]:
        """One statement; where the state is the text alone, from two indexes alone."""
        rows = connection.execute(
            text(f"""
                SELECT organization_id, count(p.id) AS pending, count(*) - count(p.id) AS vanished
                FROM (
                    SELECT p.organization_id, p.id, {self.STATE} AS state FROM {self.PRODUCTS}
                    WHERE p.deleted_at IS NULL AND {_among("p.organization_id", organization_ids)}
                ) p
                FULL JOIN (
                    SELECT organization_id, product_id AS id, {self.KEPT} AS state FROM {self.table}
                    WHERE {_among("organization_id", organization_ids)}
                ) v USING (organization_id, id)
                WHERE p.id IS NULL OR p.state IS DISTINCT FROM v.state
                GROUP BY organization_id ORDER BY organization_id
                """),
            {"organizations": organization_ids},
        )
        return [Outdated(*row) for row in rows]

    def lag(self, connection: Connection) -> tuple[int, float]:
        """Where the state is the text alone, from two indexes, and a look at 10,000 of the products found: of more,
        which only a first load leaves, some."""
        row = connection.exec_driver_sql(
            f"""
            WITH pending AS MATERIALIZED (
                SELECT p.id FROM {self.PRODUCTS} LEFT JOIN {self.table} v ON v.organization_id = p.organization_id
                    AND v.product_id = p.id AND v.{self.KEPT} = {self.STATE}
                WHERE p.deleted_at IS NULL AND v.product_id IS NULL
            )
            SELECT (SELECT count(*) FROM pending),
                CAST(coalesce(extract(epoch FROM clock_timestamp() - min(p.updated_at)), 0) AS float8)
            FROM (SELECT id FROM pending LIMIT 10000) looked_at JOIN products p USING (id)
            """
        ).one()
        return row[0], row[1]

    def blocks(self, connection: Connection, organization_ids: Sequence[int] | None, size: int) -> list[Block]:
        rows = connection.execute(
            text(f"""
                SELECT organization_id, min(id), max(id) FROM (
                    SELECT p.organization_id, p.id,
                        (row_number() OVER (PARTITION BY p.organization_id ORDER BY p.id) - 1) / :size AS block
                    FROM {self.PRODUCTS} LEFT JOIN {self.table} v ON v.product_id = p.id
                    WHERE p.deleted_at IS NULL AND {_among("p.organization_id", organization_ids)}
                        AND {self.STATE} IS DISTINCT FROM v.{self.KEPT}
                ) AS pending GROUP BY organization_id, block ORDER BY organization_id, block
                """),
            {"organizations": organization_ids, "size": size},
        )
        return [Block(*row) for row in rows]

    def vanished(self, connection: Connection, organization_ids: Sequence[int], limit: int) -> list[int]:
        rows = connection.execute(
            text(f"""
                SELECT v.product_id FROM {self.table} v WHERE {_among("organization_id", organization_ids)}
                    AND {GONE} ORDER BY v.product_id LIMIT :limit
                """),
            {"organizations": organization_ids, "limit": limit},
        )
        return list(rows.scalars())

    def resolve(self, products: Sequence[PendingProduct]) -> Sequence[PendingProduct]:
        """As they are: twins are in the same table."""
        return products

    def count(self, connection: Connection) -> int:
        count: int = connection.exec_driver_sql(f"SELECT count(text_hash) FROM {self.table}").scalar_one()
        return count

    def drop(self, connection: Connection) -> None:
        connection.exec_driver_sql(f"DROP TABLE IF EXISTS {self.table}")


def facets(raw: bytes) -> str:
    """What is searched of a product besides its texts, from the item as it is kept."""
    return facets_of(zstandard.decompress(raw))


def _among(column: str, organization_ids: Sequence[int] | None) -> str:
    return "true" if organization_ids is None else f"{column} = ANY(CAST(:organizations AS bigint[]))"

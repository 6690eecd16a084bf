"""The staging tables of one run: what was read of a publication, until one merge brings it into the catalogue.

They are UNLOGGED, so a crash of PostgreSQL empties them; each shard has a marker with its row counts, written in the
transaction of its rows, and the merge trusts no shard whose marker and rows do not agree.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from psycopg.types.json import Jsonb
from sqlalchemy import Connection, text

from app.db.session import driver_connection

# One row each, in the order of the columns below.
ItemRow = tuple[
    int, int, bytes | None, str | None, str, str | None, str | None, str | None, str | None, list[str], str | None,
    str | None, list[str], bytes,
]  # fmt: skip
OfferRow = tuple[int, int, int, Decimal, str, str | None, int | None, datetime | None, str | None]
OccurrenceRow = tuple[
    int, int, int, str | None, bytes, bytes | None, int, int, Jsonb | None, bool, str | None, str | None, str | None,
    str | None,
]  # fmt: skip
IssueRow = tuple[str | None, str, str, int | None, str, str, str | None, int, Jsonb]

_COLUMNS: dict[str, dict[str, str]] = {
    # What is wide, of decoded items; all else of them stands in their occurrence.
    "items": {
        "shard": "int4", "position": "int4", "text_hash": "bytea", "sku": "text", "name": "text",
        "description": "text", "url": "text", "image": "text", "brand_name": "text", "gtins": "text[]", "mpn": "text",
        "product_group_id": "text", "varies_by": "text[]", "raw": "bytea",
    },
    "offers": {
        "shard": "int4", "position": "int4", "ordinal": "int2", "price": "numeric", "currency": "text",
        "availability": "text", "inventory": "int8", "valid_until": "timestamptz", "url": "text",
    },
    "occurrences": {
        "shard": "int4", "position": "int4", "kind": "int2", "urn": "text", "item_hash": "bytea",
        "content_hash": "bytea", "offers": "int4", "offers_rejected": "int4", "issues": "jsonb", "decoded": "bool",
        "brand_urn": "text", "brand_name": "text", "category": "text", "group_urn": "text",
    },
    "issues": {
        "shard": "text", "severity": "text", "code": "text", "position": "int4", "path": "text", "message": "text",
        "value": "text", "count": "int4", "places": "jsonb",
    },
    "shards": {
        "shard": "int4", "bytes_hash": "bytea", "item_rows": "int4", "offer_rows": "int4", "occurrence_rows": "int4",
        "counts": "jsonb",
    },
}  # fmt: skip
_IDENTIFIERS = {"urn", "sku", "brand_urn", "category", "group_urn"}


@dataclass
class Batch:
    """Rows of one shard on their way into staging."""

    items: list[ItemRow]
    offers: list[OfferRow]
    occurrences: list[OccurrenceRow]
    issues: list[IssueRow]

    @classmethod
    def empty(cls) -> "Batch":
        return cls([], [], [], [])


@dataclass(frozen=True)
class Marker:
    """What stands of a shard in staging: the SHA-256 of its bytes, its rows of items, offers and occurrences, and what
    the whole shard holds."""

    bytes_hash: bytes
    rows: tuple[int, int, int]
    counts: dict[str, int]


@dataclass(frozen=True)
class StagingTables:
    """The names of a run's staging tables, and what is done to them."""

    run_id: UUID

    def name(self, table: str) -> str:
        return f"staging.{table}_{self.run_id.hex}"

    def create(self, connection: Connection) -> None:
        """Makes the tables that are not there yet."""
        for table, columns in _COLUMNS.items():
            definition = ", ".join(f"{name} {_definition(name, kind)}" for name, kind in columns.items())
            connection.exec_driver_sql(
                f"CREATE UNLOGGED TABLE IF NOT EXISTS {self.name(table)} ({definition}) WITH (autovacuum_enabled = off)"
            )
        # Compressed already: PostgreSQL need not try.
        connection.exec_driver_sql(f"ALTER TABLE {self.name('items')} ALTER raw SET STORAGE EXTERNAL")

    def drop(self, connection: Connection) -> None:
        for table in _COLUMNS:
            connection.exec_driver_sql(f"DROP TABLE IF EXISTS {self.name(table)}")

    def clear(self, connection: Connection) -> None:
        """Empties the tables."""
        for table in _COLUMNS:
            connection.exec_driver_sql(f"TRUNCATE {self.name(table)}")

    def write(self, connection: Connection, batch: Batch) -> None:
        """Copies a batch in."""
        self._copy(connection, "items", batch.items)
        self._copy(connection, "offers", batch.offers)
        self._copy(connection, "occurrences", batch.occurrences)
        self._copy(connection, "issues", batch.issues)

    def forget(self, connection: Connection, shard: int, url: str) -> None:
        """Removes what is staged of a shard."""
        for table in ("items", "offers", "occurrences", "shards"):
            connection.execute(text(f"DELETE FROM {self.name(table)} WHERE shard = :shard"), {"shard": shard})
        connection.execute(text(f"DELETE FROM {self.name('issues')} WHERE shard = :url"), {"url": url})

    def mark(self, connection: Connection, shard: int, marker: Marker) -> None:
        """Writes a shard's marker."""
        items, offers, occurrences = marker.rows
        connection.execute(
            text(f"INSERT INTO {self.name('shards')} VALUES (:shard, :hash, :items, :offers, :occurrences, :counts)"),
            {
                "shard": shard, "hash": marker.bytes_hash, "items": items, "offers": offers,
                "occurrences": occurrences, "counts": Jsonb(marker.counts),
            },
        )  # fmt: skip

    def markers(self, connection: Connection) -> dict[int, Marker]:
        """The markers of the shards that are staged, by ordinal."""
        rows = connection.execute(text(f"SELECT * FROM {self.name('shards')}"))
        return {
            row.shard: Marker(row.bytes_hash, (row.item_rows, row.offer_rows, row.occurrence_rows), row.counts)
            for row in rows
        }

    def incomplete(self, connection: Connection, shards: Sequence[int]) -> list[int]:
        """Which of `shards` are not there whole."""
        rows = connection.execute(
            text(f"""
                SELECT wanted.shard FROM unnest(CAST(:shards AS int[])) wanted (shard)
                LEFT JOIN {self.name("shards")} marker USING (shard)
                LEFT JOIN (SELECT shard, count(*) AS n FROM {self.name("items")} GROUP BY shard) i USING (shard)
                LEFT JOIN (SELECT shard, count(*) AS n FROM {self.name("offers")} GROUP BY shard) f USING (shard)
                LEFT JOIN (SELECT shard, count(*) AS n FROM {self.name("occurrences")} GROUP BY shard) o USING (shard)
                WHERE marker.shard IS NULL OR marker.item_rows <> coalesce(i.n, 0)
                    OR marker.offer_rows <> coalesce(f.n, 0) OR marker.occurrence_rows <> coalesce(o.n, 0)
                """),
            {"shards": list(shards)},
        )
        return [row.shard for row in rows]

    def category_paths(self, connection: Connection) -> list[str]:
        """The categories that staged items name."""
        rows = connection.execute(
            text(f"SELECT DISTINCT category FROM {self.name('occurrences')} WHERE category IS NOT NULL")
        )
        return list(rows.scalars())

    def analyze(self, connection: Connection) -> None:
        """Lets the planner know the keys, and find an item by its place; the wide columns do not matter to it."""
        connection.exec_driver_sql(
            f"CREATE INDEX IF NOT EXISTS items_{self.run_id.hex}_place ON {self.name('items')} (shard, position)"
        )
        connection.exec_driver_sql(f"ANALYZE {self.name('items')} (shard, position)")
        connection.exec_driver_sql(f"ANALYZE {self.name('offers')} (shard, position)")
        connection.exec_driver_sql(f"ANALYZE {self.name('occurrences')} (shard, position, kind, urn)")

    def _copy(self, connection: Connection, table: str, rows: Iterable[tuple[object, ...]]) -> None:
        rows = list(rows)
        if not rows:
            return
        columns = _COLUMNS[table]
        with (
            driver_connection(connection).cursor() as cursor,
            cursor.copy(f"COPY {self.name(table)} ({', '.join(columns)}) FROM STDIN (FORMAT BINARY)") as copy,
        ):
            copy.set_types(list(columns.values()))
            for row in rows:
                copy.write_row(row)


def leftovers(connection: Connection) -> list[UUID]:
    """The runs that staging tables are left of."""
    names = connection.execute(
        text("SELECT tablename FROM pg_tables WHERE schemaname = 'staging' AND tablename LIKE 'shards\\_%'")
    ).scalars()
    return [UUID(hex=match[1]) for name in names if (match := re.fullmatch(r"shards_([0-9a-f]{32})", name))]


def _definition(name: str, kind: str) -> str:
    return f'{kind} COLLATE "C"' if name in _IDENTIFIERS else kind

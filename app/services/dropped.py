"""Generations that were replaced and dropped, by what they were of: a process that still has the settings of one must
not build it anew."""

from collections.abc import Collection
from typing import Any

from sqlalchemy import Connection, text


def note(connection: Connection, generation_id: int) -> None:
    """Writes down that a generation is dropped, and deletes its row: code that knows nothing of dropped ones looks for
    the table of each generation that there is."""
    connection.execute(
        text("""
            WITH gone AS (DELETE FROM index_generations WHERE id = :id RETURNING identity_hash, identity)
            INSERT INTO dropped_generations (identity_hash, identity) SELECT identity_hash, identity FROM gone
            ON CONFLICT (identity_hash) DO UPDATE SET dropped_at = now()
            """),
        {"id": generation_id},
    )


def identities(connection: Connection) -> dict[bytes, dict[str, Any]]:
    """What all that were dropped were of, by hash."""
    rows = connection.exec_driver_sql("SELECT identity_hash, identity FROM dropped_generations")
    return {row.identity_hash: row.identity for row in rows}


def forget(connection: Connection, hashes: Collection[bytes]) -> None:
    """Lets them be built anew."""
    connection.execute(
        text("DELETE FROM dropped_generations WHERE identity_hash = ANY(:hashes)"), {"hashes": list(hashes)}
    )

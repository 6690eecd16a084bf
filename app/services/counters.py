"""Numbers that only grow, kept in the database because what they count outlives every process."""

import json
from collections.abc import Mapping

from sqlalchemy import Connection, text

Key = tuple[str, tuple[tuple[str, str], ...]]
"""A name, and labels with their values."""


def add(connection: Connection, amounts: Mapping[Key, float]) -> None:
    """Adds to counters, in the caller's transaction; sorted, so that two never wait for each other."""
    rows = sorted(
        (name, json.dumps(dict(labels), sort_keys=True), float(value)) for (name, labels), value in amounts.items()
    )
    if rows:
        names, labels, values = zip(*rows, strict=True)
        connection.execute(
            text("""
                INSERT INTO counters (name, labels, value)
                SELECT * FROM unnest(CAST(:names AS text[]), CAST(:labels AS text[]), CAST(:values AS float8[]))
                ON CONFLICT (name, labels) DO UPDATE SET value = counters.value + excluded.value
                """),
            {"names": list(names), "labels": list(labels), "values": list(values)},
        )


def read(connection: Connection) -> list[tuple[str, dict[str, str], float]]:
    """All counters, by name."""
    rows = connection.execute(text("SELECT name, labels, value FROM counters ORDER BY name, labels"))
    return [(row.name, json.loads(row.labels), row.value) for row in rows]


def start_ended(ingestor: str, status: str) -> Key:
    """The counter of starts that ended so."""
    return ("starts", (("ingestor", ingestor), ("status", status)))

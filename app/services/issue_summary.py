"""What is wrong on the whole node: by code, with those whose data it is."""

from collections import defaultdict
from typing import Any

from sqlalchemy import Connection, Row, text

from app.cmp.codes import CODES
from app.services.issues import ALL
from app.services.products import without_none

MAX_ORGANIZATIONS = 20
"""Organizations that are told for each code, those with the most places first."""


def by_code(connection: Connection, severity: str | None = None) -> list[dict[str, Any]]:
    """The codes of all issues, or of those of a severity: errors first, then by how many places they have. Each with
    the first `organizations` that have it, and how many `more` there are. What is wrong with a registry and is no
    organization's stands under the ingestor's name."""
    rows = connection.execute(_STATEMENT, {"severity": severity, "most": MAX_ORGANIZATIONS})
    grouped: defaultdict[tuple[str, str], list[Row[Any]]] = defaultdict(list)
    for row in rows:
        grouped[row.severity, row.code].append(row)
    return [_group(found) for found in grouped.values()]


def of_code(severity: str, code: str, places: int) -> dict[str, Any]:
    """What is told of all issues of a code, by whatever they are summed up. One that an older version wrote down has no
    title and no hint."""
    known = CODES.get(code)
    return {
        "code": code,
        "severity": severity,
        "title": known.title if known else "",
        "hint": known.remedy if known else "",
        "count": int(places),
    }


def _group(found: list[Row[Any]]) -> dict[str, Any]:
    first = found[0]
    return without_none(
        {
            **of_code(first.severity, first.code, first.total),
            "organizations": [_organization(row) for row in found],
            "more": first.holders - len(found) or None,
        }
    )


def _organization(row: Row[Any]) -> dict[str, Any]:
    told = {"organization": row.urn, "name": row.name, "count": int(row.places)}
    return without_none(told if row.urn else {**told, "ingestor": row.ingestor})


_STATEMENT = text(f"""
    SELECT * FROM (
        SELECT code, severity, urn, name, ingestor, places,
            sum(places) OVER of_code AS total, count(*) OVER of_code AS holders,
            row_number() OVER (of_code ORDER BY places DESC, urn, ingestor) AS place
        FROM (
            SELECT i.code, i.severity, o.urn, o.name, CASE WHEN o.urn IS NULL THEN i.ingestor END AS ingestor,
                sum(i.count) AS places
            FROM ({ALL}) i LEFT JOIN organizations o ON o.id = i.organization_id
            WHERE CAST(:severity AS text) IS NULL OR i.severity = :severity
            GROUP BY 1, 2, 3, 4, 5
        ) counted
        WINDOW of_code AS (PARTITION BY severity, code)
    ) ranked WHERE place <= :most
    ORDER BY severity, total DESC, code, place
    """)  # noqa: S608 - this package's own fragments

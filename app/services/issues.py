"""What is wrong with registries, feeds and texts, as brands and operators ask for it."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, Row, text

from app.cmp.issues import CODES, Issue, Severity
from app.cmp.urns import normalize_organization_urn
from app.net.urls import shown
from app.services import refusals

OF_UNLISTED = ("organization-unlisted", "organization-retired")
"""Codes of what is told of organizations that are not in their registry, and not of what stands in it."""

ALL = f"""
    SELECT ingestor, organization_id, feed_id, shard, position, severity, code, path, message, value, count, places,
        attempted, id FROM issues
    UNION ALL ({refusals.AS_ISSUES})
    """
"""Those of registries and feeds, and those of texts that are refused, as rows: of the same types, or PostgreSQL would
read all before it asks which are wanted. Two may have the same id, but not with the same code."""
_TOLD = (
    "ingestor", "organization", "shard", "position", "severity", "code", "path", "message", "value", "count", "places",
    "attempted",
)  # fmt: skip
_COLUMNS = ", ".join("o.urn AS organization" if name == "organization" else f"i.{name}" for name in _TOLD)
_OF_FEEDS = f"""FROM ({ALL}) i LEFT JOIN organizations o ON o.id = i.organization_id
    LEFT JOIN feed_shards s ON s.feed_id = i.feed_id AND s.url = i.shard COLLATE "C\""""
_FEED_ORDER = "s.ordinal, i.position, i.id"
_WANTED = """(CAST(:organization AS text) IS NULL OR o.urn = :organization)
    AND (CAST(:severity AS text) IS NULL OR i.severity = :severity)
    AND (CAST(:code AS text) IS NULL OR i.code = :code)"""
PAGE = 2000
"""Issues that are read at once where all are wanted."""
_SHARDS = frozenset({"shard", "winner_shard"})


@dataclass(frozen=True)
class IssueFilter:
    """Which issues are asked for; None leaves that open."""

    organization: str | None = None
    severity: str | None = None
    code: str | None = None


def listed(
    connection: Connection, wanted: IssueFilter, limit: int | None = None, skipped: int = 0
) -> list[dict[str, Any]]:
    """Issues with their remedies, errors first, in feed order: all, or so many after so many. `attempted` ones are of
    a publication that was not applied; a warning stands for `count` places, the first of which it lists."""
    rows = connection.execute(
        text(f"""
            SELECT {_COLUMNS} {_OF_FEEDS} WHERE {_WANTED}
            ORDER BY i.severity, o.urn, {_FEED_ORDER} LIMIT :limit OFFSET :skipped
            """),
        {**_parameters(wanted), "limit": limit, "skipped": skipped},
    )
    return [_told(row) for row in rows]


def in_pages(
    reading: Callable[[], AbstractContextManager[Connection]], wanted: IssueFilter
) -> Iterator[list[dict[str, Any]]]:
    """All issues as `listed` tells them, errors first, in the order in which they were stored: one page at least, each
    read in a transaction of its own, so that none stays open for who takes them slowly. Of a feed that is merged
    meanwhile some may be those from before."""
    for severity in [wanted.severity] if wanted.severity else list(Severity):
        after: tuple[int, str] | None = (0, "")
        while after:
            with reading() as connection:
                rows = _page(connection, replace(wanted, severity=severity), after)
            after = (rows[-1].id, rows[-1].code) if len(rows) == PAGE else None
            yield [_told(row) for row in rows]


def _page(connection: Connection, wanted: IssueFilter, after: tuple[int, str]) -> Sequence[Row[Any]]:
    """The issues that follow one."""
    return connection.execute(
        text(f"""
            SELECT {_COLUMNS}, i.id FROM ({ALL}) i LEFT JOIN organizations o ON o.id = i.organization_id
            WHERE {_WANTED} AND (i.id, i.code) > (:id, :after_code) ORDER BY i.id, i.code LIMIT :limit
            """),
        {**_parameters(wanted), "id": after[0], "after_code": after[1], "limit": PAGE},
    ).all()


def first_by_code(connection: Connection, organization: str, most: int) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """The first issues of each severity and code that an organization has, in feed order, as `listed` tells them. All
    of them are ordered by their places alone: in full they would be more than memory holds."""
    rows = connection.execute(
        text(f"""
            SELECT {_COLUMNS} FROM (
                SELECT i.id, i.code, row_number() OVER (PARTITION BY i.severity, i.code ORDER BY {_FEED_ORDER}) AS place
                {_OF_FEEDS} WHERE {_WANTED}
            ) ranked JOIN ({ALL}) i ON i.id = ranked.id AND i.code = ranked.code
            LEFT JOIN organizations o ON o.id = i.organization_id
            WHERE place <= :most ORDER BY i.severity, i.code, place
            """),
        {**_parameters(IssueFilter(organization)), "most": most},
    )
    found: defaultdict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        found[row.severity, row.code].append(_told(row))
    return found


def insert_of_registry(connection: Connection, ingestor: str, found: Sequence[tuple[int | None, Issue]]) -> None:
    """Stores what is wrong with a registry: pairs of organization id and issue."""
    if not found:
        return
    connection.execute(
        text("""
            INSERT INTO issues (ingestor, organization_id, attempted, severity, code, position, path, message, value,
                count)
            VALUES (:ingestor, :organization, false, :severity, :code, :position, :path, :message, :value, 1)
            """),
        [
            {
                "ingestor": ingestor,
                "organization": organization,
                "severity": issue.severity,
                "code": issue.code,
                "position": issue.position,
                "path": issue.path,
                "message": issue.message,
                "value": issue.value,
            }
            for organization, issue in found
        ],
    )


def _parameters(wanted: IssueFilter) -> dict[str, str | None]:
    organization = wanted.organization and (normalize_organization_urn(wanted.organization) or wanted.organization)
    return {"organization": organization, "severity": wanted.severity, "code": wanted.code}


def _told(row: Row[Any]) -> dict[str, Any]:
    """An issue with its remedy, without what may be secret in the URLs of shards, such as the signature of a signed
    one."""
    found = {name: row._mapping[name] for name in _TOLD}
    found["hint"] = CODES[row.code].remedy if row.code in CODES else ""
    found["shard"] = found["shard"] and shown(found["shard"])
    found["message"] = shown(found["message"])
    if found["path"] == "shards":
        found["value"] = found["value"] and shown(found["value"])
    found["places"] = [
        {name: shown(value) if name in _SHARDS and value else value for name, value in place.items()}
        for place in row.places
    ]
    return found


def counts_of_ingestor(connection: Connection, ingestor: str) -> dict[str, int]:
    """How many errors and warnings there are of an ingestor's registry that are no organization's."""
    rows = connection.execute(
        text("""
            SELECT severity, sum(count) AS n FROM issues
            WHERE ingestor = :ingestor AND organization_id IS NULL GROUP BY severity
            """),
        {"ingestor": ingestor},
    )
    return _by_severity(rows)


def counts(connection: Connection, organization_id: int) -> dict[str, int]:
    """How many errors and warnings there are of an organization's registry entry and feed."""
    rows = connection.execute(
        text(
            f"SELECT severity, sum(count) AS n FROM ({ALL}) i WHERE organization_id = :organization GROUP BY severity"
        ),
        {"organization": organization_id},
    )
    return _by_severity(rows)


def _by_severity(rows: Iterable[Row[Any]]) -> dict[str, int]:
    found = {row.severity: int(row.n) for row in rows}
    return {"error": found.get("error", 0), "warning": found.get("warning", 0)}

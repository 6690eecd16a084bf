"""What is wrong with one organization's data, as its brand has to mend it: by code, with the items as published."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import zstandard
from sqlalchemy import Connection, Row, text

from app.cmp.items import decode_item
from app.net.urls import shown
from app.services import issues
from app.services.issue_summary import of_code
from app.services.products import without_none

MAX_PLACES = 20
"""Places of a code that are told in full."""
_MAX_ITEM = 64 * 1024  # bytes of an item that is shown


def of(connection: Connection, organization: str) -> list[dict[str, Any]]:
    """The organization's issues by code, errors first, then by how many places they have; `places` are the first of
    each. An item that is in the catalogue comes with its place, as it was received; of one that was rejected the
    issue's value is all that is kept. `items` is told where no issue sums up several."""
    counted = connection.execute(_COUNTED, {"organization": organization}).all()
    found = issues.first_by_code(connection, organization, MAX_PLACES)
    groups = [_group(row, found.get((row.severity, row.code), [])) for row in counted]
    applied = [place for group in groups for place in group["places"] if not place["attempted"]]
    wanted = {(place["shard"], place["position"]) for place in applied}
    items = _items(connection, organization, [pair for pair in wanted if None not in pair])
    for place in applied:
        if item := items.get((place["shard"], place["position"])):
            place["item"] = item
    return groups


def _group(counted: Row[Any], found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    places = [place for issue in found for place in _places(issue)]
    return without_none(
        {
            **of_code(counted.severity, counted.code, counted.places),
            "items": counted.items,
            "places": places[:MAX_PLACES],
        }
    )


def _places(issue: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Where an issue is: itself, or of one that sums up many the first of these."""
    told = {name: issue[name] for name in ("shard", "position", "path", "message", "value", "attempted")}
    return [{**told, **place} for place in issue["places"]] or [told]


def _items(
    connection: Connection, organization: str, places: Sequence[tuple[str, int]]
) -> dict[tuple[str, int], dict[str, Any]]:
    """The items at these places that are in the catalogue, as they were received, by shard as it is shown."""
    listed = connection.execute(
        text("""
            SELECT s.id, s.url, o.id AS organization_id FROM organizations o JOIN feeds f ON f.organization_id = o.id
                JOIN feed_shards s ON s.feed_id = f.id
            WHERE o.urn = :organization
            """),
        {"organization": organization},
    ).all()
    positions = defaultdict(list)
    for shard, position in places:
        positions[shard].append(position)
    shards = {row.id: url for row in listed if (url := shown(row.url)) in positions}
    wanted = [(shard_id, position) for shard_id, url in shards.items() for position in positions[url]]
    rows = connection.execute(
        text("""
            SELECT c.shard_id, c.position, coalesce(p.raw, g.raw) AS raw
            FROM unnest(CAST(:shards AS int[]), CAST(:positions AS int[])) AS wanted (shard_id, position)
                JOIN occurrences c USING (shard_id, position)
                LEFT JOIN products p ON c.kind = 1 AND p.organization_id = :organization AND p.urn = c.urn
                LEFT JOIN product_groups g ON c.kind = 2 AND g.organization_id = :organization AND g.urn = c.urn
            WHERE NOT c.superseded
            """),
        {
            "organization": listed[0].organization_id if listed else None,
            "shards": [shard_id for shard_id, _ in wanted],
            "positions": [position for _, position in wanted],
        },
    )
    return {
        (shards[row.shard_id], row.position): decode_item(content)
        for row in rows
        if row.raw is not None and len(content := zstandard.decompress(row.raw)) <= _MAX_ITEM
    }


_COUNTED = text(f"""
    SELECT severity, code, sum(places) AS places, CASE WHEN bool_and(is_single) THEN count(*) END AS items
    FROM (
        SELECT i.severity, i.code, sum(i.count) AS places,
            max(i.count) = 1 AND i.shard IS NOT NULL AND i.position IS NOT NULL AS is_single
        FROM ({issues.ALL}) i JOIN organizations o ON o.id = i.organization_id
        WHERE o.urn = :organization
        GROUP BY i.severity, i.code, i.shard, i.position
    ) of_items
    GROUP BY severity, code ORDER BY severity, places DESC, code
    """)  # noqa: S608 - this package's own fragments

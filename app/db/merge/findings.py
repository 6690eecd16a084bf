"""Issues of the merged publication, those that only the whole feed shows among them."""

from typing import Any

from psycopg.types.json import Jsonb

from app.cmp.issues import CODES
from app.db.issues import insert_issues, record_issues
from app.db.merge.step import MergeStep
from app.db.publication import PLACES
from app.db.staging import IssueRow


def replace_issues(step: MergeStep) -> None:
    """Issues of read shards are replaced, those of skipped shards stay, those of the feed are drawn up anew."""
    step.execute(
        """
        DELETE FROM issues i WHERE feed_id = :feed AND (attempted OR shard IS NULL OR NOT EXISTS (
            SELECT FROM listed l WHERE l.url = i.shard AND NOT l.staged))
        """
    )
    record_issues(step.connection, step.publication, attempted=False)
    find_duplicate_urns(step)
    find_duplicate_skus(step)
    find_missing_groups(step)


def find_duplicate_urns(step: MergeStep) -> None:
    count = step.execute("SELECT count(*) FROM occurrences WHERE feed_id = :feed AND superseded").scalar_one()
    if not count:
        return
    rows = step.execute(
        """
        SELECT o.urn, fs.url AS shard, o.position, ws.url AS winner_shard, w.position AS winner_position
        FROM occurrences o
        JOIN feed_shards fs ON fs.id = o.shard_id
        JOIN occurrences w ON w.feed_id = o.feed_id AND w.urn = o.urn AND w.kind = o.kind AND NOT w.superseded
        JOIN feed_shards ws ON ws.id = w.shard_id
        WHERE o.feed_id = :feed AND o.superseded ORDER BY fs.ordinal, o.position LIMIT :places
        """,
        places=PLACES,
    ).all()
    add_feed_issue(
        step,
        "duplicate-urn",
        f"{rows[0].urn} stands in {rows[0].shard} at {rows[0].position} and again in {rows[0].winner_shard} at "
        f"{rows[0].winner_position}: the last one counts",
        count,
        [dict(row._mapping) for row in rows],
    )


def find_duplicate_skus(step: MergeStep) -> None:
    repeated = """
        WITH repeated AS (
            SELECT sku, count(*) OVER () AS total FROM products
            WHERE organization_id = :organization AND deleted_at IS NULL AND sku IS NOT NULL
            GROUP BY sku HAVING count(*) > 1 ORDER BY sku LIMIT :places)
        SELECT r.sku, r.total, array_agg(p.urn ORDER BY p.urn) AS urns
        FROM repeated r JOIN products p
            ON p.organization_id = :organization AND p.sku = r.sku AND p.deleted_at IS NULL
        GROUP BY r.sku, r.total ORDER BY r.sku
        """
    if rows := step.execute(repeated, places=PLACES).all():
        add_feed_issue(
            step,
            "duplicate-sku",
            f"SKU {rows[0].sku} is that of {rows[0].urns[0]} and of {rows[0].urns[1]}: both are kept",
            rows[0].total,
            [{"sku": row.sku, "urns": row.urns[:PLACES]} for row in rows],
        )


def find_missing_groups(step: MergeStep) -> None:
    stubs = step.execute(
        """
        SELECT urn, count(*) OVER () AS total FROM product_groups
        WHERE organization_id = :organization AND is_stub AND deleted_at IS NULL ORDER BY urn LIMIT :places
        """,
        places=PLACES,
    ).all()
    if stubs:
        found = f"{stubs[0].urn} has variants and is not in the feed"
        add_feed_issue(step, "group-missing", found, stubs[0].total, [{"urn": stub.urn} for stub in stubs])


def add_feed_issue(step: MergeStep, code: str, message: str, count: int, places: list[dict[str, Any]]) -> None:
    row: IssueRow = (None, CODES[code].severity, code, None, "", message, None, count, Jsonb(places))
    insert_issues(step.connection, step.publication, [row], attempted=False)

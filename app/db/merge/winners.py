"""Who wins each touched URN, what the catalogue holds of it, and what would vanish."""

from app.db.merge.step import MergeStep
from app.db.publication import (
    MAX_VANISHING_TOLD,
    CategoriesLostError,
    ContentNeededError,
    DeletionsHeldError,
    Vanishing,
    are_too_many,
)


def find_winners(step: MergeStep) -> None:
    """Gathers the winners that are staged, without what is wide of them."""
    step.temporary(
        "winners",
        f"""
        SELECT n.shard, n.position, n.kind, n.urn, n.content_hash, n.brand_urn, n.brand_name, n.category,
            n.group_urn
        FROM ranked r JOIN {step.occurrences} n
            ON n.shard = r.shard AND n.position = r.position
        WHERE r.place = 1 AND n.decoded
        """,
        "shard, position, kind, urn, category, brand_urn, brand_name, group_urn",
    )


def hold_categories(step: MergeStep) -> None:
    """Keeps the categories that winners name until the transaction ends, and checks that they are there: without the
    one, the clean-up of empty categories would break the link; without the other, it would be missing in silence."""
    lost = step.execute(
        """
        WITH named AS (SELECT DISTINCT category FROM winners WHERE category IS NOT NULL),
        held AS (SELECT c.id FROM categories c JOIN named n ON n.category = c.path FOR KEY SHARE OF c)
        SELECT (SELECT count(*) FROM named) - (SELECT count(*) FROM held)
        """
    ).scalar_one()
    if lost:
        raise CategoriesLostError(f"{lost} categories of the publication were removed")


def find_existing(step: MergeStep) -> None:
    """Looks the touched URNs up among the organization's rows, live or not."""
    step.temporary(
        "existing",
        """
        SELECT t.urn, t.kind, e.* FROM touched t CROSS JOIN LATERAL (
            SELECT p.id, p.content_hash, p.deleted_at IS NULL AS live, false AS stub,
                p.brand_id, p.category_id, p.group_id
            FROM products p
            WHERE t.kind = :product AND p.urn = t.urn AND p.organization_id = :organization LIMIT 1
        ) e
        UNION ALL
        SELECT t.urn, t.kind, e.* FROM touched t CROSS JOIN LATERAL (
            SELECT g.id, g.content_hash, g.deleted_at IS NULL AS live, g.is_stub,
                g.brand_id, g.category_id, CAST(NULL AS bigint)
            FROM product_groups g
            WHERE t.kind = :group AND g.urn = t.urn AND g.organization_id = :organization LIMIT 1
        ) e
        """,
        "urn, kind, id",
    )


def require_content(step: MergeStep) -> None:
    """Checks that every winner's content is staged, or in the catalogue already."""
    needed = step.execute(
        """
        SELECT r.shard, array_agg(r.position) AS positions FROM ranked r
        LEFT JOIN winners w ON w.urn = r.urn AND w.kind = r.kind
        LEFT JOIN existing e ON e.urn = r.urn AND e.kind = r.kind
        WHERE r.place = 1 AND w.urn IS NULL AND NOT coalesce(e.live AND e.content_hash = r.content_hash, false)
        GROUP BY r.shard
        """
    ).all()
    if needed:
        raise ContentNeededError({row.shard: set(row.positions) for row in needed})


def find_vanished(step: MergeStep, live: int) -> None:
    """Gathers live rows whose URN no longer occurs, and holds the publication if they are too many."""
    step.temporary(
        "vanished",
        """
        SELECT e.id, e.kind FROM existing e LEFT JOIN ranked r ON r.urn = e.urn AND r.kind = e.kind AND r.place = 1
        WHERE e.live AND NOT e.stub AND r.urn IS NULL
        """,
        "id, kind",
    )
    count = step.execute("SELECT count(*) FROM vanished WHERE kind = :product").scalar_one()
    fraction = step.publication.max_delete_fraction
    if are_too_many(count, live, fraction) and not step.publication.deletions_accepted:
        raise DeletionsHeldError(count, live, fraction, _first_vanished(step))


def _first_vanished(step: MergeStep) -> list[Vanishing]:
    rows = step.execute(
        """
        SELECT p.urn, p.name FROM vanished v JOIN products p ON p.id = v.id WHERE v.kind = :product
        ORDER BY p.urn LIMIT :most
        """,
        most=MAX_VANISHING_TOLD,
    )
    return [Vanishing(row.urn, row.name) for row in rows]

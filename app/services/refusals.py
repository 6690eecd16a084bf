"""Texts of which a generation's model made no vector. They are issues of their products, and not tried again until the
text or the model is another, or somebody asks for it.

A row counts for as long as its product is live and has the text: what was written down of another is as if it were not
there, and goes with the next vector step.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from sqlalchemy import Connection, text

from app.cmp.limits import MAX_ISSUE_MESSAGE
from app.cmp.text import shorten
from app.services.generations import Generation
from app.vectors.indexes.base import Differences, Outdated, PendingProduct

CODE = "text-refused"

_COUNTING = """refused_texts r JOIN products p
    ON p.id = r.product_id AND p.text_hash = r.text_hash AND p.deleted_at IS NULL"""

AS_ISSUES = f"""
    SELECT DISTINCT ON (p.id) f.ingestor, p.organization_id, f.id AS feed_id, CAST(s.url AS varchar) AS shard,
        o.position, CAST('error' AS varchar) AS severity, CAST('{CODE}' AS varchar) AS code,
        CAST('' AS varchar) AS path, CAST(p.urn || ': ' || r.reason AS varchar) AS message, p.name AS value,
        1 AS count, CAST('[]' AS jsonb) AS places, false AS attempted, p.id
    FROM {_COUNTING}
    JOIN index_generations g ON g.id = r.generation_id AND g.status IN ('live', 'building')
    JOIN feeds f ON f.organization_id = p.organization_id
    LEFT JOIN occurrences o ON o.feed_id = f.id AND o.urn = p.urn AND o.kind = 1 AND NOT o.superseded
    LEFT JOIN feed_shards s ON s.id = o.shard_id
    ORDER BY p.id, g.status = 'live' DESC
    """
"""The columns that issues are told by, one row for each product; the live generation's reason before another's."""


def record(connection: Connection, generation: Generation, reasons: Mapping[int, tuple[PendingProduct, str]]) -> None:
    """Writes down which products' texts were refused, with the reason, by product id."""
    connection.execute(
        text("""
            INSERT INTO refused_texts (generation_id, product_id, text_hash, reason)
            SELECT :generation, *
            FROM unnest(CAST(:ids AS bigint[]), CAST(:hashes AS bytea[]), CAST(:reasons AS text[]))
            ON CONFLICT (generation_id, product_id) DO UPDATE
                SET text_hash = excluded.text_hash, reason = excluded.reason, created_at = now()
            """),
        {
            "generation": generation.id,
            "ids": list(reasons),
            "hashes": [product.text_hash for product, _ in reasons.values()],
            "reasons": [shorten(reason, MAX_ISSUE_MESSAGE) for _, reason in reasons.values()],
        },
    )


def among(connection: Connection, generation: Generation, products: Iterable[PendingProduct]) -> set[int]:
    """Which of the products' texts were refused, by product id."""
    texts = {each.product_id: each.text_hash for each in products}
    rows = connection.execute(
        text("""
            SELECT product_id, text_hash FROM refused_texts
            WHERE generation_id = :generation AND product_id = ANY(:products)
            """),
        {"generation": generation.id, "products": list(texts)},
    )
    return {row.product_id for row in rows if row.text_hash == texts[row.product_id]}


def counts(
    connection: Connection, generation: Generation, organization_ids: Sequence[int] | None = None
) -> dict[int, int]:
    """How many products' texts are refused, by organization."""
    rows = connection.execute(
        text(f"""
            SELECT p.organization_id, count(*) FROM {_COUNTING}
            WHERE r.generation_id = :generation
                AND (CAST(:organizations AS bigint[]) IS NULL OR p.organization_id = ANY(:organizations))
            GROUP BY p.organization_id
            """),
        {"generation": generation.id, "organizations": organization_ids},
    )
    return {row[0]: row[1] for row in rows}


def without(outdated: Iterable[Outdated], refused: Mapping[int, int]) -> list[Outdated]:
    """How far an index is behind, without what is refused."""
    return [
        replace(each, pending=max(each.pending - refused.get(each.organization_id, 0), 0))  # counted one after another
        for each in outdated
    ]


def lag(connection: Connection, generation: Generation) -> tuple[int, float]:
    """How many products are to be put into the index, without those whose text is refused, and how many seconds ago the
    oldest of them changed; among some, a refused one may be the oldest."""
    pending, oldest = generation.index.lag(connection)
    pending -= sum(counts(connection, generation).values())
    return (pending, oldest) if pending > 0 else (0, 0.0)


def without_missing(connection: Connection, generation: Generation, differences: Differences) -> Differences:
    """What differs between index and catalogue, but for the texts of products that are refused: they have to."""
    rows = connection.execute(
        text(f"SELECT r.product_id FROM {_COUNTING} WHERE r.generation_id = :generation"),
        {"generation": generation.id},
    )
    refused = set(rows.scalars())
    missing = [each for each in differences.missing if each not in refused]
    hidden = refused - differences.facts
    return replace(differences, missing=missing, stale=[each for each in differences.stale if each not in hidden])


def forget_others(connection: Connection, generation: Generation) -> None:
    """Deletes what was written down of texts that no product has any more."""
    connection.execute(
        text("""
            DELETE FROM refused_texts r WHERE generation_id = :generation AND NOT EXISTS (
                SELECT FROM products p
                WHERE p.id = r.product_id AND p.text_hash = r.text_hash AND p.deleted_at IS NULL)
            """),
        {"generation": generation.id},
    )


def forget(connection: Connection, generation: Generation, organization_ids: Sequence[int] | None) -> None:
    """Lets the texts of organizations (None: of all) be tried again."""
    connection.execute(
        text("""
            DELETE FROM refused_texts r USING products p WHERE r.generation_id = :generation AND p.id = r.product_id
                AND (CAST(:organizations AS bigint[]) IS NULL OR p.organization_id = ANY(:organizations))
            """),
        {"generation": generation.id, "organizations": organization_ids},
    )

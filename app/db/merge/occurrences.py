"""What the feed holds now: its shards, its occurrences, and the order of those that share a URN."""

import json
from dataclasses import asdict

from app.db.merge.step import MergeStep


def register_shards(step: MergeStep) -> None:
    """Writes the publication's shards. `published` maps ordinals to ids, `dropped` are the ids that are gone."""
    shards = [
        {"url": shard.url, "ordinal": shard.ordinal, "bytes_hash": shard.bytes_hash.hex(), "staged": shard.staged}
        | asdict(shard.counts)
        for shard in step.publication.shards
    ]
    step.temporary(
        "listed",
        """
        SELECT s.*, f.id AS old_id, f.ordinal AS old_ordinal
        FROM jsonb_to_recordset(CAST(:shards AS jsonb)) AS s (
            url text, ordinal int, bytes_hash text, staged bool, items int, products int, product_groups int,
            offers int, products_rejected int, product_groups_rejected int, offers_rejected int)
        LEFT JOIN feed_shards f ON f.feed_id = :feed AND f.url = s.url COLLATE "C"
        """,
        "ordinal",
        shards=json.dumps(shards),
    )
    step.temporary(
        "dropped",
        """
        SELECT id FROM feed_shards f
        WHERE feed_id = :feed AND NOT EXISTS (SELECT FROM listed WHERE old_id = f.id)
        """,
        "id",
    )
    step.execute(
        """
        INSERT INTO feed_shards (feed_id, url, ordinal, bytes_hash, items, products, product_groups, offers,
            products_rejected, product_groups_rejected, offers_rejected)
        SELECT :feed, url, ordinal, decode(bytes_hash, 'hex'), items, products, product_groups, offers,
            products_rejected, product_groups_rejected, offers_rejected
        FROM listed WHERE staged OR ordinal IS DISTINCT FROM old_ordinal
        ON CONFLICT (feed_id, url) DO UPDATE SET ordinal = excluded.ordinal, bytes_hash = excluded.bytes_hash,
            items = excluded.items, products = excluded.products, product_groups = excluded.product_groups,
            offers = excluded.offers, products_rejected = excluded.products_rejected,
            product_groups_rejected = excluded.product_groups_rejected, offers_rejected = excluded.offers_rejected
        """
    )
    step.temporary(
        "published",
        """
        SELECT f.id AS shard_id, l.ordinal, l.staged, l.items, l.old_ordinal
        FROM listed l JOIN feed_shards f ON f.feed_id = :feed AND f.url = l.url COLLATE "C"
        """,
        "shard_id, ordinal",
    )


def touch(step: MergeStep) -> None:
    """Gathers the URNs whose winner may have changed."""
    occurrences = step.occurrences
    everything = """
        UNION SELECT urn, kind FROM occurrences WHERE feed_id = :feed AND urn IS NOT NULL
        UNION SELECT urn, CAST(:product AS smallint) FROM products
            WHERE organization_id = :organization AND deleted_at IS NULL
        UNION SELECT urn, CAST(:group AS smallint) FROM product_groups
            WHERE organization_id = :organization AND deleted_at IS NULL AND NOT is_stub
        """
    step.temporary(
        "touched",
        f"""
        SELECT urn, kind FROM {occurrences} WHERE urn IS NOT NULL
        UNION
        SELECT o.urn, o.kind FROM {occurrences} n JOIN published p ON p.ordinal = n.shard
            JOIN occurrences o ON o.shard_id = p.shard_id AND o.position = n.position
            WHERE p.old_ordinal IS NOT NULL AND o.urn IS NOT NULL
        UNION
        SELECT o.urn, o.kind FROM published p
            JOIN occurrences o ON o.shard_id = p.shard_id AND o.position > p.items
            WHERE p.staged AND p.old_ordinal IS NOT NULL AND o.urn IS NOT NULL
        UNION
        SELECT o.urn, o.kind FROM dropped d JOIN occurrences o ON o.shard_id = d.id WHERE o.urn IS NOT NULL
        UNION
        SELECT o.urn, o.kind FROM occurrences o WHERE o.feed_id = :feed AND o.superseded
            AND EXISTS (SELECT FROM published WHERE ordinal <> old_ordinal)
        {everything if step.publication.full else ""}
        """,
        "urn, kind",
    )


def replace_occurrences(step: MergeStep) -> None:
    occurrences = step.occurrences
    step.execute(
        f"""
        DELETE FROM occurrences o USING published p, {occurrences} n
        WHERE p.old_ordinal IS NOT NULL AND n.shard = p.ordinal
            AND o.shard_id = p.shard_id AND o.position = n.position
        """
    )
    step.execute(
        """
        DELETE FROM occurrences o USING published p
        WHERE p.staged AND p.old_ordinal IS NOT NULL AND o.shard_id = p.shard_id AND o.position > p.items
        """
    )
    step.execute("DELETE FROM occurrences WHERE shard_id IN (SELECT id FROM dropped)")
    step.execute("DELETE FROM feed_shards WHERE id IN (SELECT id FROM dropped)")
    step.execute(
        f"""
        INSERT INTO occurrences (shard_id, position, feed_id, kind, urn, item_hash, content_hash, offers,
            offers_rejected, issues)
        SELECT p.shard_id, n.position, :feed, n.kind, n.urn, n.item_hash, n.content_hash, n.offers,
            n.offers_rejected, n.issues
        FROM {occurrences} n JOIN published p ON p.ordinal = n.shard
        """
    )


def rank(step: MergeStep) -> None:
    """Orders the occurrences of each touched URN, the last in the feed first; the rest are superseded by it."""
    step.temporary(
        "ranked",
        """
        SELECT o.shard_id, p.ordinal AS shard, o.position, o.urn, o.kind, o.content_hash, o.superseded,
            row_number() OVER (PARTITION BY o.urn, o.kind ORDER BY p.ordinal DESC, o.position DESC) AS place
        FROM touched t
        JOIN occurrences o ON o.feed_id = :feed AND o.urn = t.urn AND o.kind = t.kind
        JOIN published p ON p.shard_id = o.shard_id
        """,
        "shard, position, urn, kind, place",
    )
    step.execute(
        """
        UPDATE occurrences o SET superseded = (r.place > 1) FROM ranked r
        WHERE o.shard_id = r.shard_id AND o.position = r.position AND r.superseded <> (r.place > 1)
        """
    )

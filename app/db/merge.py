"""One publication into the catalogue: set-based, in the caller's transaction, under a lock on the organization.

Only URNs that a changed, added, removed or moved shard touches are looked at. Rows of `products` are looked up by
index, one by one, whatever the planner believes: a hash join would read the whole table, other organizations' too.
"""

import json
from dataclasses import asdict
from typing import Any

from psycopg.types.json import Jsonb
from sqlalchemy import Connection, CursorResult, text

from app.cmp.issues import CODES
from app.db.issues import insert_issues, record_issues
from app.db.publication import (
    GROUP,
    MIN_DELETIONS_HELD,
    PLACES,
    PRODUCT,
    ContentNeededError,
    DeletionsHeldError,
    MergeReport,
    Publication,
    PublicationMovedError,
    StagingLostError,
    Verdicts,
)
from app.db.staging import IssueRow

_TEXTS = ["name", "description", "url", "image"]
_PRODUCT_COLUMNS = [*_TEXTS, "sku", "brand_name", "gtins", "mpn", "text_hash", "raw"]
_GROUP_COLUMNS = [*_TEXTS, "product_group_id", "varies_by", "raw"]
_OFFER_COLUMNS = ["price", "currency", "availability", "inventory", "valid_until", "url"]
# A stub is known by its URN alone.
_STUB = f"""is_stub = true, varies_by = '{{}}', brand_id = NULL, category_id = NULL, updated_at = now(),
    content_hash = NULL, {", ".join(f"{column} = NULL" for column in _GROUP_COLUMNS if column != "varies_by")}"""


def merge(connection: Connection, publication: Publication) -> MergeReport:
    """Applies a publication and reports what it did.

    Raises `PublicationMovedError`, `StagingLostError`, `ContentNeededError` or `DeletionsHeldError`, after any of which
    the caller's transaction must roll back.
    """
    return _Merge(connection, publication).run()


class _Merge:
    """The steps of one merge, in their order."""

    def __init__(self, connection: Connection, publication: Publication) -> None:
        self._connection = connection
        self._publication = publication
        self._items = publication.staging.name("items")
        self._parameters = {
            "organization": publication.organization_id,
            "feed": publication.feed_id,
            "product": PRODUCT,
            "group": GROUP,
        }
        self._temporaries: list[str] = []
        self.report = MergeReport()

    def run(self) -> MergeReport:
        live = self._lock()
        self._require_staged()
        self._register_shards()
        self._touch()
        self._replace_occurrences()
        self._rank()
        self._find_winners()
        self._find_existing()
        self._require_content()
        self._find_vanished(live["products"])
        self._add_brands()
        self._merge_groups()
        self._add_stubs()
        self._merge_products()
        self._merge_offers()
        self._delete_vanished()
        self._retire_groups()
        self._replace_issues()
        self._finish(live)
        # In a dry run another organization's merge follows in the same transaction.
        self._connection.exec_driver_sql(f"DROP TABLE {', '.join(self._temporaries)}")
        return self.report

    def _execute(self, statement: str, **parameters: Any) -> CursorResult[Any]:
        return self._connection.execute(text(statement), self._parameters | parameters)

    def _temporary(self, name: str, query: str, columns: str, **parameters: Any) -> int:
        """Makes a temporary table of a query's rows, known to the planner by `columns`; returns their number."""
        self._execute(f"CREATE TEMP TABLE {name} ON COMMIT DROP AS {query}", **parameters)
        self._temporaries.append(name)
        self._connection.exec_driver_sql(f"ANALYZE {name} ({columns})")
        count: int = self._execute(f"SELECT count(*) FROM {name}").scalar_one()
        return count

    def _lock(self) -> dict[str, int]:
        """Takes the organization's lock, and checks that the catalogue is as the publication was read against."""
        # The keys are spread evenly: a small sample tells the planner enough, at a tenth of the cost.
        self._connection.exec_driver_sql("SET LOCAL default_statistics_target = 10")
        self._execute("SELECT pg_advisory_xact_lock(hashtextextended('organization', :organization))")
        row = self._execute(
            "SELECT revision, live_products, live_groups, live_offers FROM feeds WHERE id = :feed FOR UPDATE"
        ).one()
        if row.revision != self._publication.revision:
            raise PublicationMovedError("The catalogue changed while the feed was read")
        return {"products": row.live_products, "product_groups": row.live_groups, "offers": row.live_offers}

    def _require_staged(self) -> None:
        staging = self._publication.staging
        shards = [shard.ordinal for shard in self._publication.shards if shard.staged]
        if lost := staging.incomplete(self._connection, shards):
            raise StagingLostError(lost)
        staging.analyze(self._connection)

    def _register_shards(self) -> None:
        """Writes the publication's shards. `published` maps ordinals to ids, `dropped` are the ids that are gone."""
        shards = [
            {"url": shard.url, "ordinal": shard.ordinal, "bytes_hash": shard.bytes_hash.hex(), "staged": shard.staged}
            | asdict(shard.counts)
            for shard in self._publication.shards
        ]
        self._temporary(
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
        self._temporary(
            "dropped",
            """
            SELECT id FROM feed_shards f
            WHERE feed_id = :feed AND NOT EXISTS (SELECT FROM listed WHERE old_id = f.id)
            """,
            "id",
        )
        self._execute(
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
        self._temporary(
            "published",
            """
            SELECT f.id AS shard_id, l.ordinal, l.staged, l.items, l.old_ordinal
            FROM listed l JOIN feed_shards f ON f.feed_id = :feed AND f.url = l.url COLLATE "C"
            """,
            "shard_id, ordinal",
        )

    def _touch(self) -> None:
        """Gathers the URNs whose winner may have changed."""
        occurrences = self._publication.staging.name("occurrences")
        everything = """
            UNION SELECT urn, kind FROM occurrences WHERE feed_id = :feed AND urn IS NOT NULL
            UNION SELECT urn, CAST(:product AS smallint) FROM products
                WHERE organization_id = :organization AND deleted_at IS NULL
            UNION SELECT urn, CAST(:group AS smallint) FROM product_groups
                WHERE organization_id = :organization AND deleted_at IS NULL AND NOT is_stub
            """
        self._temporary(
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
            {everything if self._publication.full else ""}
            """,
            "urn, kind",
        )

    def _replace_occurrences(self) -> None:
        occurrences = self._publication.staging.name("occurrences")
        self._execute(
            f"""
            DELETE FROM occurrences o USING published p, {occurrences} n
            WHERE p.old_ordinal IS NOT NULL AND n.shard = p.ordinal
                AND o.shard_id = p.shard_id AND o.position = n.position
            """
        )
        self._execute(
            """
            DELETE FROM occurrences o USING published p
            WHERE p.staged AND p.old_ordinal IS NOT NULL AND o.shard_id = p.shard_id AND o.position > p.items
            """
        )
        self._execute("DELETE FROM occurrences WHERE shard_id IN (SELECT id FROM dropped)")
        self._execute("DELETE FROM feed_shards WHERE id IN (SELECT id FROM dropped)")
        self._execute(
            f"""
            INSERT INTO occurrences (shard_id, position, feed_id, kind, urn, item_hash, content_hash, offers,
                offers_rejected, issues)
            SELECT p.shard_id, n.position, :feed, n.kind, n.urn, n.item_hash, n.content_hash, n.offers,
                n.offers_rejected, n.issues
            FROM {occurrences} n JOIN published p ON p.ordinal = n.shard
            """
        )

    def _rank(self) -> None:
        """Orders the occurrences of each touched URN, the last in the feed first; the rest are superseded by it."""
        self._temporary(
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
        self._execute(
            """
            UPDATE occurrences o SET superseded = (r.place > 1) FROM ranked r
            WHERE o.shard_id = r.shard_id AND o.position = r.position AND r.superseded <> (r.place > 1)
            """
        )

    def _find_winners(self) -> None:
        """Gathers the winners that are staged, without what is wide of them."""
        self._temporary(
            "winners",
            f"""
            SELECT n.shard, n.position, n.kind, n.urn, n.content_hash, n.brand_urn, n.brand_name, n.category,
                n.group_urn
            FROM ranked r JOIN {self._publication.staging.name("occurrences")} n
                ON n.shard = r.shard AND n.position = r.position
            WHERE r.place = 1 AND n.decoded
            """,
            "shard, position, kind, urn, category, brand_urn, brand_name, group_urn",
        )

    def _find_existing(self) -> None:
        """Looks the touched URNs up among the organization's rows, live or not."""
        self._temporary(
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

    def _require_content(self) -> None:
        """Checks that every winner's content is staged, or in the catalogue already."""
        needed = self._execute(
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

    def _find_vanished(self, live: int) -> None:
        """Gathers live rows whose URN no longer occurs, and holds the publication if they are too many."""
        self._temporary(
            "vanished",
            """
            SELECT e.id, e.kind FROM existing e LEFT JOIN ranked r ON r.urn = e.urn AND r.kind = e.kind AND r.place = 1
            WHERE e.live AND NOT e.stub AND r.urn IS NULL
            """,
            "id, kind",
        )
        count = self._execute("SELECT count(*) FROM vanished WHERE kind = :product").scalar_one()
        fraction = self._publication.max_delete_fraction
        if count > MIN_DELETIONS_HELD and count > fraction * live and not self._publication.deletions_accepted:
            raise DeletionsHeldError(count, live, fraction)

    def _add_brands(self) -> None:
        """Adds the brands that winners name and the registry does not list. One without a name is nothing to show."""
        self._execute(
            """
            INSERT INTO brands (organization_id, origin, urn, name)
            SELECT :organization, 'feed', w.brand_urn, w.brand_name
            FROM (SELECT DISTINCT brand_urn, brand_name FROM winners) w
            WHERE w.brand_urn IS NOT NULL AND w.brand_name IS NOT NULL AND NOT EXISTS (
                SELECT FROM brands b
                WHERE b.organization_id = :organization AND b.origin = 'registry' AND b.urn = w.brand_urn)
            ON CONFLICT (organization_id, urn, name) WHERE origin = 'feed' DO NOTHING
            """
        )

    def _incoming(self, name: str, kind: int, sequence: str) -> None:
        """Winners that are new, changed, back, or linked elsewhere, with the ids of what they link to."""
        self._temporary(
            name,
            f"""
            SELECT * FROM (
                SELECT w.shard, w.position, w.urn, w.content_hash, e.id IS NULL AS is_new, false AS is_stub,
                    coalesce(e.live AND NOT e.stub, false) AS was_live, coalesce(e.id, nextval('{sequence}')) AS id,
                    coalesce(own.id, named.id) AS brand_id, c.id AS category_id, g.id AS group_id,
                    e.id IS NULL OR NOT e.live OR e.stub OR e.content_hash IS DISTINCT FROM w.content_hash
                    OR (e.brand_id, e.category_id, e.group_id)
                        IS DISTINCT FROM (coalesce(own.id, named.id), c.id, g.id) AS differs
                FROM winners w
                LEFT JOIN existing e ON e.urn = w.urn AND e.kind = w.kind
                LEFT JOIN brands own ON own.organization_id = :organization AND own.origin = 'registry'
                    AND own.urn = w.brand_urn
                LEFT JOIN brands named ON named.organization_id = :organization AND named.origin = 'feed'
                    AND named.urn = w.brand_urn AND named.name = w.brand_name
                LEFT JOIN categories c ON c.path = w.category
                LEFT JOIN LATERAL (
                    SELECT id FROM product_groups
                    WHERE urn = w.group_urn AND organization_id = :organization LIMIT 1
                ) g ON true
                WHERE w.kind = :kind
            ) candidates WHERE differs
            """,
            "shard, position, id, is_new",
            kind=kind,
        )

    def _write(self, table: str, incoming: str, columns: list[str], links: list[str]) -> None:
        """Inserts and updates what `incoming` holds; live again is what was deleted."""
        staged = ", ".join(f"i.{column}" for column in columns)
        linked = ", ".join(f"n.{link}" for link in links)
        self._execute(
            f"""
            INSERT INTO {table} (id, organization_id, urn, {", ".join(columns + links)})
            SELECT n.id, :organization, n.urn, {staged}, {linked}
            FROM {incoming} n JOIN {self._items} i ON i.shard = n.shard AND i.position = n.position
            WHERE n.is_new
            """
        )
        changes = [f"{column} = i.{column}" for column in columns] + [f"{link} = n.{link}" for link in links]
        self._execute(
            f"""
            UPDATE {table} t SET {", ".join(changes)}, deleted_at = NULL, updated_at = now()
            FROM {incoming} n JOIN {self._items} i ON i.shard = n.shard AND i.position = n.position
            WHERE NOT n.is_new AND t.id = n.id
            """
        )

    def _count(self, verdicts: Verdicts, incoming: str) -> None:
        row = self._execute(
            f"""
            SELECT count(*) FILTER (WHERE NOT was_live) AS inserted, count(*) FILTER (WHERE was_live) AS updated
            FROM {incoming}
            """
        ).one()
        verdicts.inserted, verdicts.updated = row.inserted, row.updated

    def _merge_groups(self) -> None:
        self._incoming("incoming_groups", GROUP, "product_groups_id_seq")
        links = ["content_hash", "brand_id", "category_id", "is_stub"]
        self._write("product_groups", "incoming_groups", _GROUP_COLUMNS, links)
        self._count(self.report.product_groups, "incoming_groups")

    def _add_stubs(self) -> None:
        """Gives every group that a winning variant names a row."""
        self._execute(
            f"""
            INSERT INTO product_groups (organization_id, urn, is_stub, varies_by)
            SELECT :organization, w.group_urn, true, CAST('{{}}' AS text[])
            FROM (SELECT DISTINCT group_urn FROM winners WHERE kind = :product AND group_urn IS NOT NULL) w
            WHERE NOT EXISTS (
                SELECT FROM product_groups g
                WHERE g.urn = w.group_urn AND g.organization_id = :organization AND g.deleted_at IS NULL)
            ON CONFLICT (urn, organization_id) DO UPDATE SET {_STUB}, deleted_at = NULL
            """
        )

    def _merge_products(self) -> None:
        self._incoming("incoming_products", PRODUCT, "products_id_seq")
        links = ["content_hash", "brand_id", "category_id", "group_id"]
        self._write("products", "incoming_products", _PRODUCT_COLUMNS, links)
        self._count(self.report.products, "incoming_products")

    def _merge_offers(self) -> None:
        """Brings the offers of changed products in line; those of deleted ones go."""
        offers = self._publication.staging.name("offers")
        staged = ", ".join(f"s.{column}" for column in _OFFER_COLUMNS)
        kept = ", ".join(f"o.{column}" for column in _OFFER_COLUMNS)
        self.report.offers.deleted = self._execute(
            f"""
            DELETE FROM offers o USING (
                SELECT n.id, n.shard, n.position FROM incoming_products n WHERE NOT n.is_new
                UNION ALL SELECT id, NULL, NULL FROM vanished WHERE kind = :product
            ) n
            WHERE o.product_id = n.id AND NOT EXISTS (
                SELECT FROM {offers} s WHERE s.shard = n.shard AND s.position = n.position AND s.ordinal = o.ordinal)
            """
        ).rowcount
        self.report.offers.updated = self._execute(
            f"""
            UPDATE offers o SET ({", ".join(_OFFER_COLUMNS)}) = ({staged})
            FROM incoming_products n JOIN {offers} s ON s.shard = n.shard AND s.position = n.position
            WHERE NOT n.is_new AND o.product_id = n.id AND o.ordinal = s.ordinal
                AND ({kept}) IS DISTINCT FROM ({staged})
            """
        ).rowcount
        self.report.offers.inserted = self._execute(
            f"""
            INSERT INTO offers (product_id, ordinal, {", ".join(_OFFER_COLUMNS)})
            SELECT n.id, s.ordinal, {staged}
            FROM incoming_products n JOIN {offers} s ON s.shard = n.shard AND s.position = n.position
            WHERE n.is_new OR NOT EXISTS (SELECT FROM offers o WHERE o.product_id = n.id AND o.ordinal = s.ordinal)
            """
        ).rowcount

    def _delete_vanished(self) -> None:
        self.report.products.deleted = self._execute(
            """
            UPDATE products SET deleted_at = now() FROM vanished v WHERE v.kind = :product AND products.id = v.id
            """
        ).rowcount

    def _retire_groups(self) -> None:
        """Groups that vanished stay as stubs while live variants name them; stubs that none names go."""
        self.report.product_groups.deleted = self._execute(
            f"""
            UPDATE product_groups SET {_STUB} FROM vanished v WHERE v.kind = :group AND product_groups.id = v.id
            """
        ).rowcount
        self._execute(
            """
            UPDATE product_groups g SET deleted_at = now()
            WHERE g.organization_id = :organization AND g.is_stub AND g.deleted_at IS NULL AND NOT EXISTS (
                SELECT FROM products p WHERE p.group_id = g.id AND p.deleted_at IS NULL)
            """
        )

    def _replace_issues(self) -> None:
        """Issues of read shards are replaced, those of skipped shards stay, those of the feed are drawn up anew."""
        self._execute(
            """
            DELETE FROM issues i WHERE feed_id = :feed AND (attempted OR shard IS NULL OR NOT EXISTS (
                SELECT FROM listed l WHERE l.url = i.shard AND NOT l.staged))
            """
        )
        record_issues(self._connection, self._publication, attempted=False)
        self._find_duplicate_urns()
        self._find_duplicate_skus()
        self._find_missing_groups()

    def _find_duplicate_urns(self) -> None:
        count = self._execute("SELECT count(*) FROM occurrences WHERE feed_id = :feed AND superseded").scalar_one()
        if not count:
            return
        rows = self._execute(
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
        self._add_feed_issue(
            "duplicate-urn",
            f"{rows[0].urn} stands in {rows[0].shard} at {rows[0].position} and again in {rows[0].winner_shard} at "
            f"{rows[0].winner_position}: the last one counts",
            count,
            [dict(row._mapping) for row in rows],
        )

    def _find_duplicate_skus(self) -> None:
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
        if rows := self._execute(repeated, places=PLACES).all():
            self._add_feed_issue(
                "duplicate-sku",
                f"SKU {rows[0].sku} is that of {rows[0].urns[0]} and of {rows[0].urns[1]}: both are kept",
                rows[0].total,
                [{"sku": row.sku, "urns": row.urns[:PLACES]} for row in rows],
            )

    def _find_missing_groups(self) -> None:
        stubs = self._execute(
            """
            SELECT urn, count(*) OVER () AS total FROM product_groups
            WHERE organization_id = :organization AND is_stub AND deleted_at IS NULL ORDER BY urn LIMIT :places
            """,
            places=PLACES,
        ).all()
        if stubs:
            found = f"{stubs[0].urn} has variants and is not in the feed"
            self._add_feed_issue("group-missing", found, stubs[0].total, [{"urn": stub.urn} for stub in stubs])

    def _add_feed_issue(self, code: str, message: str, count: int, places: list[dict[str, Any]]) -> None:
        row: IssueRow = (None, CODES[code].severity, code, None, "", message, None, count, Jsonb(places))
        insert_issues(self._connection, self._publication, [row], attempted=False)

    def _finish(self, live: dict[str, int]) -> None:
        """Completes the counts and moves the feed's checkpoint."""
        report = self.report
        report.complete([shard.counts for shard in self._publication.shards], **live)
        self._execute(
            """
            UPDATE feeds SET revision = revision + 1, context_hash = :context_hash,
                fingerprint = :fingerprint, attempted_fingerprint = :fingerprint, verdict = 'applied',
                released_fingerprint = NULL, live_products = live_products + :products,
                live_groups = live_groups + :groups, live_offers = live_offers + :offers,
                merged_at = now(), updated_at = now()
            WHERE id = :feed
            """,
            context_hash=self._publication.context_hash,
            fingerprint=self._publication.fingerprint,
            products=report.products.inserted - report.products.deleted,
            groups=report.product_groups.inserted - report.product_groups.deleted,
            offers=report.offers.inserted - report.offers.deleted,
        )

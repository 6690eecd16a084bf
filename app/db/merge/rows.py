"""Winners into the catalogue: brands, groups, products and offers; what vanished goes."""

from app.db.merge.step import MergeStep
from app.db.publication import GROUP, PRODUCT, Verdicts

_TEXTS = ["name", "description", "url", "image"]
_PRODUCT_COLUMNS = [*_TEXTS, "sku", "brand_name", "gtins", "mpn", "text_hash", "raw"]
_GROUP_COLUMNS = [*_TEXTS, "product_group_id", "varies_by", "raw"]
_OFFER_COLUMNS = ["price", "currency", "availability", "inventory", "valid_until", "url"]
# A stub is known by its URN alone.
_STUB = f"""is_stub = true, varies_by = '{{}}', brand_id = NULL, category_id = NULL, updated_at = now(),
    content_hash = NULL, {", ".join(f"{column} = NULL" for column in _GROUP_COLUMNS if column != "varies_by")}"""


def add_brands(step: MergeStep) -> None:
    """Adds the brands that winners name and the registry does not list. One without a name is nothing to show."""
    step.execute(
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


def merge_groups(step: MergeStep) -> None:
    incoming(step, "incoming_groups", GROUP, "product_groups_id_seq")
    links = ["content_hash", "brand_id", "category_id", "is_stub"]
    write(step, "product_groups", "incoming_groups", _GROUP_COLUMNS, links)
    count(step, step.report.product_groups, "incoming_groups")


def add_stubs(step: MergeStep) -> None:
    """Gives every group that a winning variant names a row."""
    step.execute(
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


def merge_products(step: MergeStep) -> None:
    incoming(step, "incoming_products", PRODUCT, "products_id_seq")
    links = ["content_hash", "brand_id", "category_id", "group_id"]
    write(step, "products", "incoming_products", _PRODUCT_COLUMNS, links)
    count(step, step.report.products, "incoming_products")


def merge_offers(step: MergeStep) -> None:
    """Brings the offers of changed products in line; those of deleted ones go."""
    offers = step.offers
    staged = ", ".join(f"s.{column}" for column in _OFFER_COLUMNS)
    kept = ", ".join(f"o.{column}" for column in _OFFER_COLUMNS)
    step.report.offers.deleted = step.execute(
        f"""
        DELETE FROM offers o USING (
            SELECT n.id, n.shard, n.position FROM incoming_products n WHERE NOT n.is_new
            UNION ALL SELECT id, NULL, NULL FROM vanished WHERE kind = :product
        ) n
        WHERE o.product_id = n.id AND NOT EXISTS (
            SELECT FROM {offers} s WHERE s.shard = n.shard AND s.position = n.position AND s.ordinal = o.ordinal)
        """
    ).rowcount
    step.report.offers.updated = step.execute(
        f"""
        UPDATE offers o SET ({", ".join(_OFFER_COLUMNS)}) = ({staged})
        FROM incoming_products n JOIN {offers} s ON s.shard = n.shard AND s.position = n.position
        WHERE NOT n.is_new AND o.product_id = n.id AND o.ordinal = s.ordinal
            AND ({kept}) IS DISTINCT FROM ({staged})
        """
    ).rowcount
    step.report.offers.inserted = step.execute(
        f"""
        INSERT INTO offers (product_id, ordinal, {", ".join(_OFFER_COLUMNS)})
        SELECT n.id, s.ordinal, {staged}
        FROM incoming_products n JOIN {offers} s ON s.shard = n.shard AND s.position = n.position
        WHERE n.is_new OR NOT EXISTS (SELECT FROM offers o WHERE o.product_id = n.id AND o.ordinal = s.ordinal)
        """
    ).rowcount


def delete_vanished(step: MergeStep) -> None:
    step.report.products.deleted = step.execute(
        """
        UPDATE products SET deleted_at = now() FROM vanished v WHERE v.kind = :product AND products.id = v.id
        """
    ).rowcount


def retire_groups(step: MergeStep) -> None:
    """Groups that vanished stay as stubs while live variants name them; stubs that none names go."""
    step.report.product_groups.deleted = step.execute(
        f"""
        UPDATE product_groups SET {_STUB} FROM vanished v WHERE v.kind = :group AND product_groups.id = v.id
        """
    ).rowcount
    step.execute(
        """
        UPDATE product_groups g SET deleted_at = now()
        WHERE g.organization_id = :organization AND g.is_stub AND g.deleted_at IS NULL AND NOT EXISTS (
            SELECT FROM products p WHERE p.group_id = g.id AND p.deleted_at IS NULL)
        """
    )


def incoming(step: MergeStep, name: str, kind: int, sequence: str) -> None:
    """Winners that are new, changed, back, or linked elsewhere, with the ids of what they link to."""
    step.temporary(
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


def write(step: MergeStep, table: str, incoming: str, columns: list[str], links: list[str]) -> None:
    """Inserts and updates what `incoming` holds; live again is what was deleted.

    The wide rows are fetched by their place, in the order they lie in. A hash join would write them to disk, batch by
    batch, once there are more of them than memory for it.
    """
    step.connection.exec_driver_sql("SET LOCAL enable_hashjoin = off")
    staged = ", ".join(f"i.{column}" for column in columns)
    linked = ", ".join(f"n.{link}" for link in links)
    step.execute(
        f"""
        INSERT INTO {table} (id, organization_id, urn, {", ".join(columns + links)})
        SELECT n.id, :organization, n.urn, {staged}, {linked}
        FROM {incoming} n JOIN {step.items} i ON i.shard = n.shard AND i.position = n.position
        WHERE n.is_new
        """
    )
    changes = [f"{column} = i.{column}" for column in columns] + [f"{link} = n.{link}" for link in links]
    step.execute(
        f"""
        UPDATE {table} t SET {", ".join(changes)}, deleted_at = NULL, updated_at = now()
        FROM {incoming} n JOIN {step.items} i ON i.shard = n.shard AND i.position = n.position
        WHERE NOT n.is_new AND t.id = n.id
        """
    )
    step.connection.exec_driver_sql("SET LOCAL enable_hashjoin = on")


def count(step: MergeStep, verdicts: Verdicts, incoming: str) -> None:
    row = step.execute(
        f"""
        SELECT count(*) FILTER (WHERE NOT was_live) AS inserted, count(*) FILTER (WHERE was_live) AS updated
        FROM {incoming}
        """
    ).one()
    verdicts.inserted, verdicts.updated = row.inserted, row.updated

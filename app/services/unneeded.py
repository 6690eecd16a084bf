"""What the clean-up removes: which rows of which tables nothing needs any more."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, text


@dataclass(frozen=True)
class Unneeded:
    """Rows that may go: those of a table, called `t`, of which a condition holds."""

    table: str
    condition: str
    key: str = "id"
    key_type: str = "bigint"

    def count(self, connection: Connection, parameters: Mapping[str, Any]) -> int:
        query = f"SELECT count(*) FROM {self.table} t WHERE {self.condition}"
        count: int = connection.execute(text(query), parameters).scalar_one()
        return count

    def organizations(self, connection: Connection, parameters: Mapping[str, Any]) -> set[int]:
        """Whose they are."""
        query = f"SELECT DISTINCT organization_id FROM {self.table} t WHERE {self.condition}"
        return set(connection.execute(text(query), parameters).scalars())

    def lock(
        self, connection: Connection, parameters: Mapping[str, Any], limit: int, organization_id: int | None = None
    ) -> list[Any]:
        """The keys of so many of them, of one organization or of all. What another transaction holds is left out."""
        owned = "true" if organization_id is None else "t.organization_id = :organization"
        query = f"""
            SELECT t.{self.key} FROM {self.table} t WHERE {owned} AND ({self.condition})
            LIMIT :limit FOR UPDATE OF t SKIP LOCKED
            """
        bound = {**parameters, "limit": limit, "organization": organization_id}
        return list(connection.execute(text(query), bound).scalars())

    def delete(self, connection: Connection, keys: Sequence[Any]) -> int:
        statement = f"DELETE FROM {self.table} WHERE {self.key} = ANY(CAST(:keys AS {self.key_type}[]))"
        return connection.execute(text(statement), {"keys": keys}).rowcount


@dataclass(frozen=True)
class Part:
    """Rows that go with those of another table, whose ids stand in `column`; `name` is what they are counted as."""

    name: str
    table: str
    column: str

    def count(self, connection: Connection, whole: Unneeded, parameters: Mapping[str, Any]) -> int:
        query = f"""
            SELECT count(*) FROM {self.table}
            WHERE {self.column} IN (SELECT t.id FROM {whole.table} t WHERE {whole.condition})
            """
        count: int = connection.execute(text(query), parameters).scalar_one()
        return count

    def delete(self, connection: Connection, whole: Unneeded, keys: Sequence[Any]) -> int:
        statement = f"DELETE FROM {self.table} WHERE {self.column} = ANY(CAST(:keys AS {whole.key_type}[]))"
        return connection.execute(text(statement), {"keys": keys}).rowcount


def _unused(column: str, *others: str) -> str:
    """That no product, live or deleted, and no row of other tables refers to `t` by that column. Live and deleted
    products are looked for apart, since each have an index of their own."""
    tables = ["products WHERE deleted_at IS NULL", "products WHERE deleted_at IS NOT NULL"]
    tables += [f"{table} WHERE true" for table in others]
    return " AND ".join(f"NOT EXISTS (SELECT FROM {table} AND {column} = t.id)" for table in tables)


_LONG_AGO = "t.{} < now() - make_interval(days => :days)"
_EXPIRED = _LONG_AGO.format("deleted_at")
_OWNERLESS = "NOT EXISTS (SELECT FROM organizations o WHERE o.id = t.organization_id)"

EXPIRED_CATALOGUE = (
    Unneeded("products", _EXPIRED),
    Unneeded(
        "product_groups",
        f"""{_EXPIRED} AND NOT EXISTS (
            SELECT FROM products p WHERE p.group_id = t.id
                AND (p.deleted_at IS NULL OR p.deleted_at >= now() - make_interval(days => :days)))""",
    ),
)
# Deleted products refer too: they may come back.
ORPHANED_CATALOGUE = (
    Unneeded("products", _OWNERLESS),
    Unneeded("product_groups", _OWNERLESS),
    Unneeded(
        "product_groups",
        f"NOT ({_OWNERLESS}) AND (t.is_stub OR t.deleted_at IS NOT NULL) AND {_unused('group_id')}",
    ),
    Unneeded("brands", f"t.origin IN ('feed', 'retired') AND {_unused('brand_id', 'product_groups')}"),
)
# Rows whose tables have no foreign keys, or whose foreign key was circumvented.
LOOSE_ROWS = (
    Unneeded(
        "organization_categories",
        f"{_OWNERLESS} OR NOT EXISTS (SELECT FROM categories c WHERE c.id = t.category_id)",
        "ctid",
        "tid",
    ),
    Unneeded("offers", "NOT EXISTS (SELECT FROM products p WHERE p.id = t.product_id)", "ctid", "tid"),
    Unneeded("occurrences", "NOT EXISTS (SELECT FROM feed_shards s WHERE s.id = t.shard_id)", "ctid", "tid"),
)
OLD_STARTS = Unneeded(
    "starts",
    f"""{_LONG_AGO.format("finished_at")} AND t.id <> ALL(CAST(:kept AS uuid[]))
        AND NOT EXISTS (SELECT FROM runs r WHERE r.start_id = t.id AND r.finished_at IS NULL)""",
    key_type="uuid",
)
# A registry's issues are written anew whenever it is read: old ones are of an ingestor that is no longer started. One
# that nobody belongs to is none the less told of until then, since its registry may be what cannot be read.
OLD_ISSUES = Unneeded(
    "issues",
    f"""t.feed_id IS NULL AND {_LONG_AGO.format("created_at")}
        AND NOT EXISTS (SELECT FROM organizations o WHERE o.ingestor = t.ingestor)
        AND NOT EXISTS (SELECT FROM feeds f WHERE f.ingestor = t.ingestor)""",
)
# Those of `:among` (NULL: of all) that nothing refers to, nor to anything below them. New ones are left to the merge
# that they were made for.
EMPTY_CATEGORIES = f"""
    WITH RECURSIVE bare AS MATERIALIZED (
        SELECT t.id FROM categories t
        WHERE t.created_at < now() - interval '1 hour'
            AND (CAST(:among AS bigint[]) IS NULL OR t.id = ANY(CAST(:among AS bigint[])))
            AND {_unused("category_id", "product_groups", "organization_categories")}
    ),
    kept AS (
        SELECT id, parent_id FROM categories WHERE id NOT IN (SELECT id FROM bare)
        UNION
        SELECT above.id, above.parent_id FROM kept JOIN categories above ON above.id = kept.parent_id
    )
    SELECT id FROM bare WHERE id NOT IN (SELECT id FROM kept)
    """

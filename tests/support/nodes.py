"""A node under test: a database, a list of ingestors, and questions to the catalogue."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import zstandard
from sqlalchemy import Connection, text

from app.core.config import Settings
from app.db.session import LiveDatabase
from app.db.staging import StagingTables, leftovers
from app.ingestors.config import IngestionConfig
from app.ingestors.ingestion import Options, Step
from app.ingestors.manager import IngestorManager
from app.ingestors.progress import Progress
from app.ingestors.reports import IngestReport, RunReport
from app.services.generations import query_embedder
from app.services.search import search
from tests.support.feeds import ORGANIZATION

CATALOGUE = ("registry", "feed")
_EMPTIED = (
    "issues", "occurrences", "feed_shards", "feeds", "offers", "products", "product_groups", "brands",
    "organization_categories", "categories", "runs", "starts", "organizations", "registries",
)  # fmt: skip


class Node:
    """Ingests for tests, without the vector step unless they ask for it."""

    def __init__(
        self, database: LiveDatabase, settings: Settings, root: Path, entries: Iterable[dict[str, Any]],
        progress: Progress | None = None,
    ) -> None:  # fmt: skip
        self.database = database
        self.settings = settings
        self.root = root
        self.progress = progress
        self.configure(*entries)

    def configure(self, *entries: dict[str, Any]) -> None:
        """Replaces `ingestion.yaml`; paths are relative to the node's root."""
        self.manager = IngestorManager(
            self.settings, database=self.database, config=config(entries, self.root), progress=self.progress
        )

    def start(
        self, *names: str, steps: Sequence[Step] = CATALOGUE, full: bool = False, dry_run: bool = False,
        accept_deletions: bool = False, released: bytes | None = None,
    ) -> IngestReport:  # fmt: skip
        options = Options(
            tuple(steps), full=full, dry_run=dry_run, accept_deletions=accept_deletions, released=released
        )  # fmt: skip
        return self.manager.ingest(names, options=options)

    def run(self, *names: str, **options: Any) -> RunReport:
        """The report of the only run of a start."""
        report = self.start(*names, **options)
        assert len(report["runs"]) == 1
        return report["runs"][0]

    def rows(self, query: str, **parameters: Any) -> list[dict[str, Any]]:
        with self.database.transaction() as connection:
            return rows(connection, query, **parameters)

    def value(self, query: str, **parameters: Any) -> Any:
        with self.database.transaction() as connection:
            return connection.execute(text(query), parameters).scalar_one()

    def products(self) -> dict[str, str]:
        """Names of the live products by the last part of their URN."""
        found = self.rows("SELECT urn, name FROM products WHERE deleted_at IS NULL ORDER BY urn")
        return {row["urn"].rpartition(":")[2]: row["name"] for row in found}

    def issues(self, **wanted: Any) -> list[dict[str, Any]]:
        """Issues whose columns have these values."""
        found = self.rows("SELECT * FROM issues ORDER BY shard, position, code, id")
        return [row for row in found if all(row[name] == value for name, value in wanted.items())]

    def codes(self, **wanted: Any) -> list[str]:
        return [row["code"] for row in self.issues(**wanted)]

    def staging_tables(self) -> list[str]:
        found = self.rows("SELECT relname FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace "
                          "WHERE nspname = 'staging' AND relkind = 'r'")  # fmt: skip
        return [row["relname"] for row in found]

    def snapshot(self, organization: str = ORGANIZATION) -> dict[str, Any]:
        with self.database.transaction() as connection:
            return snapshot(connection, organization)

    def indexed(self) -> dict[str, bytes]:
        """What text of each product is in the search index, by URN; for a node with one index."""
        table = self.value("SELECT 'vectors_' || id FROM index_generations")
        found = self.rows(f"SELECT p.urn, v.text_hash FROM {table} v JOIN products p ON p.id = v.product_id")
        return {row["urn"]: row["text_hash"] for row in found}

    def found(self, query: str) -> list[str]:
        """Names of what a search finds, best first, with the configured model."""
        with self.database.transaction() as connection:
            hits = search(connection, query_embedder(connection, self.settings), query, limit=5)
        return [hit.name for hit in hits]

    def empty(self) -> None:
        """Forgets everything; sequences go on."""
        with self.database.transaction() as connection:
            for table in _EMPTIED:
                connection.exec_driver_sql(f"DELETE FROM {table}")
            for run_id in leftovers(connection):
                StagingTables(run_id).drop(connection)


def node_of(url: str, folder: Path, registry: str = "publisher/registry.json") -> Node:
    """A node of this database with an ingestor `acme`, of the registry in `folder`."""
    settings = Settings(_env_file=None, database_url=url, data_dir=folder / "data", log_level="error")
    return Node(LiveDatabase(url), settings, folder, [{"name": "acme", "registry": registry}])


def config(entries: Iterable[dict[str, Any]], root: Path) -> IngestionConfig:
    listed = [{"source_type": "local"} | entry for entry in entries]
    return IngestionConfig.model_validate({"ingestion": listed}, context={"root": root})


def rows(connection: Connection, query: str, **parameters: Any) -> list[dict[str, Any]]:
    return [dict(row._mapping) for row in connection.execute(text(query), parameters)]


def snapshot(connection: Connection, organization: str = ORGANIZATION) -> dict[str, Any]:
    """All that a reader of the catalogue can see of an organization, and all that its feed's checkpoint knows, by
    natural keys: no ids, no times."""
    found = rows(connection, "SELECT * FROM organizations WHERE urn = :urn", urn=organization)
    if not found:
        return {}
    own = found[0]
    identity = own["id"]
    return {
        "organization": _without(own, "id", "created_at", "updated_at"),
        "registry brands": rows(connection, _REGISTRY_BRANDS, organization=identity),
        "categories": rows(connection, _CATEGORIES, organization=identity),
        "products": [_readable(row) for row in rows(connection, _PRODUCTS, organization=identity)],
        "offers": rows(connection, _OFFERS, organization=identity),
        "groups": [_readable(row) for row in rows(connection, _GROUPS, organization=identity)],
        "issues": rows(connection, _ISSUES, organization=identity),
        "feed": rows(connection, _FEED, organization=identity),
        "shards": rows(connection, _SHARDS, organization=identity),
        "occurrences": rows(connection, _OCCURRENCES, organization=identity),
    }


def counters(connection: Connection, organization: str = ORGANIZATION) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the feed's row says is live, and what is."""
    said = rows(
        connection,
        """
        SELECT live_products, live_groups, live_offers FROM feeds f
        JOIN organizations o ON o.id = f.organization_id WHERE o.urn = :urn
        """,
        urn=organization,
    )
    counted = rows(
        connection,
        """
        SELECT
            (SELECT count(*) FROM products WHERE organization_id = o.id AND deleted_at IS NULL) AS live_products,
            (SELECT count(*) FROM product_groups
                WHERE organization_id = o.id AND deleted_at IS NULL AND NOT is_stub) AS live_groups,
            (SELECT count(*) FROM offers f JOIN products p ON p.id = f.product_id
                WHERE p.organization_id = o.id) AS live_offers
        FROM organizations o WHERE o.urn = :urn
        """,
        urn=organization,
    )
    return said[0], counted[0]


def _without(row: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in names}


def _readable(row: dict[str, Any]) -> dict[str, Any]:
    """`raw` as the JSON it holds: a change of layout alone need not be stored."""
    raw = row["raw"]
    if raw is None:
        return row
    text = zstandard.decompress(raw).decode(errors="replace")
    return row | {"raw": json.loads(text, strict=False)}


_REGISTRY_BRANDS = """
    SELECT urn, name, logo FROM brands WHERE organization_id = :organization AND origin = 'registry' ORDER BY urn
    """
_CATEGORIES = """
    SELECT c.path FROM organization_categories oc JOIN categories c ON c.id = oc.category_id
    WHERE oc.organization_id = :organization ORDER BY c.path
    """
_PRODUCTS = """
    SELECT p.urn, p.sku, p.name, p.description, p.url, p.image, p.brand_name, p.gtins, p.mpn, p.content_hash,
        p.text_hash, p.raw, b.urn AS brand_urn, b.name AS brand, b.origin AS brand_origin, c.path AS category,
        g.urn AS group_urn, g.deleted_at IS NOT NULL AS group_deleted
    FROM products p LEFT JOIN brands b ON b.id = p.brand_id LEFT JOIN categories c ON c.id = p.category_id
        LEFT JOIN product_groups g ON g.id = p.group_id
    WHERE p.organization_id = :organization AND p.deleted_at IS NULL ORDER BY p.urn
    """
_OFFERS = """
    SELECT p.urn, p.deleted_at IS NOT NULL AS deleted, o.ordinal, o.price, o.currency, o.availability, o.inventory,
        o.valid_until, o.url
    FROM offers o JOIN products p ON p.id = o.product_id
    WHERE p.organization_id = :organization ORDER BY p.urn, o.ordinal
    """
_GROUPS = """
    SELECT g.urn, g.is_stub, g.product_group_id, g.name, g.description, g.url, g.image, g.varies_by, g.content_hash,
        g.raw, b.urn AS brand_urn, b.name AS brand, c.path AS category
    FROM product_groups g LEFT JOIN brands b ON b.id = g.brand_id LEFT JOIN categories c ON c.id = g.category_id
    WHERE g.organization_id = :organization AND g.deleted_at IS NULL ORDER BY g.urn
    """
_ISSUES = """
    SELECT ingestor, feed_id IS NULL AS of_registry, shard, attempted, severity, code, position, path, message, value,
        count, places
    FROM issues WHERE organization_id = :organization
    ORDER BY of_registry, shard COLLATE "C", position, code, path, message
    """
_FEED = """
    SELECT ingestor, source_type, path, context_hash, fingerprint, attempted_fingerprint, verdict,
        live_products, live_groups, live_offers
    FROM feeds WHERE organization_id = :organization
    """
_SHARDS = """
    SELECT s.url, s.ordinal, s.bytes_hash, s.items, s.products, s.product_groups, s.offers, s.products_rejected,
        s.product_groups_rejected, s.offers_rejected
    FROM feed_shards s JOIN feeds f ON f.id = s.feed_id WHERE f.organization_id = :organization ORDER BY s.url
    """
_OCCURRENCES = """
    SELECT s.url, o.position, o.kind, o.urn, o.item_hash, o.content_hash, o.superseded, o.offers, o.offers_rejected,
        o.issues
    FROM occurrences o JOIN feeds f ON f.id = o.feed_id LEFT JOIN feed_shards s ON s.id = o.shard_id
    WHERE f.organization_id = :organization ORDER BY s.url, o.position
    """

"""What the database says while it may be down at any moment, and what it is told to remember."""

from typing import Any

import psycopg
from psycopg.rows import dict_row

# Every change of a feed's revision, every product that changes hands, every piece of work that was shared: written down
# in the transaction that does it.
AUDIT = """
    CREATE TABLE chaos_merges (
        feed_id bigint, organization_id bigint, revision bigint, fingerprint bytea,
        at timestamptz DEFAULT clock_timestamp(), PRIMARY KEY (feed_id, revision));
    CREATE FUNCTION chaos_merge() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO chaos_merges VALUES (NEW.id, NEW.organization_id, NEW.revision, NEW.fingerprint);
        RETURN NULL;
    END $$;
    CREATE TRIGGER chaos_merge AFTER UPDATE OF revision ON feeds FOR EACH ROW
        WHEN (OLD.revision IS DISTINCT FROM NEW.revision) EXECUTE FUNCTION chaos_merge();
    CREATE TABLE chaos_strays (product_id bigint, was bigint, now bigint);
    CREATE FUNCTION chaos_stray() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO chaos_strays VALUES (NEW.id, OLD.organization_id, NEW.organization_id);
        RETURN NULL;
    END $$;
    CREATE TRIGGER chaos_stray AFTER UPDATE OF organization_id ON products FOR EACH ROW
        WHEN (OLD.organization_id <> NEW.organization_id) EXECUTE FUNCTION chaos_stray();
    CREATE TABLE chaos_pieces (is_shard bool, helped bool);
    CREATE FUNCTION chaos_piece() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO chaos_pieces SELECT r.id = NEW.owner, s.worker <> NEW.worker
            FROM starts s LEFT JOIN runs r ON r.start_id = s.id AND r.id = NEW.owner
            WHERE NEW.owner IN (r.id, s.id);
        RETURN NULL;
    END $$;
    CREATE TRIGGER chaos_piece AFTER UPDATE OF result ON pieces FOR EACH ROW EXECUTE FUNCTION chaos_piece();
    """
FINAL = ("success", "degraded", "held", "failed", "coalesced")


class Ledger:
    """Looks into the database over a connection of its own, which is made anew when it broke."""

    def __init__(self, url: str) -> None:
        self._url = url.replace("postgresql+psycopg://", "postgresql://", 1)
        self._connection: psycopg.Connection[dict[str, Any]] | None = None

    def rows(self, query: str, *parameters: object) -> list[dict[str, Any]]:
        """Raises `psycopg.Error` while the database is away."""
        try:
            if self._connection is None:
                self._connection = psycopg.connect(self._url, autocommit=True, row_factory=dict_row, connect_timeout=5)
            cursor = self._connection.execute(query, parameters)  # type: ignore[call-overload]
            return cursor.fetchall() if cursor.description else []
        except psycopg.Error:
            self.close()
            raise

    def seen(self, query: str, *parameters: object) -> list[dict[str, Any]]:
        """Nothing while the database is away."""
        try:
            return self.rows(query, *parameters)
        except psycopg.Error:
            return []

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def busy(self) -> set[int]:
        """The processes that hold a start or a piece."""
        found = self.seen("""
            SELECT worker FROM starts WHERE status = 'running'
            UNION SELECT worker FROM pieces WHERE worker IS NOT NULL AND result IS NULL
            """)
        return {int(row["worker"].rsplit(":", 2)[1]) for row in found}

    def is_merging(self) -> bool:
        """Whether a transaction holds an organization's lock, as merges do."""
        return bool(
            self.seen("""
            SELECT 1 FROM pg_locks l JOIN organizations o
                ON hashtextextended('organization', o.id) = ((l.classid::bigint << 32) | l.objid::bigint)
            WHERE l.locktype = 'advisory' AND l.granted
            """)
        )

    def open(self) -> list[dict[str, Any]]:
        """Starts and runs that are not in a final state."""
        return self.rows(
            """
            SELECT 'start' AS what, id, status, task, attempt, worker, error FROM starts WHERE NOT status = ANY(%s)
            UNION ALL SELECT 'run', id, status, ingestor, 0, start_id::text, error FROM runs
                WHERE status IN ('running', 'waiting')
            """,
            list(FINAL),
        )

    def fingerprints(self) -> dict[str, bytes]:
        """Of the publications that are live, by organization."""
        found = self.rows("SELECT o.urn, f.fingerprint FROM feeds f JOIN organizations o ON o.id = f.organization_id")
        return {row["urn"]: row["fingerprint"] for row in found}

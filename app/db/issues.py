"""Issues of feeds, written beside the rows they are about."""

from sqlalchemy import Connection, text

from app.db.publication import Publication
from app.db.session import driver_connection
from app.db.staging import IssueRow

_COLUMN_NAMES = ("shard", "severity", "code", "position", "path", "message", "value", "count", "places")
_COLUMNS = ", ".join(_COLUMN_NAMES)


def record_issues(connection: Connection, publication: Publication, *, attempted: bool) -> None:
    """Stores the staged issues of a publication and those of its index."""
    connection.execute(
        text(f"""
            INSERT INTO issues (ingestor, organization_id, feed_id, attempted, {_COLUMNS})
            SELECT f.ingestor, f.organization_id, f.id, :attempted, {", ".join(f"s.{name}" for name in _COLUMN_NAMES)}
            FROM feeds f, {publication.staging.name("issues")} s WHERE f.id = :feed
            """),
        {"feed": publication.feed_id, "attempted": attempted},
    )
    insert_issues(connection, publication, publication.issues, attempted=attempted)


def insert_issues(connection: Connection, publication: Publication, rows: list[IssueRow], *, attempted: bool) -> None:
    """Stores issues of a feed."""
    with driver_connection(connection).cursor() as cursor:
        cursor.executemany(
            f"""
            INSERT INTO issues (ingestor, organization_id, feed_id, attempted, {_COLUMNS})
            SELECT f.ingestor, f.organization_id, f.id, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s
            FROM feeds f WHERE f.id = %s
            """,
            [(attempted, *row, publication.feed_id) for row in rows],
        )


def record_attempt(connection: Connection, publication: Publication, *, verdict: str) -> None:
    """Remembers a publication that was not applied, and what is wrong with it."""
    connection.execute(text("DELETE FROM issues WHERE feed_id = :feed AND attempted"), {"feed": publication.feed_id})
    record_issues(connection, publication, attempted=True)
    connection.execute(
        text("""
            UPDATE feeds SET attempted_fingerprint = :fingerprint, verdict = :verdict, seen = :seen,
                updated_at = now()
            WHERE id = :feed
            """),
        {
            "feed": publication.feed_id,
            "fingerprint": publication.fingerprint,
            "verdict": verdict,
            "seen": publication.seen and publication.seen.as_json(),
        },
    )

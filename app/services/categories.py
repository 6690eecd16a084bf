"""Categories: breadcrumb paths and the paths above them."""

from collections.abc import Iterable

from sqlalchemy import Connection, text

from app.cmp.categories import ancestors


def ensure(connection: Connection, paths: Iterable[str]) -> None:
    """Adds the categories that are missing, parents too. Sorted, so that two transactions never wait for each other.

    Those that are there stay until the transaction ends: empty ones are removed meanwhile (`app.services.retention`).
    """
    wanted = sorted({ancestor for path in paths for ancestor in ancestors(path)})
    if not wanted:
        return
    connection.execute(
        text("SELECT FROM categories WHERE path = ANY(CAST(:paths AS text[])) ORDER BY path FOR KEY SHARE"),
        {"paths": wanted},
    )
    connection.execute(
        text("""
            INSERT INTO categories (path, name, depth)
            SELECT path, name, depth FROM unnest(CAST(:paths AS text[]), CAST(:names AS text[]), CAST(:depths AS int[]))
                AS wanted (path, name, depth)
            ON CONFLICT (path) DO NOTHING
            """),
        {
            "paths": wanted,
            "names": [path.rpartition(" > ")[2] for path in wanted],
            "depths": [path.count(" > ") for path in wanted],
        },
    )
    connection.execute(
        text("""
            UPDATE categories c SET parent_id = parent.id
            FROM unnest(CAST(:children AS text[]), CAST(:parents AS text[])) AS wanted (path, parent_path)
            JOIN categories parent ON parent.path = wanted.parent_path
            WHERE c.path = wanted.path AND c.parent_id IS NULL
            """),
        {
            "children": [path for path in wanted if " > " in path],
            "parents": [path.rpartition(" > ")[0] for path in wanted if " > " in path],
        },
    )

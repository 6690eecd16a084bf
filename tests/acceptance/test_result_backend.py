"""Results in PostgreSQL in place of Redis."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import make_url, text

from app.db.session import LiveDatabase
from tests.support.feeds import FeedFolder, product
from tests.support.services import Services, entries, services

ASK = """
from app.worker.tasks.ingest import ingest_all
print(ingest_all.delay("acme", "local", "publisher/registry.json").get(timeout=60)["status"])
"""
FAIL = """
from app.worker.tasks.ingest import ingest_all
try:
    ingest_all.delay("acme", "local", "publisher/broken.json").get(timeout=60)
except Exception as error:
    print(type(error).__name__, error)
"""
CLEAN = """
from app.worker.tasks.cleanup import celery_tasks
for dry_run in (True, False, False):
    print(celery_tasks.delay(dry_run=dry_run).get(timeout=60)["results"])
"""


@pytest.fixture
def node(tmp_path: Path, database_url: str) -> Iterator[Services]:
    publisher = FeedFolder(tmp_path / "publisher")
    publisher.publish([product(1)])
    (publisher.path / "broken.json").write_text("{")
    (tmp_path / "ingestion.yaml").write_text(entries(("acme", "publisher/registry.json")))
    backend = make_url(database_url).set(drivername="db+postgresql").render_as_string(hide_password=False)
    with services(tmp_path, DATABASE_URL=database_url, CELERY_RESULT_BACKEND=backend) as found:
        yield found


def results(database: LiveDatabase) -> list[str]:
    """How the starts ended, as the backend has it."""
    query = "SELECT r.status FROM celery_taskmeta r JOIN starts s ON r.task_id = CAST(s.id AS text) ORDER BY r.id"
    with database.transaction() as connection:
        return list(connection.execute(text(query)).scalars())


def test_results_are_told_and_expire(node: Services, database: LiveDatabase) -> None:
    node.worker()
    assert node.python(ASK).strip() == "success"
    assert "IngestionFailedError" in (failed := node.python(FAIL))
    assert "registry" in failed
    assert results(database) == ["SUCCESS", "FAILURE"]

    with database.transaction() as connection:
        connection.exec_driver_sql(
            "UPDATE celery_taskmeta SET date_done = date_done - interval '8 days' WHERE status = 'FAILURE'"
        )
    assert node.python(CLEAN).split() == ["1", "1", "0"]
    assert results(database) == ["SUCCESS"]

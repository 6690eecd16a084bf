"""What a worker leaves when it is stopped while it works."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from celery.result import AsyncResult

from app.db.session import LiveDatabase
from tests.support.feeds import FeedFolder, product
from tests.support.nodes import rows
from tests.support.services import Services, entries, services, until

SOON = ("--", "worker.soft_shutdown_timeout=1")  # in place of 20 s


@pytest.fixture
def node(tmp_path: Path, database_url: str) -> Iterator[Services]:
    (tmp_path / "ingestion.yaml").write_text(entries(("acme", "publisher/registry.json")))
    with services(tmp_path, DATABASE_URL=database_url, LEASE_SECONDS="600") as found:
        yield found


@contextmanager
def merge_held(database: LiveDatabase) -> Iterator[None]:
    """Lets no merge of the only organization go on while the block runs."""
    with database.transaction() as connection:
        connection.exec_driver_sql(
            "SELECT pg_advisory_xact_lock(hashtextextended('organization', id)) FROM organizations"
        )
        yield


def statuses(database: LiveDatabase, what: str) -> list[str]:
    with database.transaction() as connection:
        return [row["status"] for row in rows(connection, f"SELECT status FROM {what} ORDER BY created_at")]


def is_merging(database: LiveDatabase) -> bool:
    with database.transaction() as connection:
        return bool(rows(connection, "SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"))


def send(node: Services) -> AsyncResult[Any]:
    """As somebody does who knows nothing but the names."""
    with Celery(broker=node.environment["CELERY_BROKER_URL"], backend=node.environment["CELERY_RESULT_BACKEND"]) as app:
        return app.send_task("ingest:all", ["acme", "local", "publisher/registry.json"], queue="ingest")


def test_what_a_stopped_worker_was_at_goes_on_elsewhere_at_once(
    node: Services, database: LiveDatabase, tmp_path: Path
) -> None:
    publisher = FeedFolder(tmp_path / "publisher")
    publisher.publish([product(1)])
    worker = node.worker(*SOON)
    assert send(node).get(timeout=30)["status"] == "success"
    for number, told in ((2, signal.SIGQUIT), (3, signal.SIGTERM)):
        publisher.publish([product(1), product(number)])
        with merge_held(database):
            send(node)
            until(lambda: is_merging(database))
            worker.end(told)
            assert statuses(database, "starts")[-1] == "queued"
            with database.transaction() as connection:
                assert rows(connection, "SELECT * FROM workers") == []
        node.environment["REMAP_SIGTERM"] = "SIGQUIT"  # of the next one
        worker = node.worker(*SOON)  # within the lease, which is ten minutes here
        until(lambda number=number: statuses(database, "starts") == ["success"] * number)  # type: ignore[misc]
    with database.transaction() as connection:
        assert [row["failures"] for row in rows(connection, "SELECT failures FROM starts")] == [0, 0, 0]
        assert len(rows(connection, "SELECT FROM products")) == 3

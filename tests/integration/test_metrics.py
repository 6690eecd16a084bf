"""What the database tells of the node's health."""

from collections.abc import Iterator
from uuid import uuid4

import pytest
from sqlalchemy import text

from app.db.session import LiveDatabase
from app.ingestors.handlers.vector import VectorHandler
from app.services import messages, metrics, traffic
from app.services.messages import Wanted
from app.services.metrics import Outcomes, Pending
from app.services.pieces import PieceLostError
from app.vectors.indexes.traffic import Counters
from tests.support.embedders import HashEmbedder, factory, forget_generations
from tests.support.feeds import ORGANIZATION, FeedFolder, product
from tests.support.nodes import Node


@pytest.fixture
def database(node: Node) -> Iterator[LiveDatabase]:
    """The node's, without vectors."""
    forget_generations(node.database)
    yield node.database
    forget_generations(node.database)


def pending(database: LiveDatabase) -> Pending:
    with database.transaction() as connection:
        return metrics.pending(connection)


def execute(database: LiveDatabase, statement: str) -> None:
    with database.transaction() as connection:
        connection.execute(text(statement))


def test_what_the_index_is_behind_with(node: Node, folder: FeedFolder, database: LiveDatabase) -> None:
    assert pending(database) == Pending(0, 0)
    folder.publish([product(1), product(2), product(3)])
    node.run()
    execute(database, "UPDATE feeds SET merged_at = now() - interval '1 hour'")
    before_there_is_one = pending(database)
    VectorHandler(database, node.settings, create=factory(HashEmbedder())).run()
    assert pending(database) == Pending(0, 0)

    folder.publish([product(1), product(2, name="Another"), product(4)])
    node.run()
    execute(database, "UPDATE products SET updated_at = now() - interval '2 hours' WHERE sku IN ('SKU-1', 'SKU-4')")
    behind = pending(database)
    assert (before_there_is_one.products, behind.products) == (3, 2)
    assert 3600 <= before_there_is_one.oldest < 3700
    assert 7200 <= behind.oldest < 7300


def test_what_the_ledger_tells_now(node: Node, folder: FeedFolder, database: LiveDatabase) -> None:
    with database.transaction() as connection:
        assert not metrics.has_used_workers(connection)
    folder.publish([product(number) for number in range(30)])
    node.run()
    folder.publish([product(1)])
    assert node.run()["status"] == "held"
    wanted = [Wanted(uuid4(), "ingest:vector", name, {"ingestor_name": name}) for name in ("a", "b")]
    with database.transaction() as connection:
        for each in wanted:
            messages.record(connection, each)
    execute(database, f"UPDATE starts SET due_at = now() + interval '1 hour' WHERE id = '{wanted[0].id}'")
    execute(database, f"UPDATE starts SET due_at = now() - interval '1 hour' WHERE id = '{wanted[1].id}'")
    execute(database, "DELETE FROM beat_slots")
    with database.transaction() as connection:
        now, outcomes = metrics.read(connection), metrics.outcomes(connection)
        assert metrics.has_used_workers(connection)
    assert (now.queued, now.running, now.feeds_held, now.workers, now.beat_age) == (2, 0, 1, 0, None)
    assert 3600 <= now.oldest_queued < 3700
    assert 0 <= now.feed_ages[ORGANIZATION] < 60
    assert outcomes == Outcomes(failed=0, held=1)
    assert ("runs", {"ingestor": "acme", "status": "held"}) in [each[:2] for each in now.counters]


def test_traffic_of_a_transaction_that_fails_is_counted_by_the_next(node: Node) -> None:
    counters = Counters()
    counters.add("kept", requests=3)
    with pytest.raises(PieceLostError), traffic.counting(node.database):
        raise PieceLostError("taken over")
    with traffic.counting(node.database):
        pass
    query = "SELECT sum(value) FROM counters WHERE name = 'index_requests' AND labels LIKE '%kept%'"
    assert node.value(query) == 3

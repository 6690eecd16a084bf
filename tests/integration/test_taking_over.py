"""What a lost worker had staged is taken over by the next attempt of its start, what a lost helper was at by others."""

from uuid import uuid4

import pytest
from sqlalchemy import text

from app.core import process
from app.ingestors.handlers import feed
from app.ingestors.ingestion import Options
from app.services import pieces, starts
from app.services.messages import Wanted
from app.services.starts import LeaseLostError, Start
from tests.support.feeds import FeedFolder, product
from tests.support.nodes import CATALOGUE, Node


def claimed(node: Node, wanted: Wanted) -> Start:
    start = starts.claim(node.database, wanted, lease=60, max_failures=3)
    assert isinstance(start, Start)
    return start


def lose_before_the_merge(node: Node, wanted: Wanted, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first attempt of a start, of which nothing is heard any more once all is staged."""
    start = claimed(node, wanted)

    def vanish(*_: object) -> None:
        raise LeaseLostError(start.id)

    with monkeypatch.context() as patch:
        patch.setattr(feed, "merge", vanish)
        with pytest.raises(LeaseLostError):
            ingest(node, start)
    with node.database.transaction() as connection:
        connection.execute(text("UPDATE starts SET worker = 'elsewhere:1:1', lease_expires_at = now()"))


def ingest(node: Node, start: Start) -> str:
    """With the steps registry and feed."""
    return node.manager._ingest([node.manager._config.entry("acme")], Options(CATALOGUE), start)["status"]


@pytest.fixture
def wanted(node: Node) -> Wanted:
    return Wanted(uuid4(), "ingest:feed", "acme", {})


@pytest.mark.timeout(60)
def test_shards_that_are_shared_though_all_are_staged(
    node: Node, folder: FeedFolder, wanted: Wanted, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.publish([product(0)])
    node.run()
    folder.publish(*([product(number)] for number in range(12)))
    lose_before_the_merge(node, wanted, monkeypatch)
    assert ingest(node, claimed(node, wanted)) == "success"
    assert len(node.products()) == 12


def test_a_shard_that_is_again_as_it_was(
    node: Node, folder: FeedFolder, wanted: Wanted, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.publish([product(1)], [product(2)])
    node.run()
    folder.publish([product(1, name="Withdrawn"), product(3, name=None)], [product(2)])
    lose_before_the_merge(node, wanted, monkeypatch)
    folder.publish([product(1)], [product(2, name="Renamed")])
    assert ingest(node, claimed(node, wanted)) == "success"
    assert node.products() == {"1": "Lamp 1", "2": "Renamed"}
    found = node.snapshot()
    node.empty()
    node.run()
    assert node.snapshot() == found


def test_a_piece_of_a_dead_process_is_free_at_once_and_that_of_a_stranger_is_not(node: Node) -> None:
    owner = uuid4()
    with node.database.transaction() as connection:
        pieces.offer(connection, owner, {0: {}, 1: {}})
    here = process.own_name().rsplit(":", 2)[0]
    for worker in ("elsewhere:1:1", f"{here}:1:1"):
        with pieces.taken(node.database, owner) as piece, node.database.transaction() as connection:
            assert piece is not None
            connection.execute(
                text("UPDATE pieces SET worker = :worker WHERE owner = :owner AND ordinal = :ordinal"),
                {"worker": worker, "owner": owner, "ordinal": piece.ordinal},
            )
    with pieces.taken(node.database, owner) as piece:
        assert piece is not None
        assert piece.ordinal == 1
    with pieces.taken(node.database, owner) as piece:
        assert piece is None

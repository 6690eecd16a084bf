"""A run as it is seen while it is under way, and after it."""

import threading
from dataclasses import dataclass, field
from typing import Any

import httpx2
import pytest
from psycopg.types.json import Jsonb
from sqlalchemy import text

from app.ingestors import watch
from app.ingestors.ingestion import STEPS
from app.ingestors.progress import NoProgress
from app.services import pieces, run_progress, runs, starts
from tests.support.api import Api
from tests.support.feeds import FeedFolder, Publication, Shard, product, product_urn
from tests.support.nodes import Node
from tests.support.services import until
from tests.support.web import Exchange, Site, WebServer


@pytest.fixture(autouse=True)
def _attentive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "INTERVAL", 0.05)


@dataclass
class Held:
    """A site one of whose files does not come before it is let go."""

    site: Site
    path: str
    let_go: threading.Event = field(default_factory=threading.Event)

    def __call__(self, exchange: Exchange) -> None:
        if exchange.path == self.path:
            assert self.let_go.wait(30)
        self.site(exchange)


def _latest(served: Api) -> dict[str, Any]:
    found = served.get("/runs", params={"limit": 1}).json()["runs"]
    document: dict[str, Any] = served.get(f"/runs/{found[0]['id']}").json()
    return document


def _states(run: dict[str, Any]) -> str:
    """The first letters of the shards' states."""
    return "".join(each["state"][0] for each in run["progress"].get("shards", ()))


def test_a_run_under_way_tells_of_each_shard(node: Node, served: Api, folder: FeedFolder, admin: httpx2.Client) -> None:
    folder.publish([product(1)])
    held = Held(Site(folder.path), "/feed/c.json")
    with WebServer(held) as web:
        node.settings = node.settings.model_copy(update={"allowed_private_hosts": "127.0.0.1", "fetch_retries": 0})
        node.configure({"name": "acme", "source_type": "remote", "registry": f"{web.url}/registry.json"})
        assert node.run()["status"] == "success"
        folder.publish([product(1)], b"[", *([product(key), product(key + 10)] for key in range(2, 7)))
        work = threading.Thread(target=node.run)
        work.start()
        run = until(lambda: found if _states(found := _latest(served)).startswith("ufr") else None)
        page = admin.get(f"/runs/{run['id']}").text
        held.let_go.set()
        work.join()
    assert _states(run)[-1] == "w"
    assert {name: run["progress"]["counts"][name] for name in ("unchanged", "failed")} == {"unchanged": 1, "failed": 1}
    assert '<noscript><meta http-equiv="refresh"' in page
    assert 'data-live="2"' in page
    assert "<small>unchanged: 1 item</small>" in page
    assert "<small>being read</small>" in page
    over = _latest(served)
    assert (over["status"], _states(over)) == ("failed", "ufrrrrr")
    assert over["progress"]["counts"] == {"waiting": 0, "reading": 0, "read": 5, "unchanged": 1, "failed": 1}
    assert over["progress"]["shards"][3] == {"shard": "d.json", "state": "read", "items": 2, "of": 2}
    told = admin.get(f"/runs/{over['id']}").text
    assert "data-live" not in told
    assert "5 read, 1 unchanged, 1 not read" in told


def test_what_helpers_do_is_told_too(
    node: Node, served: Api, folder: FeedFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "MAX_SHARDS", 4)
    folder.publish([product(1)])
    node.run()
    organization = node.value("SELECT id FROM organizations")
    database = node.database
    with (
        starts.opened(database, "acme", 60) as start,
        runs.claimed(database, start, organization) as run,
    ):
        with watch.watched(database, run, NoProgress()) as noted:
            noted.listed([f"{number}.json" for number in range(7)])
            noted.read("0.json", "read", 3)
            noted.embedding(10, 1000)
            with database.transaction() as connection:
                pieces.offer(connection, run.id, {ordinal: {} for ordinal in (1, 2, 3, 4, 5)})
                pieces.offer(connection, start.id, {0: {}, 1: {}})
            _finish(node, run, {"staged": True, "counts": {"items": 7}})
            _finish(node, run, {"problem": {}, "transient": True})
            with database.transaction() as connection:
                connection.execute(text("UPDATE pieces SET result = '{\"staged\": false}' WHERE ordinal = 5"))
            _finish(node, start, {"indexed": 256, "failed": 1})
            with pieces.taken(database, run.id):
                progress = until(lambda: served.get(f"/runs/{run.id}").json()["progress"] or None)
        runs.finish(database, run, "success", None)
        starts.finish(database, start, "success")
    assert [(each["state"], each["of"]) for each in progress["shards"]] == [
        ("read", 3), ("read", 7), ("failed", 0), ("reading", 0)
    ]  # fmt: skip
    assert progress["counts"] == {"waiting": 2, "reading": 1, "read": 2, "unchanged": 1, "failed": 1}
    embedding = progress["embedding"]
    assert (embedding["done"], embedding["pending"]) == (257, 1000)
    assert embedding["perSecond"] > 0


def _finish(node: Node, owner: Any, result: dict[str, Any]) -> None:
    with pieces.taken(node.database, owner.id) as piece:
        assert piece
        with node.database.transaction() as connection:
            piece.finish(connection, result)


def test_a_run_that_was_taken_over_writes_no_more(node: Node) -> None:
    database = node.database
    with starts.opened(database, "acme", 60) as start, runs.claimed(database, start, None) as run:
        start.attempt += 1
        with database.transaction() as connection:
            run_progress.write(connection, run, {"shards": []})
        assert node.value("SELECT count(*) FROM runs WHERE progress IS NOT NULL") == 0
        start.attempt -= 1
        runs.finish(database, run, "success", None)
        starts.finish(database, start, "success")


def test_a_run_tells_how_fast_it_embedded(node: Node, served: Api, folder: FeedFolder, admin: httpx2.Client) -> None:
    folder.publish([product(key) for key in range(3)])
    node.run(steps=STEPS)
    run = _latest(served)
    embedding = run["progress"]["embedding"]
    assert (embedding["done"], embedding["pending"]) == (3, 3)
    assert f"3 of 3 products, {embedding['perSecond']:,.0f} a second" in admin.get(f"/runs/{run['id']}").text


def test_a_run_that_read_no_shard_has_a_page(node: Node, served: Api, folder: FeedFolder, admin: httpx2.Client) -> None:
    folder.publish([product(1)])
    node.run()
    for steps in (("registry",), ("vector",)):
        node.run(steps=steps)
        run = _latest(served)
        assert "shards" not in run["progress"]
        page = admin.get(f"/runs/{run['id']}")
        assert page.status_code == 200
        assert '<div id="shards" hidden>' in page.text


def test_of_many_shards_the_first_are_told() -> None:
    noted = watch.RunWatch(NoProgress())
    noted.listed([f"https://user:secret@brand.example/{number}.json?key=x" for number in range(700)])
    document = noted.document()
    assert document["states"] == "0" * 700
    assert len(document["shards"]) == run_progress.MAX_SHARDS
    assert document["shards"][0] == ["https://brand.example/0.json?…", 0, 0]


def test_what_a_run_that_is_over_had_not_read_is_not_waited_for(node: Node, served: Api, folder: FeedFolder) -> None:
    folder.publish([product(1)])
    run = node.run()["id"]
    with node.database.transaction() as connection:
        noted = {"states": "01", "shards": [["a.json", 0, 0], ["b.json", 1, 2]], "embedding": None}
        connection.execute(
            text("UPDATE runs SET status = 'failed', progress = :noted WHERE id = :id"),
            {"noted": Jsonb(noted), "id": run},
        )
    assert served.get(f"/runs/{run}").json()["progress"]["counts"]["failed"] == 2


def test_where_a_shard_is_is_told_to_operators_alone(node: Node, served: Api, folder: FeedFolder) -> None:
    folder.write(Publication([Shard("secret-4711/a.json", [product(1)])]))
    run = node.start(accept_deletions=True)["runs"][0]["id"]
    for key, shard in ((None, "a.json"), (served.key(), "secret-4711/a.json")):
        told = served.get(f"/products/{product_urn(1)}", headers=key).json()["cmp:provenance"]
        assert told["shard"] == shard
        (noted,) = served.get(f"/runs/{run}", headers=key).json()["progress"]["shards"]
        assert noted["shard"] == shard

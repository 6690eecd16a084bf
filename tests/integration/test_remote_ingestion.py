"""A feed of the web into the catalogue: whole, politely, and cheaply when nothing changed."""

from collections.abc import Iterator
from typing import Any

import pytest

from app.core.config import Settings
from app.ingestors.handlers.feed import FeedFailedError, FeedHandler
from app.ingestors.handlers.reading import FeedRequest
from app.ingestors.helpers import NoHelpers
from app.ingestors.progress import NoProgress
from app.ingestors.sources import tries
from app.ingestors.validation import validate
from app.services import feeds, issues, organizations, runs, starts
from app.services.issues import IssueFilter
from tests.support.feeds import ORGANIZATION, FeedFolder, encode, item_list, organization_entry, product
from tests.support.nodes import Node
from tests.support.web import Exchange, Site, WebServer


@pytest.fixture
def settings(node: Node) -> Settings:
    return node.settings.model_copy(update={"allowed_private_hosts": "127.0.0.1", "fetch_retries": 0})


@pytest.fixture
def site(folder: FeedFolder) -> Iterator[WebServer]:
    with WebServer(Site(folder.path)) as server:
        yield server


@pytest.fixture
def web(node: Node, site: WebServer, settings: Settings) -> Node:
    """A node whose only ingestor reads the site."""
    node.settings = settings
    node.configure({"name": "acme", "source_type": "remote", "registry": f"{site.url}/registry.json"})
    return node


def big(folder: FeedFolder, shards: int = 5, each: int = 60, **first: Any) -> None:
    """A feed of a few hundred products, of which the first may be changed."""
    named = [[product(number * each + place) for place in range(each)] for number in range(shards)]
    named[0][0] |= first
    folder.publish(*named)


def test_a_second_ingestion_asks_once_for_each_document_and_moves_next_to_nothing(
    web: Node, site: WebServer, folder: FeedFolder
) -> None:
    big(folder)
    first = web.run()
    assert first["feed"]["products"]["inserted"] == 300
    moved = site.sent
    site.forget()
    again = web.run(steps=("feed",))
    assert again["status"] == "success"
    assert again["feed"]["shards"] == {"read": 0, "unchanged": 5, "failed": 0}
    assert sorted(site.asked) == [
        ("GET", "/feed/a.json"), ("GET", "/feed/b.json"), ("GET", "/feed/c.json"), ("GET", "/feed/d.json"),
        ("GET", "/feed/e.json"), ("GET", "/feed/index.json"),
    ]  # fmt: skip
    assert all("if-none-match" in exchange.headers for exchange in site.requests)
    assert site.sent < moved / 100


def test_only_what_changed_is_moved(web: Node, site: WebServer, folder: FeedFolder) -> None:
    big(folder)
    web.run()
    site.forget()
    big(folder, name="Another lamp")
    report = web.run(steps=("feed",))
    assert report["feed"]["shards"] == {"read": 1, "unchanged": 4, "failed": 0}
    assert report["feed"]["products"]["updated"] == 1
    shard = len(folder.shard("a.json").read_bytes())
    assert shard < site.sent < shard * 1.1


def test_full_asks_without_conditions(web: Node, site: WebServer, folder: FeedFolder) -> None:
    big(folder, shards=2)
    web.run()
    site.forget()
    web.run(steps=("feed",), full=True)
    assert len(site.requests) == 3
    assert not any("if-none-match" in exchange.headers for exchange in site.requests)


def test_a_feed_of_one_shard_is_asked_for_once(web: Node, site: WebServer, folder: FeedFolder) -> None:
    folder.publish()
    folder.index.write_bytes(encode(item_list(product(1), product(2))))
    assert web.run()["feed"]["products"]["inserted"] == 2
    site.forget()
    assert web.run(steps=("feed",))["feed"]["shards"] == {"read": 0, "unchanged": 1, "failed": 0}
    assert [exchange.target for exchange in site.requests] == ["/feed/index.json"]
    folder.index.write_bytes(encode(item_list(product(1), product(2, name="Other"))))
    site.forget()
    assert web.run(steps=("feed",))["feed"]["products"]["updated"] == 1
    assert len(site.requests) == 1


def test_a_feed_that_moved_is_read_anew(web: Node, site: WebServer, folder: FeedFolder) -> None:
    """What a version was called elsewhere says nothing here."""
    big(folder, shards=2)
    web.run()
    with WebServer(Site(folder.path)) as elsewhere:
        web.configure({"name": "acme", "source_type": "remote", "registry": f"{elsewhere.url}/registry.json"})
        assert web.run()["feed"]["shards"] == {"read": 0, "unchanged": 2, "failed": 0}
        assert not any("if-none-match" in exchange.headers for exchange in elsewhere.requests)


def test_a_feed_without_versions_is_fetched_and_compared(node: Node, folder: FeedFolder, settings: Settings) -> None:
    with WebServer(Site(folder.path, etags=False)) as plain:
        node.settings = settings
        node.configure({"name": "acme", "source_type": "remote", "registry": f"{plain.url}/registry.json"})
        big(folder, shards=2)
        node.run()
        assert node.run()["feed"]["shards"] == {"read": 0, "unchanged": 2, "failed": 0}


def test_updates_are_found_without_downloads(web: Node, site: WebServer, folder: FeedFolder) -> None:
    big(folder)
    web.run()
    feed = f"{site.url}/feed/index.json"
    site.forget()
    assert not web.manager.has_feed_updates("remote", feed)
    assert {exchange.method for exchange in site.requests} == {"HEAD"}
    assert [check.changed for check in web.manager.check_feed_updates()] == [[]]
    big(folder, name="Another lamp")
    site.forget()
    assert web.manager.has_feed_updates("remote", feed)
    assert site.sent < len(folder.shard("a.json").read_bytes()) * 1.2
    web.run()
    assert not web.manager.has_feed_updates("remote", feed)


def test_what_a_bad_attempt_learned_is_kept_and_not_mistaken(web: Node, site: WebServer, folder: FeedFolder) -> None:
    """The new shard was fetched and is not in the catalogue: its version must not stand for what is."""
    big(folder, shards=3)
    web.run()
    big(folder, shards=3, name="Another lamp")
    folder.shard("c.json").unlink()
    failed = web.start(steps=("feed",))
    assert failed["status"] == "failed"
    assert web.codes(attempted=True, severity="error") == ["shard-missing"]
    big(folder, shards=3, name="Another lamp")
    site.forget()
    report = web.run(steps=("feed",))
    assert report["feed"]["products"]["updated"] == 1
    assert report["feed"]["shards"] == {"read": 1, "unchanged": 2, "failed": 0}


def test_an_index_that_becomes_a_shard_is_not_mistaken_for_it(
    web: Node, site: WebServer, folder: FeedFolder, settings: Settings
) -> None:
    """What is known of a document's version, and what it lists, stay together through a failed attempt."""
    big(folder, shards=1, each=2)
    web.run()
    folder.index.write_bytes(encode(item_list(product(0), product(1), product(2))))
    web.settings = settings.model_copy(update={"max_items_per_shard": 2})
    entry = {"name": "acme", "source_type": "remote", "registry": f"{site.url}/registry.json"}
    web.configure(entry)
    assert "MAX_ITEMS_PER_SHARD" in str(web.start()["runs"][0]["error"])
    web.settings = settings
    web.configure(entry)
    assert web.run()["status"] == "success"
    assert web.products() == {"0": "Lamp 0", "1": "Lamp 1", "2": "Lamp 2"}


def test_signed_urls_of_shards_are_not_told(web: Node, site: WebServer, folder: FeedFolder) -> None:
    shards = [f"{site.url}/feed/a.json?signature=s3cret", f"{site.url}/feed/a.json?signature=s3cret"]
    folder.publish([product(1), product(1), product(2, name=...)], shards=shards)
    report = web.run()
    assert report["feed"]["products"]["inserted"] == 1
    assert ("GET", "/feed/a.json?signature=s3cret") in site.asked
    folder.shard("a.json").unlink()
    failed = web.start()
    with web.database.transaction() as connection:
        told = issues.listed(connection, IssueFilter())
    assert {"shard-missing", "name-missing", "duplicate-shard", "duplicate-urn"} <= {issue["code"] for issue in told}
    assert "s3cret" not in f"{told} {failed}"


def test_when_to_come_back_is_passed_on(node: Node, folder: FeedFolder, settings: Settings) -> None:
    site = Site(folder.path)

    def respond(exchange: Exchange) -> None:
        exchange.reply(503, retry_after="1234") if exchange.path == "/feed/b.json" else site(exchange)

    with WebServer(respond) as server:
        big(folder, shards=2)
        node.settings = settings
        node.configure({"name": "acme", "source_type": "remote", "registry": f"{server.url}/registry.json"})
        assert node.run(steps=("registry",))["status"] == "success"
        entry = node.manager._config.entry("acme")
        with node.database.transaction() as connection:
            [(organization, _)] = organizations.owned(connection, "acme")
            publisher = organizations.publisher(connection, organization)
            state = feeds.open_feed(connection, organization, "acme", "remote", f"{server.url}/feed/index.json")
        request = FeedRequest("acme", "remote", f"{server.url}/feed/index.json", publisher)
        with starts.opened(node.database, "acme", 60) as start, runs.claimed(node.database, start, organization) as run:
            handler = FeedHandler(node.database, entry.source(settings), run, NoProgress(), NoHelpers())
            with pytest.raises(FeedFailedError) as caught:
                handler.ingest(request)
        assert (caught.value.transient, caught.value.retry_after) == (True, 1234)
        assert state.revision == 0


@pytest.mark.parametrize("gone", [404, 410, 500])
def test_a_shard_that_cannot_be_had_deletes_nothing(
    node: Node, folder: FeedFolder, settings: Settings, gone: int
) -> None:
    site, broken = Site(folder.path), set()

    def respond(exchange: Exchange) -> None:
        exchange.reply(gone) if exchange.path in broken else site(exchange)

    with WebServer(respond) as server:
        node.settings = settings
        node.configure({"name": "acme", "source_type": "remote", "registry": f"{server.url}/registry.json"})
        big(folder, shards=3)
        node.run()
        before = node.snapshot()
        broken.add("/feed/b.json")
        report = node.start()
        assert report["status"] == "failed"
        assert f"HTTP {gone}" in str(report["runs"][0]["error"])
        assert [issue["shard"] for issue in node.issues(attempted=True, severity="error")] == ["b.json"]
        assert node.snapshot()["products"] == before["products"]
        broken.clear()
        assert node.run()["status"] == "success"


def test_a_registry_leads_to_feeds_of_other_servers(node: Node, folder: FeedFolder, settings: Settings) -> None:
    with WebServer(Site(folder.path)) as brand:
        entry = organization_entry(
            ORGANIZATION, productFeed={"@type": "DataFeed", "url": f"{brand.url}/feed/index.json"}
        )
        with WebServer(lambda exchange: exchange.reply(200, encode(entry))) as registry:
            big(folder, shards=1)
            node.settings = settings
            node.configure({"name": "acme", "source_type": "remote", "registry": f"{registry.url}/registry.json"})
            assert node.run()["feed"]["products"]["inserted"] == 60


def test_a_shard_of_another_origin_needs_leave(node: Node, folder: FeedFolder, settings: Settings) -> None:
    with WebServer(Site(folder.path)) as brand, WebServer(Site(folder.path)) as other:
        folder.publish([product(1)], shards=[f"{other.url}/feed/a.json"])
        entry = {"name": "acme", "source_type": "remote", "registry": f"{brand.url}/registry.json"}
        node.settings = settings
        node.configure(entry)
        assert node.start()["status"] == "failed"
        assert node.codes(attempted=True, severity="error") == ["path-outside"]
        assert other.connections == 0
        node.configure(entry | {"allowed_origins": [other.url]})
        assert node.run()["feed"]["products"]["inserted"] == 1


def test_a_feed_on_the_web_is_linted(site: WebServer, folder: FeedFolder, settings: Settings) -> None:
    folder.publish([product(1)], [product(2, name=...)])
    report = validate(f"{site.url}/feed/index.json", settings=settings)
    assert report.kind == "feed"
    assert report.counts.products == 1
    assert [issue.code for issue in report.issues if issue.severity == "error"] == ["name-missing"]
    folder.shard("b.json").unlink()
    report = validate(f"{site.url}/feed/index.json", settings=settings)
    assert [issue.code for issue in report.issues if issue.severity == "error"] == ["shard-missing"]


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tries, "_BACKOFF", 0.01)

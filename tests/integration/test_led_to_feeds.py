"""A feed that a registry led to is known by its path alone: read with the options of that registry's entry."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.feeds import ORGANIZATION, OTHER_ORGANIZATION, FeedFolder, encode, organization_entry, product
from tests.support.nodes import Node
from tests.support.web import Exchange, Site, WebServer

TOKEN = "Bearer s3cret"  # noqa: S105 - of a server of this test


@pytest.fixture
def closed(folder: FeedFolder) -> Iterator[WebServer]:
    """A server that shows the registry and a brand's feed only to who has the token."""
    site = Site(folder.path)

    def respond(exchange: Exchange) -> None:
        site(exchange) if exchange.headers.get("authorization") == TOKEN else exchange.reply(401)

    folder.publish([product(1)])
    with WebServer(respond) as server:
        yield server


@pytest.fixture
def other(tmp_path: Path) -> Iterator[WebServer]:
    """Another brand's own server."""
    files = FeedFolder(tmp_path / "other", OTHER_ORGANIZATION)
    files.publish([product(2, OTHER_ORGANIZATION)])
    with WebServer(Site(files.path)) as server:
        yield server


@pytest.fixture
def entry(node: Node, folder: FeedFolder, closed: WebServer, other: WebServer) -> dict[str, Any]:
    """The entry of a registry that lists both; its organizations are known, their feeds were not read."""
    listed = [
        organization_entry(urn, productFeed={"url": f"{server.url}/feed/index.json"})
        for urn, server in ((ORGANIZATION, closed), (OTHER_ORGANIZATION, other))
    ]
    folder.registry.write_bytes(encode(listed))
    node.settings = node.settings.model_copy(update={"allowed_private_hosts": "127.0.0.1", "fetch_retries": 0})
    entry = {"name": "network", "source_type": "cmp", "registry": f"{closed.url}/registry.json"}
    entry |= {"headers": {"Authorization": TOKEN}}
    node.configure(entry)
    assert node.start(steps=("registry",))["status"] == "success"
    return entry


@pytest.mark.usefixtures("entry")
def test_it_is_ingested_and_checked_with_the_options_of_the_entry(node: Node, closed: WebServer) -> None:
    feed = f"{closed.url}/feed/index.json"
    assert node.manager.has_feed_updates("cmp", feed)
    (run,) = node.manager.ingest_feed("cmp", feed)["runs"]
    assert (run["status"], run["ingestor"], run["organization"]) == ("success", "network", ORGANIZATION)
    assert not node.manager.has_feed_updates("cmp", feed)
    (run,) = node.manager.ingest_feed("cmp", feed, ingestor="network")["runs"]
    assert run["feed"]["shards"] == {"read": 0, "unchanged": 1, "failed": 0}


@pytest.mark.usefixtures("entry")
def test_the_credentials_of_the_entry_are_not_shown_to_the_servers_of_brands(node: Node, other: WebServer) -> None:
    feed = f"{other.url}/feed/index.json"
    assert node.manager.ingest_feed("cmp", feed)["status"] == "success"
    assert not node.manager.has_feed_updates("cmp", feed)
    assert other.requests
    assert not any("authorization" in exchange.headers for exchange in other.requests)


@pytest.mark.usefixtures("entry")
def test_another_ingestor_does_not_get_it(node: Node, closed: WebServer) -> None:
    (run,) = node.manager.ingest_feed("cmp", f"{closed.url}/feed/index.json", ingestor="another")["runs"]
    assert run["status"] == "failed"
    assert "HTTP 401" in str(run["error"])


def test_a_feed_that_no_entry_leads_to_is_read_without_options(
    node: Node, entry: dict[str, Any], closed: WebServer
) -> None:
    feed = f"{closed.url}/feed/index.json"
    node.configure(entry | {"name": "renamed"})
    (run,) = node.manager.ingest_feed("cmp", feed)["runs"]
    assert "HTTP 401" in str(run["error"])


def test_one_that_the_filter_leaves_out_is_not_ingested_by_its_path(
    node: Node, entry: dict[str, Any], closed: WebServer
) -> None:
    node.configure(entry | {"filter": {"organization": [OTHER_ORGANIZATION]}})
    (run,) = node.manager.ingest_feed("cmp", f"{closed.url}/feed/index.json")["runs"]
    assert run["status"] == "failed"
    assert "left out by its filter" in str(run["error"])
    assert node.products() == {}

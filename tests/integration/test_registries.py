"""A registry that did not change is not moved, not read, and none the less true; one that did is found by a check."""

from collections.abc import Iterator

import pytest
from sqlalchemy import text

from app.ingestors.handlers import registry as registry_handler
from tests.support.feeds import (
    ORGANIZATION,
    OTHER_ORGANIZATION,
    FeedFolder,
    encode,
    organization_entry,
    product,
)
from tests.support.nodes import Node
from tests.support.web import Site, WebServer


@pytest.fixture
def site(folder: FeedFolder) -> Iterator[WebServer]:
    with WebServer(Site(folder.path)) as server:
        yield server


@pytest.fixture
def web(node: Node, site: WebServer, folder: FeedFolder) -> Node:
    """A node that has read the registry of the site."""
    return reads(node, site, folder)


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the registries that are read."""
    sizes: list[int] = []
    parse = registry_handler.parse_registry
    monkeypatch.setattr(registry_handler, "parse_registry", lambda data: sizes.append(len(data)) or parse(data))
    return sizes


def reads(node: Node, site: WebServer, folder: FeedFolder) -> Node:
    folder.publish([product(1)])
    node.settings = node.settings.model_copy(
        update={"allowed_private_hosts": "127.0.0.1", "fetch_retries": 0, "unlisted_retention_days": 0}
    )
    node.configure({"name": "acme", "source_type": "cmp", "registry": f"{site.url}/registry.json"})
    assert node.run()["status"] == "success"
    site.forget()
    return node


def register(folder: FeedFolder, *organizations: str) -> None:
    folder.registry.write_bytes(encode([organization_entry(organization) for organization in organizations]))


def is_due(node: Node) -> bool:
    (check,) = node.manager.check_feed_updates()
    assert check.errors == {}
    return check.is_due


def test_an_unchanged_registry_is_asked_for_and_not_moved(
    web: Node, site: WebServer, folder: FeedFolder, parsed: list[int]
) -> None:
    before = web.snapshot()
    report = web.run(steps=("registry",))
    assert report["registry"] == {
        "organizations": {"read": 1, "inserted": 0, "updated": 0, "unchanged": 1},
        "brands": {"read": 1, "inserted": 0, "updated": 0, "unchanged": 1, "deleted": 0, "rejected": 0},
    }
    assert site.asked == [("GET", "/registry.json")]
    assert "if-none-match" in site.requests[0].headers
    assert site.sent < 100
    assert parsed == []
    assert web.snapshot() == before


def test_full_asks_without_conditions_and_reads(web: Node, site: WebServer, parsed: list[int]) -> None:
    web.run(steps=("registry",), full=True)
    assert "if-none-match" not in site.requests[0].headers
    assert len(parsed) == 1


def test_the_same_bytes_are_not_read_again_whatever_the_server_says(
    node: Node, folder: FeedFolder, parsed: list[int]
) -> None:
    with WebServer(Site(folder.path, etags=False)) as plain:
        reads(node, plain, folder)
        assert len(parsed) == 1
        node.run()
        assert len(parsed) == 1
        register(folder, ORGANIZATION, OTHER_ORGANIZATION)
        assert len(node.start(steps=("registry",))["runs"]) == 2


def test_what_a_registry_said_is_read_again_when_the_catalogue_has_something_else(web: Node, parsed: list[int]) -> None:
    before = web.snapshot()
    with web.database.transaction() as connection:
        connection.execute(text("DELETE FROM organizations"))
    assert web.run()["status"] == "success"
    assert len(parsed) == 1
    assert web.snapshot() == before


def test_an_organization_of_another_ingestor_is_registered_when_that_one_is_gone(
    web: Node, site: WebServer, folder: FeedFolder
) -> None:
    entry = {"name": "late", "source_type": "cmp", "registry": f"{site.url}/registry.json"}
    web.configure(entry)
    assert [web.start()["status"] for _ in range(2)] == ["failed", "failed"]
    with web.database.transaction() as connection:
        connection.execute(text("DELETE FROM organizations"))
    assert web.run()["status"] == "success"


def test_an_unchanged_registry_retires_who_left_it(web: Node, site: WebServer, folder: FeedFolder) -> None:
    register(folder, OTHER_ORGANIZATION)
    web.start(steps=("registry",))
    site.forget()
    assert is_due(web)  # nothing changed, and somebody is to go
    web.start(steps=("registry",))
    assert site.sent < 500
    assert web.products() == {}
    assert web.codes(value=ORGANIZATION) == ["organization-retired"]
    assert not is_due(web)


def test_a_changed_registry_is_found_by_a_check_and_read_once(web: Node, site: WebServer, folder: FeedFolder) -> None:
    path = f"{site.url}/registry.json"
    assert not is_due(web)
    assert {exchange.method for exchange in site.requests} == {"HEAD"}
    register(folder, ORGANIZATION, OTHER_ORGANIZATION)
    assert web.manager.has_feed_updates("cmp", path)
    assert is_due(web)
    web.start(steps=("registry",))
    assert not is_due(web)
    assert not web.manager.has_feed_updates("cmp", path)


def test_a_bad_registry_is_tried_once_and_the_good_one_again(web: Node, folder: FeedFolder) -> None:
    good = folder.registry.read_bytes()
    folder.registry.write_bytes(b"{")
    assert is_due(web)
    assert web.start()["status"] == "failed"
    assert not is_due(web)
    assert web.codes(code="registry-unreadable")
    folder.registry.write_bytes(good)
    assert is_due(web)
    assert web.run()["status"] == "success"
    assert not web.codes(code="registry-unreadable")


def test_a_registry_that_cannot_be_looked_at_is_told(web: Node, site: WebServer, folder: FeedFolder) -> None:
    folder.registry.unlink()
    (check,) = web.manager.check_feed_updates()
    assert list(check.errors) == [f"{site.url}/registry.json"]
    assert not check.is_due

"""An organization that leaves its registry is held, then retired, and comes back as if it had never been away."""

import signal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from app.services import browse, metrics, runs
from tests.integration.test_crashes import start_crash
from tests.support import crashing
from tests.support.embedders import forget_generations
from tests.support.feeds import (
    ORGANIZATION,
    OTHER_ORGANIZATION,
    FeedFolder,
    encode,
    group,
    organization_entry,
    product,
    variant,
)
from tests.support.nodes import Node

ENTRY = {"name": "acme", "registry": "publisher/registry.json"}
THIRD = "urn:cmp:org:third.example"


class Mesh:
    """A registry, and a folder for each organization's feed."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.feeds: dict[str, FeedFolder] = {}

    def publish(self, organization: str, *items: Any) -> None:
        if organization not in self.feeds:
            self.feeds[organization] = FeedFolder(self.root / f"brand{len(self.feeds)}", organization)
        self.feeds[organization].publish(list(items))

    def entry(self, organization: str, **changes: Any) -> dict[str, Any]:
        feed = self.feeds[organization].index.relative_to(self.root)
        return organization_entry(organization, productFeed={"url": str(feed)}, **changes)

    def register(self, *organizations: str, also: Any = ()) -> None:
        entries = [self.entry(organization) for organization in organizations]
        (self.root / "registry.json").write_bytes(encode([*entries, *also]))


@pytest.fixture
def mesh(node: Node, folder: FeedFolder) -> Mesh:
    """Two organizations in the registry of the node, ingested."""
    mesh = Mesh(folder.path)
    mesh.publish(ORGANIZATION, product(1), group(7), variant(2, 7), variant(3, 8))
    mesh.publish(OTHER_ORGANIZATION, product(4, OTHER_ORGANIZATION))
    mesh.register(ORGANIZATION, OTHER_ORGANIZATION)
    set_grace(node, 1)
    assert node.start()["status"] == "success"
    return mesh


def set_grace(node: Node, days: int, **settings: Any) -> None:
    node.settings = node.settings.model_copy(update={"unlisted_retention_days": days} | settings)
    node.configure(ENTRY)


def pass_days(node: Node, days: int) -> None:
    with node.database.transaction() as connection:
        connection.execute(
            text("UPDATE organizations SET unlisted_since = unlisted_since - make_interval(days => :days)"),
            {"days": days},
        )


def told(node: Node) -> list[tuple[str, str]]:
    """Codes and URNs of the issues of organizations that left."""
    found = [issue for issue in node.issues() if issue["code"].startswith("organization-")]
    return sorted((issue["code"], issue["value"]) for issue in found)


def test_one_that_left_is_held_then_retired(node: Node, mesh: Mesh) -> None:
    mesh.register(OTHER_ORGANIZATION)
    for _ in range(3):
        report = node.start()
        assert [run["organization"] for run in report["runs"]] == [OTHER_ORGANIZATION]
        assert node.products().keys() == {"1", "2", "3", "4"}
        assert told(node) == [("organization-unlisted", ORGANIZATION)]
    (issue,) = node.issues(code="organization-unlisted")
    assert "stay as they are until it is read after" in issue["message"]

    pass_days(node, 1)
    report = node.start()
    assert report["status"] == "success"
    run = next(run for run in report["runs"] if run["organization"] == ORGANIZATION)
    assert run["registry"] == {"organizations": {"retired": 1}}
    assert [run["feed"][kind]["deleted"] for kind in ("products", "product_groups", "offers")] == [3, 1, 3]
    assert run["issues"] == {"error": 0, "warning": 1}
    assert node.products() == {"4": "Lamp 4"}
    assert told(node) == [("organization-retired", ORGANIZATION)]

    report = node.start()
    assert [run["organization"] for run in report["runs"]] == [OTHER_ORGANIZATION]
    assert told(node) == [("organization-retired", ORGANIZATION)]


def test_who_left_and_who_is_retired_can_be_seen(node: Node, mesh: Mesh) -> None:
    def seen() -> tuple[list[str], bool, bool]:
        with node.database.transaction() as connection:
            listed = [each.urn for each in browse.organizations(connection, after="", limit=9)]
            found = browse.organization(connection, ORGANIZATION)
        assert found is not None
        return listed, found.unlisted_since is not None, found.retired_at is not None

    assert seen() == ([OTHER_ORGANIZATION, ORGANIZATION], False, False)
    mesh.register(OTHER_ORGANIZATION)
    node.start()
    assert seen() == ([OTHER_ORGANIZATION, ORGANIZATION], True, False)
    retire(node, mesh)
    assert seen() == ([OTHER_ORGANIZATION], True, True)


def test_nothing_is_left_of_a_retired_one_but_deleted_rows(node: Node, mesh: Mesh) -> None:
    retire(node, mesh)
    found = node.snapshot()
    for part in ("registry brands", "categories", "products", "offers", "groups", "shards", "occurrences"):
        assert found[part] == []
    (feed,) = found["feed"]
    assert (feed["live_products"], feed["live_groups"], feed["live_offers"], feed["fingerprint"]) == (0, 0, 0, None)
    assert node.value("SELECT count(*) FROM products WHERE deleted_at IS NOT NULL") == 3
    assert node.rows("SELECT revision FROM feeds ORDER BY revision") == [{"revision": 1}, {"revision": 2}]


def test_one_that_returns_in_time_is_as_if_it_had_stayed(node: Node, mesh: Mesh) -> None:
    before = node.snapshot()
    mesh.register(OTHER_ORGANIZATION)
    node.start()
    mesh.register(ORGANIZATION, OTHER_ORGANIZATION)
    report = node.start()
    assert all(run["feed"]["shards"]["read"] == 0 for run in report["runs"])
    assert node.snapshot() == before
    pass_days(node, 9)
    mesh.register(OTHER_ORGANIZATION)
    node.start()
    assert node.products().keys() == {"1", "2", "3", "4"}  # the time begins anew


def test_a_retired_one_that_returns_is_ingested_whole(node: Node, mesh: Mesh) -> None:
    before = node.snapshot()
    retire(node, mesh)
    mesh.register(ORGANIZATION, OTHER_ORGANIZATION)
    report = node.start()
    run = next(run for run in report["runs"] if run["organization"] == ORGANIZATION)
    assert run["registry"]["organizations"]["inserted"] == 1
    assert run["feed"]["products"]["inserted"] == 3
    assert node.snapshot() == before
    assert told(node) == []


def test_a_retired_one_may_move_to_another_ingestor(node: Node, mesh: Mesh) -> None:
    mesh.register(OTHER_ORGANIZATION)
    (mesh.root / "another.json").write_bytes(encode(mesh.entry(ORGANIZATION)))
    set_grace(node, 0)
    another = {"name": "another", "registry": "publisher/another.json"}
    node.configure(ENTRY, another)
    assert [run["status"] for run in node.start()["runs"]] == ["success", "failed"]  # still the first one's
    assert node.start()["status"] == "success"
    assert node.products().keys() == {"1", "2", "3", "4"}
    assert node.value("SELECT ingestor FROM organizations WHERE urn = :urn", urn=ORGANIZATION) == "another"
    assert told(node) == []


@pytest.mark.parametrize("content", [b"[]", b"<html>", b"{}", b'[{"@type": "cmp:DiscoveryNode"}]', None])
def test_a_registry_that_lists_nobody_retires_nobody(node: Node, mesh: Mesh, content: bytes | None) -> None:
    mesh.register(OTHER_ORGANIZATION)
    node.start()
    pass_days(node, 9)
    registry = mesh.root / "registry.json"
    registry.unlink() if content is None else registry.write_bytes(content)
    for _ in range(2):
        node.start()
        assert node.products().keys() == {"1", "2", "3", "4"}
    if content is not None:
        assert told(node) == [("organization-unlisted", ORGANIZATION)]


def test_while_an_entry_cannot_be_used_nobody_is_retired(node: Node, mesh: Mesh) -> None:
    """It may be the missing one's."""
    mesh.register(OTHER_ORGANIZATION, also=[mesh.entry(ORGANIZATION, name=...)])
    node.start()
    pass_days(node, 9)
    node.start()
    assert node.products().keys() == {"1", "2", "3", "4"}
    mesh.register(OTHER_ORGANIZATION)
    node.start()
    assert node.products().keys() == {"4"}


def test_when_much_would_go_all_is_held_until_it_is_accepted(node: Node, mesh: Mesh) -> None:
    mesh.publish(ORGANIZATION, *[product(key) for key in range(100, 121)])
    node.start()
    mesh.register(OTHER_ORGANIZATION)
    node.start()
    pass_days(node, 9)
    report = node.start()
    assert report["status"] == "held"
    (held,) = [run for run in report["runs"] if run["organization"] is None]
    assert held["steps"] == {"registry": "held"}
    assert "1 of 2 organizations left the registry: 21 of 22 products would be deleted" in str(held["error"])
    assert "--accept-deletions" in str(held["error"])
    (issue,) = node.issues(code="organization-unlisted")
    assert "until the deletions are accepted" in issue["message"]
    assert len(node.products()) == 22

    assert node.start(accept_deletions=True)["status"] == "success"
    assert node.products() == {"4": "Lamp 4"}
    assert node.start()["status"] == "success"


def test_a_release_is_of_the_organizations_that_were_seen(node: Node, mesh: Mesh) -> None:
    mesh.publish(ORGANIZATION, *[product(key) for key in range(100, 121)])
    mesh.publish(THIRD, product(5, THIRD))
    mesh.register(ORGANIZATION, OTHER_ORGANIZATION, THIRD)
    node.start()
    mesh.register(OTHER_ORGANIZATION, THIRD)
    (held,) = [run for run in node.start()["runs"] if run["organization"] is None]
    vanishing = held["registry"]["vanishing"]
    assert vanishing["count"] == 1
    assert vanishing["organizations"] == [{"urn": ORGANIZATION, "products": 21}]
    seen = released_by(node, held["id"])
    assert seen == bytes.fromhex(vanishing["fingerprint"])

    mesh.register(OTHER_ORGANIZATION)
    (another,) = [run for run in node.start(released=seen)["runs"] if run["organization"] is None]
    assert another["status"] == "held"
    assert len(node.products()) == 23
    assert released_by(node, held["id"]) is None

    assert node.start(released=released_by(node, another["id"]))["status"] == "success"
    assert node.products() == {"4": "Lamp 4"}
    assert released_by(node, another["id"]) is None


def released_by(node: Node, run: str) -> bytes | None:
    with node.database.transaction() as connection:
        return runs.held_publication(connection, UUID(run))


def test_many_small_ones_are_held_too(node: Node, mesh: Mesh) -> None:
    brands = [f"urn:cmp:org:brand{number}.example" for number in range(21)]
    for brand in brands:
        mesh.publish(brand)
    mesh.register(ORGANIZATION, OTHER_ORGANIZATION, *brands)
    node.start()
    set_grace(node, 0)
    mesh.register(ORGANIZATION, OTHER_ORGANIZATION)
    for _ in range(2):
        report = node.start()
        assert report["status"] == "held"
        assert "21 of 23 organizations left" in str(report["runs"][-1]["error"])
    mesh.register(ORGANIZATION, OTHER_ORGANIZATION, brands[0])
    assert node.start()["status"] == "success"
    assert node.value("SELECT count(*) FROM organizations WHERE retired_at IS NOT NULL") == 20


def test_what_is_accepted_was_seen_before(node: Node, mesh: Mesh) -> None:
    mesh.publish(THIRD, product(5, THIRD))
    mesh.register(ORGANIZATION, OTHER_ORGANIZATION, THIRD)
    node.start()
    mesh.register(OTHER_ORGANIZATION, THIRD)
    node.start()
    mesh.register(OTHER_ORGANIZATION)
    node.start(accept_deletions=True)
    assert node.products().keys() == {"4", "5"}


def test_one_that_left_is_not_looked_after(node: Node, mesh: Mesh) -> None:
    mesh.register(OTHER_ORGANIZATION)
    node.start()
    mesh.publish(ORGANIZATION, product(9))
    (check,) = node.manager.check_feed_updates()
    assert (check.checked, check.changed) == (1, [])
    with node.database.transaction() as connection:
        assert metrics.read(connection).feed_ages.keys() == {OTHER_ORGANIZATION}
    assert [run["organization"] for run in node.start(steps=("feed",))["runs"]] == [OTHER_ORGANIZATION]


def test_the_feed_of_a_retired_one_is_refused(node: Node, mesh: Mesh) -> None:
    retire(node, mesh)
    assert not node.manager.has_feed_updates("local", str(mesh.feeds[ORGANIZATION].index))
    with node.database.transaction() as connection:
        connection.execute(text("DELETE FROM organizations WHERE urn = :urn"), {"urn": OTHER_ORGANIZATION})
    node.configure({"name": "acme", "feed_path": str(mesh.feeds[ORGANIZATION].index)})
    (run,) = node.start()["runs"]
    assert run["status"] == "failed"
    assert "left its registry" in str(run["error"])
    assert (
        node.value(
            "SELECT count(*) FROM products WHERE organization_id = (SELECT id FROM organizations) "
            "AND deleted_at IS NULL"
        )
        == 0
    )


def test_a_dry_run_tells_what_would_be_retired(node: Node, mesh: Mesh) -> None:
    set_grace(node, 0)
    mesh.register(OTHER_ORGANIZATION)
    node.start()
    report = node.start(dry_run=True)
    assert sum(run["feed"]["products"]["deleted"] for run in report["runs"]) == 3
    assert node.products().keys() == {"1", "2", "3", "4"}


def test_what_was_retired_is_not_found(node: Node, mesh: Mesh) -> None:
    steps = ("registry", "feed", "vector")
    try:
        node.start(steps=steps)
        assert len(node.indexed()) == 4
        set_grace(node, 0)
        mesh.register(OTHER_ORGANIZATION)
        node.start(steps=steps)
        report = node.start(steps=steps)
        assert sum(run["vector"]["deleted"] for run in report["runs"]) == 3
        assert len(node.indexed()) == 1
        assert node.found("lamp") == ["Lamp 4"]
    finally:
        forget_generations(node.database)


@pytest.mark.parametrize("point", crashing.RETIREMENT_POINTS)
def test_one_that_is_killed_in_between_goes_on(node: Node, mesh: Mesh, shared_url: str, point: str) -> None:
    mesh.register(OTHER_ORGANIZATION)
    node.start()
    pass_days(node, 1)
    with start_crash(point, shared_url, node.root) as process:
        process.wait(30)
    assert process.returncode == -signal.SIGKILL
    assert len(node.products()) == (1 if point == "after it was retired" else 4)
    assert node.start()["status"] == "success"
    assert node.products() == {"4": "Lamp 4"}
    assert told(node) == [("organization-retired", ORGANIZATION)]


def retire(node: Node, mesh: Mesh) -> None:
    """The first organization leaves, and is found missing twice."""
    set_grace(node, 0)
    mesh.register(OTHER_ORGANIZATION)
    for _ in range(2):
        assert node.start()["status"] == "success"
    assert node.products().keys() == {"4"}

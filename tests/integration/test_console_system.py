"""How the node itself does, as operators see it."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import httpx2
import pytest

from app.ingestors.cron import following
from app.ingestors.ingestion import STEPS
from app.services import schedules
from app.services.schedules import Planned
from tests.support.api import Api
from tests.support.embedders import forget_generations
from tests.support.feeds import ORGANIZATION, OTHER_ORGANIZATION, FeedFolder, product
from tests.support.nodes import Node


@pytest.fixture
def planned(node: Node) -> Iterator[None]:
    """A daily schedule, one of every hour, and one that an operator got wrong."""
    plans = [
        Planned("daily", "ingest:all", cron="30 4 * * *"), Planned("hourly", "ingest:check_feed_updates", every=3600.0),
        Planned("wrong", "ingest:all", cron="often"), Planned("idle", "ingest:all", every=0.0),
    ]  # fmt: skip
    with node.database.transaction() as connection:
        schedules.seed(connection, plans)
    yield
    with node.database.transaction() as connection:
        schedules.seed(connection, [])


@pytest.mark.usefixtures("planned")
def test_schedules_tell_when_they_are_due_next(served: Api, admin: httpx2.Client) -> None:
    before = datetime.now(UTC)
    listed = served.get("/system", headers=served.key()).json()["schedules"]
    told = {each["name"]: each.get("nextDueAt") for each in listed}
    after = datetime.now(UTC)
    due = {name: datetime.fromisoformat(time) for name, time in told.items() if time}
    assert due.keys() == {"daily", "hourly"}
    assert due["daily"] in (following("30 4 * * *", before), following("30 4 * * *", after))
    assert (due["hourly"].minute, due["hourly"].second) == (0, 0)
    assert before < due["hourly"] <= after + timedelta(hours=1)
    page = admin.get("/system").text
    assert f"<td>{due['daily']:%Y-%m-%d %H:%M:%S}</td>" in page
    assert page.count("<td>never</td>") == 2


def test_an_index_is_in_sync_or_behind(node: Node, served: Api, folder: FeedFolder, admin: httpx2.Client) -> None:
    forget_generations(node.database)
    folder.publish([product(1)])
    node.run(steps=STEPS)
    assert served.get("/system", headers=served.key()).json()["index"][0]["in_sync"] is True
    assert "in sync</span>" in admin.get("/system").text
    folder.publish([product(1), product(2)])
    node.run()
    assert served.get("/system", headers=served.key()).json()["index"][0]["in_sync"] is False
    assert "behind for 0 min" in admin.get("/system").text


def test_feeds_tell_how_fresh_they_are(node: Node, served: Api, folder: FeedFolder, admin: httpx2.Client) -> None:
    folder.publish([product(1)])
    other = FeedFolder(node.root / "other", OTHER_ORGANIZATION)
    other.publish(b"[")
    node.configure(
        {"name": "acme", "registry": "publisher/registry.json"}, {"name": "other", "registry": "other/registry.json"}
    )
    node.start()
    feeds = served.get("/system", headers=served.key()).json()["feeds"]
    assert [(each["organization"], each["verdict"], "ageSeconds" in each) for each in feeds] == [
        (OTHER_ORGANIZATION, "failed", False), (ORGANIZATION, "applied", True)
    ]  # fmt: skip
    page = admin.get("/system").text
    assert '<span class="bad">never</span>' in page
    assert "2 feeds, the oldest first" in page

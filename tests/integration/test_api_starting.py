"""Starts that are asked for over HTTP, while no worker takes them."""

import pytest
import yaml

from app.worker.celery_app import celery_app
from tests.support.api import Api
from tests.support.feeds import ORGANIZATION, FeedFolder, product
from tests.support.nodes import Node


@pytest.fixture
def node(node: Node) -> Node:
    """A node that lists its ingestor in a file."""
    listed = node.root / "ingestion.yaml"
    entry = {"name": "acme", "source_type": "local", "registry": "publisher/registry.json"}
    listed.write_text(yaml.safe_dump({"ingestion": [entry]}))
    node.settings = node.settings.model_copy(update={"ingestion_config_path": listed})
    return node


@pytest.fixture
def held(node: Node, folder: FeedFolder) -> str:
    """The id of a run that holds its publication."""
    folder.publish([product(key) for key in range(30)])
    node.run()
    folder.publish([product(0)])
    run = node.run()
    assert run["status"] == "held"
    return str(run["id"])


@pytest.fixture(autouse=True)
def _no_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(celery_app.conf, "broker_url", "redis://127.0.0.1:1/0")


def test_what_is_queued_already_is_what_one_is_led_to(served: Api, held: str) -> None:
    admin = served.key()
    for path in ("/ingestors/acme/runs", f"/runs/{held}/release"):
        first, again = (served.post(path, headers=admin) for _ in range(2))
        assert (first.status_code, again.status_code) == (202, 202)
        assert again.json() == first.json()
        assert again.headers["location"] == first.headers["location"]
        found = served.get(again.headers["location"]).json()
        assert [each["id"] for each in found["starts"]] == [again.json()["start"]]


def test_nothing_is_done_that_cannot_be_answered(node: Node, served: Api, held: str) -> None:
    admin = served.key()
    link = served.post(f"/organizations/{ORGANIZATION}/issues/links", headers=admin).json()["url"]
    before = node.value("SELECT count(*) FROM starts")
    names = {"name": "acme", "run": held, "urn": ORGANIZATION}
    acting = [
        (method, path.format_map(names))
        for path, operations in served.openapi["paths"].items() for method in operations if method != "get"
    ]  # fmt: skip
    assert len(acting) == 6
    for method, path in acting:
        problem = served.problem(406, method.upper(), path, headers=admin | {"Accept": "text/plain"}, content=b"[]")
        assert "application/json" in problem["offered"]
    assert node.value("SELECT count(*) FROM starts") == before
    assert served.get(link).status_code == 200

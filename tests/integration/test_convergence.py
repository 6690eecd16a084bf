"""After any history of publications the catalogue is what one clean ingestion of the last of them gives."""

from collections.abc import Iterator

import pytest
from hypothesis import given, settings

from app.core.config import Settings
from app.db.session import LiveDatabase
from app.ingestors.handlers import shards
from tests.conftest import _TEMPLATE, _administrate, _named
from tests.support.feeds import OTHER_ORGANIZATION, FeedFolder, encode, organization_entry
from tests.support.histories import Step, histories
from tests.support.nodes import Node, counters

PROFILE = "thorough" if settings.get_current_profile_name() == "thorough" else "quick"
ENTRY = {"name": "acme", "registry": "registry.json"}


@pytest.fixture(scope="module")
def pair(
    shared_url: str, server_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Node, Node, FeedFolder]]:
    """A node that lives through a history, one that is emptied before each publication, and what both read."""
    folder = FeedFolder(tmp_path_factory.mktemp("convergence") / "publisher")
    nodes = []
    for name in ("lived", "clean"):
        _administrate(server_url, f"CREATE DATABASE {name} TEMPLATE {_TEMPLATE}")
        url = _named(server_url, name)
        own = Settings(_env_file=None, database_url=url, log_level="error")
        nodes.append(Node(LiveDatabase(url), own, folder.path, [ENTRY]))
    yield nodes[0], nodes[1], folder
    for name, node in zip(("lived", "clean"), nodes, strict=True):
        node.database.engine.dispose()
        _administrate(server_url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="module")
def small_windows() -> Iterator[None]:
    """Items are compared with what is known of them two at a time, so that small shards have several windows too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shards, "WINDOW", 2)
        yield


@pytest.mark.timeout(7200 if PROFILE == "thorough" else 600)
@pytest.mark.usefixtures("small_windows")
@given(history=histories())
@settings(settings.get_profile(PROFILE))
def test_every_history_converges(pair: tuple[Node, Node, FeedFolder], history: list[Step]) -> None:
    lived, clean, folder = pair
    lived.empty()
    for number, step in enumerate(history):
        publish(lived, folder, step)
        assert_as_clean(lived, clean, f"publication {number}")


def publish(node: Node, folder: FeedFolder, step: Step) -> None:
    """Ingests a step; one that is broken fails first, for want of its last shard."""
    if step.retired:
        retire(node, folder)
    folder.write(step.publication)
    if step.broken:
        folder.shard(step.publication.shards[-1].url).unlink()
        assert node.start(accept_deletions=True)["status"] == "failed"
        folder.write(step.publication)
    report = node.start(full=step.full, accept_deletions=True)
    assert report["status"] == "success", [run["error"] for run in report["runs"]]


def retire(node: Node, folder: FeedFolder) -> None:
    """Two readings of a registry that lists another organization."""
    folder.registry.write_bytes(encode(organization_entry(OTHER_ORGANIZATION)))
    for _ in range(2):
        assert node.start(steps=("registry",), accept_deletions=True)["status"] == "success"
    assert node.products() == {}


def assert_as_clean(lived: Node, clean: Node, place: str) -> None:
    clean.empty()
    assert clean.run()["status"] == "success"
    expected, found = clean.snapshot(), lived.snapshot()
    for name in expected:
        assert found[name] == expected[name], f"{name} after {place}"
    with lived.database.transaction() as connection:
        said, counted = counters(connection)
    assert said == counted
    assert lived.staging_tables() == []

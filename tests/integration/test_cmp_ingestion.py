"""A registry of many organizations, each with a feed on a server of its own."""

import json
import tarfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.core.errors import ConfigurationError
from app.ingestors.config import load_config
from tests.support.feeds import ORGANIZATION, OTHER_ORGANIZATION, FeedFolder, encode, organization_entry, product
from tests.support.nodes import Node
from tests.support.web import Site, WebServer

SHARED = Path(__file__).parents[3] / "shared" / "data"


@pytest.fixture
def registry(node: Node, folder: FeedFolder, tmp_path: Path) -> Iterator[str]:
    """The URL of a registry of two organizations, whose feeds are of two other servers."""
    other = FeedFolder(tmp_path / "other", OTHER_ORGANIZATION)
    folder.publish([product(1)])
    other.publish([product(2, OTHER_ORGANIZATION)])
    node.settings = node.settings.model_copy(update={"allowed_private_hosts": "127.0.0.1", "fetch_retries": 0})
    with WebServer(Site(folder.path)) as first, WebServer(Site(other.path)) as second:
        listed = [
            organization_entry(urn, productFeed={"url": f"{server.url}/feed/index.json"}, category=[slug])
            for urn, server, slug in [(ORGANIZATION, first, "lamps"), (OTHER_ORGANIZATION, second, "books")]
        ]
        with WebServer(lambda exchange: exchange.reply(200, encode(listed))) as server:
            yield f"{server.url}/brands.json"


def entry(registry: str, **filter: list[str]) -> dict[str, object]:
    return {"name": "network", "source_type": "cmp", "registry": registry} | ({"filter": filter} if filter else {})


def test_each_organization_has_its_own_server_and_run(node: Node, registry: str) -> None:
    node.configure(entry(registry))
    report = node.start()
    assert [run["status"] for run in report["runs"]] == ["success", "success"]
    assert node.value("SELECT count(*) FROM products") == 2


@pytest.mark.parametrize(
    "filter",
    [
        {"organization": [OTHER_ORGANIZATION.replace("org:", "orgid:")]},
        {"category": ["Books"]},
        {"brand": [f"{OTHER_ORGANIZATION}:brand:acme"]},
        {"category": ["books", "lamps"], "organization": [OTHER_ORGANIZATION]},
    ],
)
def test_a_filter_narrows_what_is_ingested_not_what_is_known(
    node: Node, registry: str, filter: dict[str, list[str]]
) -> None:
    node.configure(entry(registry, **filter))
    (run,) = node.start()["runs"]
    assert (run["status"], run["organization"]) == ("success", OTHER_ORGANIZATION)
    assert node.value("SELECT count(*) FROM products") == 1
    assert node.value("SELECT count(*) FROM organizations WHERE NOT is_stub") == 2


def test_updates_of_what_is_filtered_out_are_not_looked_for(node: Node, registry: str) -> None:
    node.configure(entry(registry))
    node.start()
    node.configure(entry(registry, category=["books"]))
    (check,) = node.manager.check_feed_updates()
    assert (check.checked, check.changed, check.errors) == (1, [], {})


def test_a_filter_that_fits_nobody_is_an_error(node: Node, registry: str) -> None:
    node.configure(entry(registry, category=["cars"]))
    (run,) = node.start()["runs"]
    assert run["status"] == "failed"
    assert "lets no organization" in str(run["error"])


@pytest.mark.parametrize("line", ["filter: {colour: [red]}", "filter: {organization: [acme]}"])
def test_a_filter_is_typed(tmp_path: Path, line: str) -> None:
    path = tmp_path / "ingestion.yaml"
    path.write_text(
        f"ingestion:\n  - name: a\n    source_type: cmp\n    registry: https://a.example/r.json\n    {line}\n"
    )
    with pytest.raises(ConfigurationError, match=r"filter\.(colour|organization)"):
        load_config(path)
    path.write_text(
        path.read_text().replace("cmp", "remote").replace("colour: [red]", "").replace("acme", ORGANIZATION)
    )
    with pytest.raises(ConfigurationError, match="filter is not for a remote source"):
        load_config(path)


def test_icecat_is_read_without_a_rejection_and_again_for_next_to_nothing(node: Node, tmp_path: Path) -> None:
    """A fifth of its organizations; from files all are read."""
    packed = SHARED / "icecat" / "catalogue.tar.xz"
    if not packed.is_file():
        pytest.skip("the Icecat catalogue is not on this machine")
    with tarfile.open(packed) as archive:
        archive.extractall(tmp_path / "icecat", filter="data")
    listed = json.loads((tmp_path / "icecat" / "brands.json").read_bytes())
    chosen = [organization["identifier"]["value"] for organization in listed[::5]]
    node.settings = node.settings.model_copy(update={"allowed_private_hosts": "127.0.0.1"})
    with WebServer(Site(tmp_path / "icecat")) as server:
        node.configure(entry(f"{server.url}/brands.json", organization=chosen))
        first = node.start()
        assert (first["status"], len(first["runs"])) == ("success", 33)
        totals = [run["feed"]["products"] for run in first["runs"]]
        assert sum(total["inserted"] for total in totals) == 5_922
        assert sum(total["rejected"] for total in totals) == 0
        assert node.value("SELECT count(*) FROM products WHERE deleted_at IS NULL") == 5_922
        assert node.codes(severity="error") == []
        asked, moved = set(server.asked), server.sent
        server.forget()
        again = node.start()
        assert again["status"] == "success"
        assert sum(run["feed"]["shards"]["read"] for run in again["runs"]) == 0
        assert max(Counter(server.asked).values()) == 1
        assert set(server.asked) == asked
        assert all("if-none-match" in exchange.headers for exchange in server.requests)
        assert server.sent < moved / 100

"""Issues of the whole node by code, and the way from there to each organization's diagnostics."""

import html
import re
from collections.abc import Iterator

import httpx2
import pytest

from app.services import issue_summary
from tests.support.api import Api, api
from tests.support.console import MARKUP, PAGE, signed_in
from tests.support.feeds import ORGANIZATION, OTHER_ORGANIZATION, FeedFolder, product
from tests.support.nodes import Node, node_of


@pytest.fixture(scope="module")
def node(module_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """Two organizations: of one, three products have no name, of the other one; and a registry with a stray entry."""
    root = tmp_path_factory.mktemp("flawed")
    node = node_of(module_url, root)
    folder, other = FeedFolder(root / "publisher"), FeedFolder(root / "other", OTHER_ORGANIZATION)
    folder.publish([product(1), *(product(key, name=...) for key in (2, 3, 4))])
    other.publish([product(1, OTHER_ORGANIZATION), product(2, OTHER_ORGANIZATION, name=..., sku=MARKUP)])
    node.configure(
        {"name": "acme", "registry": "publisher/registry.json"}, {"name": "other", "registry": "other/registry.json"}
    )
    node.start()
    yield node
    node.database.engine.dispose()


@pytest.fixture(scope="module")
def served(node: Node) -> Iterator[Api]:
    with api(node.database, node.settings) as client:
        yield client


@pytest.fixture(scope="module")
def admin(served: Api) -> Iterator[httpx2.Client]:
    with signed_in(served) as browser:
        yield browser


def test_the_nodes_issues_are_told_by_code(served: Api) -> None:
    codes = {each["code"]: each for each in served.get("/issues").json()["codes"]}
    unnamed = codes["name-missing"]
    assert (unnamed["severity"], unnamed["count"]) == ("error", 4)
    assert unnamed["title"]
    assert unnamed["hint"]
    assert [(each["organization"], each["count"]) for each in unnamed["organizations"]] == [
        (ORGANIZATION, 3), (OTHER_ORGANIZATION, 1)
    ]  # fmt: skip
    assert "name-missing" not in [each["code"] for each in served.get("/issues?severity=warning").json()["codes"]]
    for further in (f"organization={ORGANIZATION}", "code=name-missing"):
        assert "codes" not in served.get(f"/issues?{further}").json()


def test_of_many_organizations_the_first_are_told(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(issue_summary, "MAX_ORGANIZATIONS", 1)
    with node.database.transaction() as connection:
        (unnamed,) = (each for each in issue_summary.by_code(connection) if each["code"] == "name-missing")
    assert (len(unnamed["organizations"]), unnamed["more"], unnamed["count"]) == (1, 1, 4)


def test_what_is_no_organizations_stands_under_its_registry(node: Node, served: Api) -> None:
    folder = FeedFolder(node.root / "broken")
    folder.registry.write_text("[")
    node.configure({"name": "broken", "registry": "broken/registry.json"})
    assert node.run()["status"] == "failed"
    holders = [each for code in served.get("/issues").json()["codes"] for each in code["organizations"]]
    assert {"ingestor": "broken", "count": 1} in holders
    assert "the registry of broken" in served.get("/issues", headers=PAGE).text


def test_operators_are_led_to_diagnostics(served: Api, admin: httpx2.Client) -> None:
    page = admin.get("/issues").text.replace("%3A", ":")
    (link,) = re.findall(rf'href="(/organizations/{re.escape(ORGANIZATION)}/issues#name-missing)"', page)
    diagnostics = admin.get(link).text
    assert 'id="name-missing"' in diagnostics
    assert "Make a link" in diagnostics
    led = admin.get("/issues", params={"organization": ORGANIZATION, "code": "name-missing"})
    assert (led.status_code, led.headers["location"].replace("%3A", ":")) == (303, link)
    data = admin.get("/issues", params={"organization": ORGANIZATION}, headers={"Accept": "application/json"})
    assert len(data.json()["issues"]) >= 3


def test_others_see_the_places_without_items(served: Api) -> None:
    page = html.unescape(served.get("/issues", headers=PAGE).text).replace("%3A", ":")
    assert f'href="/issues?organization={ORGANIZATION}&code=name-missing"' in page
    of_one = served.get("/issues", params={"organization": ORGANIZATION}, headers=PAGE).text
    assert "name-missing" in of_one
    assert "<mark>" not in of_one
    everywhere = served.get("/issues", params={"code": "name-missing"}, headers=PAGE).text
    assert OTHER_ORGANIZATION in everywhere.replace("%3A", ":")

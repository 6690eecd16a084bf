"""Issues of the whole node by code, and the way from there to each organization's diagnostics."""

import csv
import html
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import httpx2
import pytest

from app.db.session import dry_run
from app.services import issue_summary, issues
from app.services.issues import IssueFilter
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


def test_pages_link_to_files_of_all_their_issues(
    served: Api, admin: httpx2.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A browser follows the link without a script, and saves what comes."""
    monkeypatch.setattr(issues, "PAGE", 2)
    for place, wanted in (
        ("/issues", {}),
        ("/issues?severity=error&limit=1", {"severity": "error"}),
        ("/issues?code=name-missing&limit=1", {"code": "name-missing"}),
        (f"/organizations/{ORGANIZATION}/issues", {"organization": ORGANIZATION}),
    ):
        (link,) = re.findall(r'href="(/issues\.csv[^"]*)"', admin.get(place).text)
        answer = admin.get(html.unescape(link))
        assert answer.headers["content-type"].startswith("text/csv")
        assert answer.headers["content-disposition"] == 'attachment; filename="issues.csv"'
        listed = served.get("/issues", params=wanted).json()["issues"]
        assert len(listed) > 2
        found = list(csv.DictReader(io.StringIO(answer.text)))
        assert _places(found) == _places(listed)
        assert [row["severity"] for row in found] == [issue["severity"] for issue in listed]
        lines = served.get("/issues.ndjson", params=wanted).text.splitlines()
        assert sorted(lines) == sorted(json.dumps(issue, separators=(",", ":"), ensure_ascii=False) for issue in listed)
    assert "name-missing" in served.get("/issues?code=name-missing&limit=1", headers=PAGE).text
    assert "This page has 1 of them" in served.get("/issues?code=name-missing&limit=1", headers=PAGE).text
    assert served.problem(422, "GET", "/issues.xml")["errors"][0]["parameter"] == "form"


def test_a_file_has_refused_texts_beside_issues_of_the_same_id(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(issues, "PAGE", 1)
    with dry_run(node.database) as database:
        with database.transaction() as connection:
            connection.exec_driver_sql(_REFUSED)
            assert connection.exec_driver_sql("SELECT count(*) FROM issues JOIN products USING (id)").scalar_one() == 2
            listed = issues.listed(connection, IssueFilter())
        pages = list(issues.in_pages(database.transaction, IssueFilter()))
    assert max(len(page) for page in pages) == 1
    told = [issue for page in pages for issue in page]
    assert [issue["code"] for issue in told].count("text-refused") == 2
    assert _places(told) == _places(listed)


_REFUSED = """
    WITH made AS (
        INSERT INTO index_generations (identity_hash, identity, dimensions, status)
        VALUES ('\\x00', '{}', 3, 'live') RETURNING id)
    INSERT INTO refused_texts (generation_id, product_id, text_hash, reason)
    SELECT made.id, p.id, p.text_hash, 'no' FROM made, products p
    """


def _places(found: Iterable[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    names = ("organization", "code", "shard", "position", "path", "message")
    return sorted(tuple(str("" if issue[name] is None else issue[name]) for name in names) for issue in found)

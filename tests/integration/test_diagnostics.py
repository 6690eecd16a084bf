"""Diagnostics of one organization, for operators and, by a link, for its brand."""

import html
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import httpx2
import pytest

from app.api.links import SECRET, Link, sign
from app.services import diagnostics, links, secrets
from tests.support.api import Api, api
from tests.support.console import PAGE
from tests.support.feeds import ORGANIZATION, OTHER_ORGANIZATION, FeedFolder, offer, product
from tests.support.nodes import Node, node_of

HOSTILE = "<script>alert(1)</script>"
PLACE = f"/organizations/{quote(ORGANIZATION)}/issues"


@pytest.fixture(scope="module")
def served(module_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    root: Path = tmp_path_factory.mktemp("diagnosed")
    node = node_of(module_url, root)
    flawed = product(2, offers=[offer(), offer(price=HOSTILE)])
    FeedFolder(root / "publisher").publish([product(1), flawed, product(3, name=...)])
    node.run()
    with api(node.database, node.settings, api_keys_required=True) as client:
        yield client
    node.database.engine.dispose()


def test_issues_are_told_by_code_with_remedy_and_item(served: Api) -> None:
    document = served.get(PLACE, headers=served.key()).json()
    assert document["organization"] == ORGANIZATION
    found = {each["code"]: each for each in document["codes"]}
    assert all(each["hint"] and each["title"] and each["count"] >= 1 for each in found.values())
    (priced,) = [place for each in found.values() for place in each["places"] if place["path"] == "offers[1].price"]
    assert priced["position"] == 2
    assert priced["value"] == HOSTILE
    assert priced["item"]["offers"][1]["price"] == HOSTILE
    rejected = [place for each in found.values() for place in each["places"] if place["position"] == 3]
    assert rejected
    assert not [place for place in rejected if "item" in place]


def test_many_issues_are_all_counted_and_the_first_places_shown(node: Node, folder: FeedFolder) -> None:
    nameless = [product(key, name=...) for key in range(2600)]
    unknown = [product(key, type="Service") for key in range(2600, 2650)]
    dropped = product(2650, offers=[offer(price="?"), offer(price="?")])
    undescribed = [product(key, description=...) for key in range(2651, 2700)]
    folder.publish([*nameless[:1300], *undescribed], [*nameless[1300:], *unknown, dropped])
    node.run()
    with node.database.reading(10) as connection:
        found = {each["code"]: each for each in diagnostics.of(connection, ORGANIZATION)}
    told = {code: (each["severity"], each["count"], each.get("items")) for code, each in found.items()}
    assert told["name-missing"] == ("error", 2600, 2600)
    assert told["type-unknown"] == ("error", 50, 50)
    assert told["price-unusable"] == ("error", 2, 1)
    assert told["description-missing"] == ("warning", 49, None)
    assert [len(found[code]["places"]) for code in told if told[code][1] >= 20] == [20] * 3
    assert [place["position"] for place in found["name-missing"]["places"]] == list(range(1, 21))
    assert [each["severity"] for each in found.values()] == sorted(each["severity"] for each in found.values())
    with api(node.database, node.settings) as client:
        link = client.post(f"{PLACE}/links", headers=client.key()).json()["url"]
        page = client.get(link, headers=PAGE).text
    assert "2,600 places" in page
    assert "2 places in 1 item<" in page
    assert page.count("The first 20 of them") == 3


def test_only_operators_read_them_without_a_link(served: Api) -> None:
    served.problem(401, "GET", PLACE)
    served.problem(403, "GET", PLACE, headers=served.key("read"))
    served.problem(401, "POST", f"{PLACE}/links")
    served.problem(403, "POST", f"{PLACE}/links", headers=served.key("read"))
    served.problem(401, "DELETE", "/diagnostics")
    served.problem(401, "POST", f"{PLACE}/links/revoke")
    served.problem(403, "POST", f"{PLACE}/links/revoke", headers=served.key("read"))
    served.problem(404, "GET", f"/organizations/{quote(OTHER_ORGANIZATION)}/issues", headers=served.key())


def test_a_brand_reads_them_by_a_link_until_it_is_revoked(served: Api) -> None:
    admin = served.key()
    made = served.post(f"{PLACE}/links", params={"days": 7}, headers=admin)
    assert made.status_code == 201
    link = made.json()["url"]
    answer = served.get(link)
    assert answer.json() == served.get(PLACE, headers=admin).json()
    assert answer.headers["x-robots-tag"] == "noindex"
    served.problem(401, "GET", "/issues")
    served.problem(401, "GET", "/issues.csv")
    (file,) = re.findall(r'href="(/diagnostics/[^"]+)"', served.get(link, headers=PAGE).text)
    table = served.get(file, headers=PAGE)
    everything = served.get("/issues.csv", params={"organization": ORGANIZATION}, headers=admin)
    assert (table.status_code, table.text) == (200, everything.text)
    assert table.headers["x-robots-tag"] == "noindex"

    revoked = served.post(f"{PLACE}/links/revoke", headers=admin)
    assert (revoked.json()["revoked"], revoked.json()["organization"]) == (True, ORGANIZATION)
    problem = served.problem(410, "GET", link)
    assert problem["type"] == "urn:discovery-node:problem:link-revoked"
    assert "Ask whoever runs the node" in problem["remedy"]
    assert served.problem(410, "GET", file) == problem
    assert served.get(served.post(f"{PLACE}/links", headers=admin).json()["url"]).status_code == 200


def test_all_links_are_revoked_at_once(served: Api) -> None:
    admin = served.key()
    link = served.post(f"{PLACE}/links", headers=admin).json()["url"]
    assert served.delete("/diagnostics", headers=admin).json()["revoked"]
    served.problem(404, "GET", link)
    assert served.get(served.post(f"{PLACE}/links", headers=admin).json()["url"]).status_code == 200


def test_another_organizations_links_stay_when_one_is_revoked(served: Api) -> None:
    made = served.post(f"{PLACE}/links", headers=served.key()).json()["url"]
    with served.database.transaction() as connection:
        links.revoke(connection, OTHER_ORGANIZATION)
        assert links.revoked_at(connection, OTHER_ORGANIZATION) is not None
    assert served.get(made).status_code == 200


def test_an_operator_revokes_them_in_the_console_by_a_form_of_their_session(served: Api) -> None:
    link = served.post(f"{PLACE}/links", headers=served.key()).json()["url"]
    with httpx2.Client(base_url=served.base_url, headers={"Accept": "text/html"}) as browser:
        key = served.key()["Authorization"].removeprefix("Bearer ")
        browser.post("/sign-in", data={"key": key})
        page = browser.get(PLACE).text
        assert f'action="{PLACE}/links/revoke"' in html.unescape(page)
        (csrf,) = set(re.findall(r'name="csrf" value="(\w+)"', page))
        assert browser.post(f"{PLACE}/links/revoke", data={"csrf": "forged"}).status_code == 403
        assert browser.post(f"{PLACE}/links/revoke").status_code == 403
        assert served.get(link).status_code == 200
        done = browser.post(f"{PLACE}/links/revoke", data={"csrf": csrf})
        assert (done.status_code, "The links are revoked" in done.text) == (200, True)
    told = served.get(link, headers={"Accept": "text/html"})
    assert (told.status_code, "has revoked this link" in told.text) == (410, True)


def test_forged_and_expired_links_are_refused(served: Api) -> None:
    with served.database.transaction() as connection:
        key = secrets.shared(connection, SECRET)
    assert served.get(f"/diagnostics/{sign(key, Link(ORGANIZATION, 2**40, 2**62))}").status_code == 200
    told = [
        served.problem(404, "GET", f"/diagnostics/{token}")["type"]
        for token in (
            sign(b"guessed", Link(ORGANIZATION, 2**40, 2**62)), sign(key, Link(ORGANIZATION, 2**40))[:-3] + "zzz", "x",
            "%00", "é",
        )
    ]  # fmt: skip
    assert set(told) == {"urn:discovery-node:problem:no-such-link"}
    expired = served.problem(410, "GET", f"/diagnostics/{sign(key, Link(ORGANIZATION, 1, 2**62))}")
    assert expired["type"] == "urn:discovery-node:problem:link-expired"


def test_the_page_marks_the_place_and_keeps_markup_text(served: Api) -> None:
    made = served.post(f"{PLACE}/links", headers=served.key()).json()["url"]
    page = served.get(made, headers={"Accept": "text/html"}).text
    assert "<mark>      &#34;price&#34;: &#34;&lt;script&gt;alert(1)&lt;/script&gt;&#34;,</mark>" in page
    assert page.count("<mark>") == 1
    assert HOSTILE not in page
    assert "Make a link" not in page

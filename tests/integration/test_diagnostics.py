"""Diagnostics of one organization, for operators and, by a link, for its brand."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from app.api.links import SECRET, Link, sign
from app.services import secrets
from tests.support.api import Api, api
from tests.support.feeds import ORGANIZATION, OTHER_ORGANIZATION, FeedFolder, offer, product
from tests.support.nodes import node_of

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


def test_only_operators_read_them_without_a_link(served: Api) -> None:
    served.problem(401, "GET", PLACE)
    served.problem(403, "GET", PLACE, headers=served.key("read"))
    served.problem(401, "POST", f"{PLACE}/links")
    served.problem(403, "POST", f"{PLACE}/links", headers=served.key("read"))
    served.problem(401, "DELETE", "/diagnostics")
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

    assert served.delete("/diagnostics", headers=admin).json()["revoked"]
    served.problem(404, "GET", link)
    assert served.get(served.post(f"{PLACE}/links", headers=admin).json()["url"]).status_code == 200


def test_forged_and_expired_links_are_refused(served: Api) -> None:
    with served.database.transaction() as connection:
        key = secrets.shared(connection, SECRET)
    assert served.get(f"/diagnostics/{sign(key, Link(ORGANIZATION, 2**40))}").status_code == 200
    told = [
        served.problem(404, "GET", f"/diagnostics/{token}")["type"]
        for token in (
            sign(key, Link(ORGANIZATION, 1)), sign(b"guessed", Link(ORGANIZATION, 2**40)),
            sign(key, Link(ORGANIZATION, 2**40))[:-3] + "zzz", "x", "%00", "é",
        )
    ]  # fmt: skip
    assert set(told) == {"urn:discovery-node:problem:no-such-link"}


def test_the_page_marks_the_place_and_keeps_markup_text(served: Api) -> None:
    made = served.post(f"{PLACE}/links", headers=served.key()).json()["url"]
    page = served.get(made, headers={"Accept": "text/html"}).text
    assert "<mark>      &#34;price&#34;: &#34;&lt;script&gt;alert(1)&lt;/script&gt;&#34;,</mark>" in page
    assert page.count("<mark>") == 1
    assert HOSTILE not in page
    assert "Make a link" not in page

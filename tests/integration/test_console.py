"""Pages over the real server: what they show, whom they let in, and what of a hostile feed stays text."""

import re
import time
from collections.abc import Iterator
from html.parser import HTMLParser

import httpx2
import pytest

from app.api.console import session
from app.ingestors.ingestion import STEPS
from app.services import keys
from tests.support.api import Api, api
from tests.support.console import MARKUP, PAGE, csrf_of, key_of
from tests.support.feeds import ORGANIZATION, FeedFolder, group, product, product_urn, variant
from tests.support.nodes import Node
from tests.support.web import Site, WebServer

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' https:; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)


@pytest.fixture
def served(node: Node, folder: FeedFolder) -> Iterator[Api]:
    folder.publish(
        [
            product(1, name="Desk lamp"),
            product(2, name=MARKUP, description=MARKUP, category=MARKUP, brand={"name": MARKUP},
                    image="javascript:alert(3)", url="javascript:alert(4)", color=MARKUP,
                    additionalProperty=[{"@type": "PropertyValue", "name": MARKUP, "value": MARKUP}]),
            product(3, image="http://127.0.0.1:1/none.png"), {"@type": "Product", "name": MARKUP, "offers": MARKUP},
            group(1), variant(4, 1), variant(5, 1),
            product("bare", id=..., isVariantOf=None), product(6, isVariantOf={"@type": "ProductGroup"}),
        ]
    )  # fmt: skip
    assert node.run(steps=STEPS)["status"] in ("success", "degraded")
    with api(node.database, node.settings) as client:
        yield client


def test_public_pages_show_what_their_documents_hold(served: Api) -> None:
    places = [
        "/products?q=lamp&explain=true&in_stock=true", f"/products/{product_urn(4)}", "/categories", "/brands",
        f"/compare?urn={product_urn(1)}&urn={product_urn(4)}", "/organizations", f"/organizations/{ORGANIZATION}",
        f"/issues?organization={ORGANIZATION}", "/validate", "/sign-in",
    ]  # fmt: skip
    for place in places:
        answer = served.get(place, headers=PAGE)
        assert answer.status_code == 200, place
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert answer.headers["content-security-policy"] == _POLICY
        assert "<h1>" in answer.text or "search" in answer.text
        if "validate" not in place and "sign-in" not in place:
            assert served.get(place).headers["content-type"] == "application/ld+json"
    assert "Desk lamp" in served.get("/products?q=desk+lamp", headers=PAGE).text
    assert product_urn(5) in served.get(f"/products/{product_urn(4)}", headers=PAGE).text.replace("%3A", ":")
    assert served.get("/", headers=PAGE).headers["location"] == "/products"


def test_a_product_that_names_neither_itself_nor_a_group_has_a_page(served: Api) -> None:
    urns = {each["name"]: each["@id"] for each in served.get("/products", params={"q": "lamp"}).json()["products"]}
    for name in ("Lamp bare", "Lamp 6"):
        place = f"/products/{urns[name]}"
        assert served.get(place).json()["@id"] == urns[name]
        page = served.get(place, headers=PAGE)
        assert page.status_code == 200, name
        assert f"<code>{urns[name]}</code>" in page.text
        assert "Variants" not in page.text


def test_a_problem_is_a_page_too(served: Api) -> None:
    answer = served.get("/products/urn:none", headers=PAGE)
    assert answer.status_code == 404
    assert "There is no product of this URN" in answer.text
    assert served.get("/static/../secrets", headers=PAGE).status_code == 404


def test_markup_of_feeds_stays_text(served: Api, admin: httpx2.Client) -> None:
    places = [
        "/products?explain=true", f"/products/{product_urn(2)}", "/categories", "/brands", "/organizations",
        f"/organizations/{ORGANIZATION}", f"/issues?organization={ORGANIZATION}", "/runs", f"/products?q={MARKUP}",
        f"/compare?urn={product_urn(1)}&urn={product_urn(2)}",
    ]  # fmt: skip
    told = ""
    for place in places:
        page = admin.get(place).text
        assert _live(page) == [], place
        told += page
    assert "&lt;script&gt;alert(1)" in told


def test_operating_pages_are_for_who_signed_in(served: Api, admin: httpx2.Client) -> None:
    (run,) = served.get("/runs").json()["runs"]
    for place in ("/runs", f"/runs/{run['id']}", "/ingestors", "/system"):
        refused = served.get(place, headers=PAGE)
        assert refused.status_code == 401, place
        assert 'href="/sign-in"' in refused.text
        assert admin.get(place).status_code == 200, place
    assert served.get("/system").status_code == 401
    assert admin.get("/system", headers={"Accept": "application/json"}).json()["index"][0]["pending"] == 0


def test_a_cookie_holds_no_key_and_ends_with_it(served: Api) -> None:
    key = key_of(served)
    with httpx2.Client(base_url=served.base_url, headers=PAGE) as browser:
        told = browser.post("/sign-in", data={"key": key}).headers["set-cookie"]
        assert {"HttpOnly", "SameSite=strict"} <= {part.strip() for part in told.split(";")}
        assert key.rpartition("_")[2] not in told
        assert browser.get("/runs").status_code == 200
        with served.database.transaction() as connection:
            keys.revoke(connection, key.split("_")[1])
        assert browser.get("/runs").status_code == 401


def test_forged_and_old_cookies_open_nothing(served: Api, admin: httpx2.Client, monkeypatch) -> None:
    value = admin.cookies[session.COOKIE]
    other = "B" if value.startswith("A") else "A"
    for forged in ("", "x", value[:-4] + "AAAA", other + value[1:], value + "é"):
        headers = {**PAGE, "Cookie": f"{session.COOKIE}={forged}".encode()}
        assert served.get("/runs", headers=headers).status_code == 401, forged
    ahead = time.time() + session.LASTS + 1
    monkeypatch.setattr(session.time, "time", lambda: ahead)
    assert admin.get("/runs").status_code == 401


def test_a_wrong_key_signs_nobody_in(served: Api) -> None:
    for wrong in ("cmp_000000000000_" + "x" * 43, "nothing"):
        answer = served.post("/sign-in", data={"key": wrong}, headers=PAGE)
        assert answer.status_code == 401
        assert "set-cookie" not in answer.headers


def test_a_form_of_elsewhere_starts_nothing(served: Api, admin: httpx2.Client) -> None:
    (run,) = served.get("/runs").json()["runs"]
    for place in ("/ingestors/acme/runs", f"/runs/{run['id']}/release", "/sign-out"):
        for data in ({}, {"csrf": "0" * 64}, {"csrf": "é"}):
            assert admin.post(place, data=data).status_code == 403, place
    own = csrf_of(admin.get("/ingestors").text)
    assert admin.post("/ingestors/none/runs", data={"csrf": own}).status_code == 404
    assert admin.post(f"/runs/{run['id']}/release", data={"csrf": own}).status_code == 409
    assert admin.post("/sign-out", data={"csrf": own}).status_code == 303
    assert admin.get("/runs").status_code == 401


def test_a_reader_is_no_operator(served: Api) -> None:
    with httpx2.Client(base_url=served.base_url, headers=PAGE) as browser:
        browser.post("/sign-in", data={"key": key_of(served, "read")})
        assert browser.get("/runs").status_code == 401
        assert browser.post("/ingestors/acme/runs", data={}).status_code == 403
        page = browser.get("/products").text
        assert 'href="/sign-in"' not in page
        assert browser.post("/sign-out", data={"csrf": csrf_of(page)}).status_code == 303
        assert session.COOKIE not in browser.cookies
        assert 'href="/sign-in"' in browser.get("/products").text


def test_a_feed_is_validated_by_upload(served: Api) -> None:
    files = {"file": ("shard.json", b'[{"@type": "Product", "name": "<b>"}]')}
    answer = served.post("/validate/form", files=files, headers=PAGE)
    assert answer.status_code == 200
    assert 'class="remedy"' in answer.text
    inside = served.post("/validate/form", data={"url": "http://127.0.0.1:1/feed.json"}, headers=PAGE)
    assert inside.status_code == 422
    assert served.post("/validate/form", data={}, headers=PAGE).status_code == 422


def test_a_cookie_opens_no_private_host(node: Node, folder: FeedFolder) -> None:
    """Or the form of any page would, in an operator's browser; the key itself does."""
    folder.publish([product(1)])
    with (
        WebServer(Site(folder.path)) as inside,
        api(node.database, node.settings, allowed_private_hosts="127.0.0.1") as client,
    ):
        place = f"{inside.url}/feed/index.json"
        with httpx2.Client(base_url=client.base_url, headers=PAGE) as browser:
            assert browser.post("/sign-in", data={"key": key_of(client)}).status_code == 303
            assert browser.post("/validate/form", data={"url": place}).status_code == 422
            assert browser.post("/validate", params={"url": place}).status_code == 422
        assert inside.asked == []
        assert client.post("/validate", params={"url": place}, headers=client.key("admin")).status_code == 200
        assert inside.asked


def test_files_are_cached_by_what_they_hold(served: Api) -> None:
    first = served.get("/static/console.css")
    assert served.get("/static/console.css", headers={"If-None-Match": first.headers["etag"]}).status_code == 304


class _Elements(HTMLParser):
    """Collects what would run: scripts but the page's own, handlers, and links that are no addresses."""

    def __init__(self) -> None:
        super().__init__()
        self.live: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag == "script" and found.get("src") != "/static/console.js":
            self.live.append(str(attrs))
        links = [found.get(name) or "/" for name in ("href", "src", "action")]
        is_led_astray = not all(re.match(r"https?://|/|#|[?]", link) for link in links)
        is_active = tag in ("iframe", "object", "embed", "base", "style") or any(
            name.startswith("on") for name in found
        )
        if is_active or is_led_astray:
            self.live.append(str(attrs))


def _live(page: str) -> list[str]:
    parser = _Elements()
    parser.feed(page)
    return parser.live


def test_runs_are_listed_with_state_duration_and_counts(node: Node, served: Api, admin: httpx2.Client) -> None:
    with node.database.transaction() as connection:
        connection.exec_driver_sql("UPDATE runs SET finished_at = created_at + interval '61.7 s'")
    (run,) = served.get("/runs").json()["runs"]
    page = admin.get("/runs").text
    heads, (cells,) = (re.findall(r"<th>(.*?)</th>", page), re.findall(r"<tr>\s*(<td>.*?)</tr>", page, re.DOTALL))
    told = dict(zip(heads, re.findall(r"<td[^>]*>(.*?)</td>", cells), strict=True))
    assert told["Duration"] == "1 min 2 s"
    assert run["status"] in told["State"]
    assert told["New"] == told["Products"] == str(run["feed"]["products"]["inserted"])
    assert "1 min 2 s" in admin.get(f"/runs/{run['id']}").text


def test_a_held_run_lists_what_would_vanish(node: Node, served: Api, folder: FeedFolder, admin: httpx2.Client) -> None:
    folder.publish([product(number) for number in range(30)])
    node.run(steps=STEPS)
    folder.publish([product(0)])
    held = node.run(steps=STEPS)
    page = admin.get(f"/runs/{held['id']}").text
    assert "29 products" in page
    assert page.count("<td>Lamp ") == 29
    assert f'action="/runs/{held["id"]}/release"' in page

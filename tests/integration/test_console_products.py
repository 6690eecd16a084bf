"""Pages of products and of searches: where a product comes from, and why it was found."""

import html
import json
import re
from collections.abc import Iterator
from urllib.parse import quote

import httpx2
import pytest

from app.ingestors.ingestion import STEPS
from tests.support.api import Api, api
from tests.support.console import PAGE, signed_in
from tests.support.feeds import ORGANIZATION, FeedFolder, group, product, product_urn, variant
from tests.support.nodes import Node, node_of


@pytest.fixture(scope="module")
def node(module_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """Two runs: the second adds products and moves one that stays as it is."""
    root = tmp_path_factory.mktemp("shop")
    folder = FeedFolder(root / "publisher")
    node = node_of(module_url, root)
    folder.publish([product(1, name="Desk lamp")], [product(2, name="Reading lamp")])
    assert node.run(steps=STEPS)["status"] == "success"
    odd = json.dumps(product(3, name="Odd lamp", offers=[], weird="é")).replace('", "', '" ,\n "')
    last = [
        product(2, name="Reading lamp"),
        product(2, name="Reading light"),
        group(1),
        variant(4, 1, image="http://pictures.example/4.png", **{"@context": {"@vocab": "urn:own:"}}),
        variant(5, 1),
    ]
    folder.publish([], [product(1, name="Desk lamp"), *last], f"[{odd}]".encode())
    assert node.run(steps=STEPS)["status"] in ("success", "degraded")
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


def _runs(served: Api) -> list[str]:
    """The two runs, the first one first."""
    return [run["id"] for run in reversed(served.get("/runs").json()["runs"])]


def _pre(page: str, name: str) -> str:
    found = re.search(rf'<pre id="{name}">(.*?)</pre>', page, re.DOTALL)
    assert found
    return html.unescape(found[1])


def test_a_product_says_where_it_comes_from(served: Api) -> None:
    first, second = _runs(served)
    unchanged = served.get(f"/products/{product_urn(1)}").json()["cmp:provenance"]
    assert unchanged.pop("changedAt")
    assert unchanged == {
        "organization": ORGANIZATION, "ingestor": "acme", "shard": "b.json", "position": 1, "run": first
    }  # fmt: skip
    changed = served.get(f"/products/{product_urn(2)}").json()["cmp:provenance"]
    assert (changed["shard"], changed["position"], changed["run"]) == ("b.json", 3, second)
    assert changed["further"] == [{"shard": "b.json", "position": 2}]


def test_where_a_feed_is_read_from_is_for_operators(served: Api, admin: httpx2.Client) -> None:
    place = f"/products/{product_urn(2)}"
    assert "feed" not in served.get(place).json()["cmp:provenance"]
    told = served.get(place, headers=served.key()).json()["cmp:provenance"]
    assert told["feed"].endswith("feed/index.json")
    run = f'href="/runs/{told["run"]}"'
    page = admin.get(place).text
    assert run in page
    assert told["feed"] in page
    assert "number 3" in page
    public = served.get(place, headers=PAGE).text
    assert run not in public
    assert told["feed"] not in public


def test_an_item_can_be_had_as_received(served: Api, node: Node) -> None:
    place = f"/products/{product_urn(3)}"
    published = (node.root / "publisher" / "feed" / "c.json").read_text()[1:-1]
    assert served.get(place, params={"received": "true"}).json()["cmp:received"] == published
    assert "cmp:received" not in served.get(place).json()
    page = served.get(place, headers=PAGE).text
    assert _pre(page, "received") == published
    shown = json.loads(_pre(page, "served"))
    assert shown == served.get(place).json()


def test_json_is_the_same_without_a_context(served: Api) -> None:
    for urn, context in ((product_urn(1), "https://schema.org"), (product_urn(4), {"@vocab": "urn:own:"})):
        linked = served.get(f"/products/{urn}").json()
        assert linked.pop("@context") == context
        assert served.get(f"/products/{urn}", headers={"Accept": "application/json"}).json() == linked


def _asked(served: Api, **parameters: object) -> tuple[dict, str]:
    """A page of a search as document and as HTML."""
    asked = {"explain": "true", **parameters}
    return served.get("/products", params=asked).json(), served.get("/products", params=asked, headers=PAGE).text


def test_why_a_product_was_found_is_told_in_words(served: Api) -> None:
    document, page = _asked(served, q="desk lamp", limit=1)
    place = document["products"][0]["cmp:explanation"]["text"]
    assert place["rank"] == 1
    row = r'<th scope="row"[^>]*>all words</th><td class="number">1</td><td class="number">(.*?)</td>.*?value="1.000"'
    assert re.findall(row, page) == [f"{place['score']:.3f}"]
    assert "SKU-1" in _asked(served, q="sku 1", limit=1)[1].partition("stands in the query")[0]
    assert "The query is its brand" in _asked(served, q="acme", limit=1)[1]
    assert "Read as: <strong>reading</strong>" in _asked(served, q="raeding")[1]
    assert "The newest come first." in _asked(served)[1]


def test_further_pages_tell_why_too(served: Api) -> None:
    whole, _ = _asked(served, q="lamp", limit=4)
    first, _ = _asked(served, q="lamp", limit=2)
    second, page = _asked(served, q="lamp", limit=2, pageToken=first["nextPageToken"])
    assert [*first["products"], *second["products"]] == whole["products"]
    assert all(each["cmp:explanation"]["dense"]["rank"] for each in second["products"])
    assert page.count("<summary>Why</summary>") == 2
    without, _ = _asked(served, pageToken=first["nextPageToken"], limit=2)
    assert [each["@id"] for each in without["products"]] == [each["@id"] for each in second["products"]]
    assert "cmp:explanation" not in without["products"][0]


def test_products_are_ticked_and_compared(served: Api) -> None:
    page = served.get("/products", params={"q": "lamp"}, headers=PAGE).text
    form = page[page.index('action="/compare"') :].partition("</form>")[0]
    values = [html.unescape(each) for each in re.findall(r'type="checkbox" name="urn" value="([^"]*)"', form)]
    assert values == [each["@id"] for each in served.get("/products", params={"q": "lamp"}).json()["products"]]
    compared = served.get("/compare", params={"urn": values[:3]}, headers=PAGE)
    assert compared.status_code == 200
    assert all(quote(urn) in compared.text for urn in values[:3])
    for chosen, told in ((values[:1], "1 are chosen"), ([], "none are chosen")):
        refused = served.get("/compare", params={"urn": chosen}, headers=PAGE)
        assert refused.status_code == 422
        assert told in refused.text


def test_variants_are_compared_by_a_link(served: Api) -> None:
    page = served.get(f"/products/{product_urn(4)}", headers=PAGE).text
    (link,) = re.findall(r'href="(/compare[?][^"]*)"', page)
    found = served.get(html.unescape(link)).json()
    assert [each["@id"] for each in found["products"]] == [product_urn(4), product_urn(5)]


def test_more_leads_on_wherever_the_node_is_reached(served: Api) -> None:
    page = served.get("/products", params={"q": "lamp", "limit": 2}, headers=PAGE).text
    (link,) = re.findall(r'href="([^"]*)" rel="next"', page)
    assert link.startswith("?")
    further = served.get(f"/products{html.unescape(link)}", headers=PAGE)
    assert further.status_code == 200
    assert 'href="/brands"' in further.text


def test_pictures_are_asked_for_over_https(served: Api) -> None:
    page = served.get(f"/products/{product_urn(4)}", headers=PAGE).text
    assert 'src="https://pictures.example/4.png"' in page

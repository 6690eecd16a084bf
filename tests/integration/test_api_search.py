"""Search over HTTP: filters, pages, forms, and what is wrong with a request."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from app.ingestors.ingestion import STEPS
from tests.support.api import Api, api
from tests.support.feeds import FeedFolder, offer, product
from tests.support.nodes import Node, node_of


@pytest.fixture(scope="module")
def shop(module_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """Thirty lamps, of which every third is out of stock, served; they stay as they are."""
    root = tmp_path_factory.mktemp("shop")
    node = node_of(module_url, root)
    with _served(node, FeedFolder(root / "publisher")) as client:
        yield client
    node.database.engine.dispose()


@pytest.fixture
def changing(node: Node, folder: FeedFolder) -> Iterator[Api]:
    """The same, of a feed that goes on."""
    with _served(node, folder) as client:
        yield client


@contextmanager
def _served(node: Node, folder: FeedFolder) -> Iterator[Api]:
    folder.publish(
        [
            product(number, name=f"Lamp {number}", offers=[offer(price=number, availability=_availability(number))])
            for number in range(1, 31)
        ]
    )
    assert node.run(steps=STEPS)["status"] == "success"
    with api(node.database, node.settings) as client:
        yield client


def _availability(number: int) -> str:
    return "https://schema.org/InStock" if number % 3 else "https://schema.org/OutOfStock"


def _names(document: dict) -> list[str]:
    return [each["name"] for each in document["products"]]


def test_a_search_answers_products_as_json_ld(shop: Api) -> None:
    response = shop.get("/products", params={"q": "lamp", "limit": 3})
    assert response.headers["content-type"] == "application/ld+json"
    document = response.json()
    assert document["@context"] == "https://schema.org"
    assert len(document["products"]) == 3
    first = document["products"][0]
    assert (first["@type"], first["brand"]["name"], first["offers"]["priceCurrency"]) == ("Product", "Acme", "EUR")
    assert first["@id"].startswith("urn:cmp:")


def test_filters_are_an_object_or_parameters(shop: Api) -> None:
    wanted = {"in_stock": True, "min_price": 10, "max_price": "14.00", "currency": "eur"}
    by_object = shop.get("/products", params={"q": "lamp", "filter": json.dumps(wanted)}).json()
    by_parameters = shop.get("/products", params={"q": "lamp", **{**wanted, "in_stock": "true"}}).json()
    assert sorted(_names(by_object)) == ["Lamp 10", "Lamp 11", "Lamp 13", "Lamp 14"]
    assert by_object == by_parameters


def test_nothing_found_is_an_answer(shop: Api) -> None:
    assert shop.get("/products", params={"q": "lamp", "brand": "Nobody"}).json()["products"] == []


def test_without_a_query_everything_is_browsed(shop: Api) -> None:
    found = _names(shop.get("/products", params={"limit": 100}).json())
    assert sorted(found) == sorted(f"Lamp {number}" for number in range(1, 31))
    assert _names(shop.get("/products", params={"limit": 2}).json()) == found[:2]


@pytest.mark.parametrize("query", ["lamp", ""])
def test_pages_neither_repeat_nor_skip_while_a_feed_is_merged(
    changing: Api, node: Node, folder: FeedFolder, query: str
) -> None:
    before = _names(changing.get("/products", params={"q": query, "limit": 100}).json())
    assert len(before) == 30
    document = changing.get("/products", params={"q": query, "limit": 7}).json()
    seen = _names(document)
    folder.publish([product(number, name=f"Lamp {number}") for number in range(3, 41)])
    assert node.run(steps=STEPS)["status"] == "success"
    while token := document.get("nextPageToken"):
        document = changing.get("/products", params={"pageToken": token, "limit": 7}).json()
        seen += _names(document)
    assert len(seen) == len(set(seen))
    assert set(before) - set(seen) <= {"Lamp 1", "Lamp 2"}  # deleted meanwhile
    assert set(seen) <= set(before)


def test_a_page_keeps_its_filters(shop: Api) -> None:
    asked = {"q": "lamp", "in_stock": "true", "max_price": "12.50", "limit": 5}
    token = shop.get("/products", params=asked).json()["nextPageToken"]
    further = shop.get("/products", params={"pageToken": token}).json()
    repeated = shop.get("/products", params={**asked, "pageToken": token}).json()
    assert further == repeated
    assert len(further["products"]) == 3
    problem = shop.problem(422, "GET", "/products", params={**asked, "q": "chair", "pageToken": token})
    assert problem["errors"][0]["parameter"] == "pageToken"


def test_a_forged_page_token_is_refused(shop: Api) -> None:
    token = shop.get("/products", params={"q": "lamp", "limit": 5}).json()["nextPageToken"]
    forged = [
        token[:-2] + ("AA" if token[-2:] != "AA" else "BB"),
        ("B" if token[0] == "A" else "A") + token[1:],
        token[:40],
        "%%%",
        "ü",
    ]
    for each in forged:
        problem = shop.problem(422, "GET", "/products", params={"pageToken": each})
        assert problem["errors"][0]["parameter"] == "pageToken"


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("limit", "0"), ("limit", "101"), ("limit", "many"), ("q", "x" * 1001), ("min_price", "-1"),
        ("max_price", "NaN"), ("currency", "euros"), ("in_stock", "perhaps"), ("organization", "acme"),
        ("filter", "["), ("filter", "[]"), ("filter", "x" * 5000), ("explain", "2"), ("pageToken", "x" * 9000),
        ("brand", "x" * 2000),
    ],
)  # fmt: skip
def test_a_wrong_parameter_is_named(shop: Api, parameter: str, value: str) -> None:
    problem = shop.problem(422, "GET", "/products", params={parameter: value})
    assert [each["parameter"] for each in problem["errors"]] == [parameter]


def test_an_empty_parameter_is_as_one_left_out(shop: Api) -> None:
    """Forms send their empty fields too."""
    empty = dict.fromkeys(("brand", "category", "min_price", "max_price", "currency", "organization", "filter"), "")
    assert shop.get("/products", params={"q": "lamp"} | empty).json() == shop.get("/products?q=lamp").json()


@pytest.mark.parametrize("asked", [{"filter": '{"colour": "red"}'}, {"colour": "red"}])
def test_an_unknown_filter_is_told_the_known_ones(shop: Api, asked: dict[str, str]) -> None:
    (error,) = shop.problem(422, "GET", "/products", params=asked)["errors"]
    assert {"brand", "category", "min_price", "max_price", "currency", "in_stock", "organization"} <= set(
        error["known"]
    )


def test_contradictions_are_told(shop: Api) -> None:
    asked = {"filter": '{"brand": "Acme"}', "brand": "Other"}
    assert shop.problem(422, "GET", "/products", params=asked)["errors"][0]["parameter"] == "brand"
    asked = {"min_price": "5", "max_price": "4"}
    assert shop.problem(422, "GET", "/products", params=asked)["errors"][0]["parameter"] == "min_price"


def test_a_product_has_its_sellers_and_is_told_from_one_that_never_was(
    changing: Api, node: Node, folder: FeedFolder
) -> None:
    urn = changing.get("/products", params={"q": "SKU-2", "limit": 1}).json()["products"][0]["@id"]
    document = changing.get(f"/products/{urn}").json()
    assert document["@id"] == urn
    assert document["offers"][0]["seller"]["name"] == "Acme"
    assert changing.problem(404, "GET", f"/products/{urn}00")["type"].endswith("no-such-product")
    assert changing.problem(404, "GET", "/products/urn%00:x")["type"].endswith("no-such-product")
    folder.publish([product(number, name=f"Lamp {number}") for number in range(3, 31)])
    node.run()
    assert changing.problem(410, "GET", f"/products/{urn}")["type"].endswith("product-deleted")
    assert urn not in [each["@id"] for each in changing.get("/products", params={"q": "SKU-2"}).json()["products"]]


def test_forms_are_negotiated(shop: Api) -> None:
    def form(accept: str) -> str:
        return shop.get("/products", params={"limit": 1}, headers={"Accept": accept}).headers["content-type"]

    assert form("application/json") == "application/json"
    assert form("text/html, application/json;q=0.5") == "text/html; charset=utf-8"
    assert form("text/html;q=0.5, application/json") == "application/json"
    assert form("application/*;q=0.1, application/json;q=0.05") == "application/ld+json"
    assert form("*/*") == "application/ld+json"
    problem = shop.problem(406, "GET", "/products", headers={"Accept": "image/png"})
    assert "application/json" in problem["offered"]


def test_who_has_it_already_is_told_so(shop: Api) -> None:
    first = shop.get("/products", params={"q": "lamp"})
    again = shop.get("/products", params={"q": "lamp"}, headers={"If-None-Match": f'"x", {first.headers["etag"]}'})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"]
    other = shop.get(
        "/products",
        params={"q": "lamp"},
        headers={"If-None-Match": first.headers["etag"], "Accept": "application/json"},
    )
    assert other.status_code == 200
    head = shop.head("/products", params={"q": "lamp"})
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == first.headers["content-length"]

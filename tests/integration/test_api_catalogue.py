"""Browsing, comparing, and a product with its group, over HTTP."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.api import Api, api
from tests.support.feeds import BRAND, ORGANIZATION, FeedFolder, group, group_urn, offer, product, product_urn, variant
from tests.support.nodes import node_of


@pytest.fixture(scope="module")
def shop(module_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """A small catalogue; it stays as it is."""
    root = tmp_path_factory.mktemp("shop")
    node = node_of(module_url, root)
    out = "https://schema.org/OutOfStock"
    FeedFolder(root / "publisher").publish(
        [
            group(1),
            variant(1, 1, offers=[offer(price=12), offer(price=10)]),
            variant(2, 1, offers=[offer(price="12.50", availability=out)]),
            product(3, category="Home > Chairs", additionalProperty=[{"name": "legs", "value": 4}]),
            product(4, category="Home", additionalProperty=[{"name": "legs", "value": 3}], weight={"value": 2}),
        ]
    )
    assert node.run()["status"] == "success"
    with api(node.database, node.settings) as client:
        yield client
    node.database.engine.dispose()


def test_categories_count_what_is_below_them(shop: Api) -> None:
    found = shop.get("/categories").json()["categories"]
    assert [(each["path"], each["products"]) for each in found] == [
        ("Home", 4), ("Home > Chairs", 1), ("Home > Lamps", 2)
    ]  # fmt: skip
    below = shop.get("/categories", params={"within": "Home"}).json()["categories"]
    assert [each["name"] for each in below] == ["Chairs", "Lamps"]


def test_lists_are_leafed_through(shop: Api) -> None:
    first = shop.get("/categories", params={"limit": 2}).json()
    assert [each["path"] for each in first["categories"]] == ["Home", "Home > Chairs"]
    second = shop.get("/categories", params={"limit": 2, "pageToken": first["nextPageToken"]}).json()
    assert [each["path"] for each in second["categories"]] == ["Home > Lamps"]
    assert "nextPageToken" not in second
    for path in ("/categories", "/brands", "/organizations", "/runs", "/issues"):
        for token in ("%", "AAAA"):
            response = shop.get(path, params={"pageToken": token})
            assert response.status_code in {200, 422}, response.text


def test_brands_have_their_organization_and_products(shop: Api) -> None:
    (brand,) = shop.get("/brands").json()["brands"]
    assert (brand["@id"], brand["name"], brand["organization"], brand["products"]) == (BRAND, "Acme", ORGANIZATION, 4)
    assert shop.get("/brands", params={"organization": f"{ORGANIZATION}0"}).json()["brands"] == []


def test_organizations_have_their_feed(shop: Api) -> None:
    (listed,) = shop.get("/organizations").json()["organizations"]
    assert (listed["@id"], listed["name"], listed["products"], listed["offers"]) == (ORGANIZATION, "Acme", 4, 5)
    found = shop.get(f"/organizations/{ORGANIZATION.replace(':org:', ':ORGID:')}").json()
    assert found["brand"][0]["@id"] == BRAND
    assert found["cmp:category"] == ["things"]
    assert found["cmp:issues"]["errors"] == 0
    for unknown in ("urn:cmp:org:nobody.example", "nobody"):
        shop.problem(404, "GET", f"/organizations/{unknown}")


def test_a_variant_knows_its_siblings(shop: Api) -> None:
    document = shop.get(f"/products/{product_urn(1)}").json()
    assert document["isVariantOf"]["@id"] == group_urn(1)
    assert document["isVariantOf"]["variesBy"] == ["color"]
    siblings = document["isVariantOf"]["hasVariant"]
    assert [(each["@id"], each["offers"]["price"]) for each in siblings] == [
        (product_urn(1), 12), (product_urn(2), 12.5)
    ]  # fmt: skip
    assert "isVariantOf" not in shop.get(f"/products/{product_urn(3)}").json()


def _compared(shop: Api, *keys: int) -> dict[str, Any]:
    return shop.get("/compare", params={"urn": [product_urn(key) for key in keys]}).json()


def test_products_are_compared(shop: Api) -> None:
    document = _compared(shop, 2, 1, 4)
    assert [each["@id"] for each in document["products"]] == [product_urn(2), product_urn(1), product_urn(4)]
    rows = {row["name"]: row for row in document["rows"]}
    assert rows["price"]["values"] == ["12.50 EUR", "10 EUR", "10.5 EUR"]
    assert rows["legs"] == {"name": "legs", "values": [None, None, "3"], "differs": True}
    assert rows["brand"]["differs"] is False
    assert "The cheapest is Lamp 1 at 10 EUR, 0.5 less than the next." in document["summary"]
    assert "Not in stock: Lamp 2." in document["summary"]


def test_what_cannot_be_compared_is_told(shop: Api) -> None:
    known = product_urn(1)
    for urns in ([known], [known, known], [known] * 6):
        problem = shop.problem(422, "GET", "/compare", params={"urn": urns})
        assert problem["errors"][0]["parameter"] == "urn"
    problem = shop.problem(404, "GET", "/compare", params={"urn": [known, "urn:x"]})
    assert problem["urns"] == ["urn:x"]

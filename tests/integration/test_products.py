"""A product in full, whoever offers it."""

from decimal import Decimal

import pytest

from app.services import products
from app.services.products import ProductDeletedError, ProductDocument
from tests.support.feeds import ORGANIZATION, OTHER_ORGANIZATION, FeedFolder, offer, product, product_urn
from tests.support.nodes import Node

URN = product_urn(1)


@pytest.fixture
def publish(node: Node):
    """Publishes one feed for each of two organizations."""
    folders = [FeedFolder(node.root / "first"), FeedFolder(node.root / "second", OTHER_ORGANIZATION)]
    node.configure(*({"name": f.path.name, "registry": f"{f.path.name}/registry.json"} for f in folders))

    def publish(**items) -> None:
        for folder in folders:
            if folder.path.name in items:
                folder.publish(items[folder.path.name])
                assert node.run(folder.path.name, accept_deletions=True)["status"] == "success"

    return publish


def get(node: Node, urn: str) -> ProductDocument | None:
    with node.database.transaction() as connection:
        return products.get(connection, urn)


def test_the_document_is_as_received_with_the_offers_of_the_catalogue(node, publish):
    published = product(
        1, weight={"value": 1.50}, offers=offer(price="1,299.00", shipping="free", inventoryLevel={"value": 0})
    )
    publish(first=[published])

    found = get(node, URN)

    assert (found.urn, found.organization) == (URN, ORGANIZATION)
    assert found.document | {"offers": ...} == published | {"offers": ...}
    assert found.document["offers"] == [
        {
            "@type": "Offer",
            "price": Decimal("1299.00"),
            "priceCurrency": "EUR",
            "availability": "https://schema.org/InStock",
            "inventoryLevel": {"@type": "QuantitativeValue", "value": 0},
            "shipping": "free",
            "seller": {"@type": "Organization", "@id": ORGANIZATION, "name": "Acme"},
        }
    ]


def test_a_document_has_the_urn_and_the_name_that_the_catalogue_has(node, publish):
    """Whatever its publisher wrote there; what was received stays as it is."""
    odd = [product(2, id=5), product(3, id=f"  {product_urn(3)} "), product(4, name={"@value": "Lamp 4"})]
    publish(first=[product(1, id=...), *odd])
    names = {row["urn"]: row["name"] for row in node.rows("SELECT urn, name FROM products")}
    assert sorted(names.values()) == ["Lamp 1", "Lamp 2", "Lamp 3", "Lamp 4"]

    for urn, name in names.items():
        found = get(node, urn)
        assert (found.document["@id"], found.document["name"]) == (urn, name)
        assert (b'"@id"' in found.received) == (name != "Lamp 1")


def test_offers_that_were_refused_are_not_shown(node, publish):
    publish(first=[product(1, offers=[offer(price="dear", shipping="free"), offer(price=7)])])

    (shown,) = get(node, URN).document["offers"]

    assert shown["price"] == 7
    assert "shipping" not in shown


def test_the_organization_that_the_urn_names_owns_it_and_the_other_is_a_further_seller(node, publish):
    publish(second=[product(1, OTHER_ORGANIZATION, id=URN, name="Copy", offers=offer(price=1))])
    assert get(node, URN).document["name"] == "Copy"

    publish(first=[product(1, offers=[offer(price=3), offer(price=2)])])
    found = get(node, URN)

    assert found.organization == ORGANIZATION
    assert found.document["name"] == "Lamp 1"
    assert [(each["seller"]["@id"], each["price"]) for each in found.document["offers"]] == [
        (ORGANIZATION, 3),
        (ORGANIZATION, 2),
        (OTHER_ORGANIZATION, 1),
    ]


def test_without_a_name_in_the_urn_the_oldest_owns_it(node, publish):
    urn = "urn:cmp:sku:77"
    publish(second=[product(1, OTHER_ORGANIZATION, id=urn)])
    publish(first=[product(1, id=urn)])

    assert get(node, urn).organization == OTHER_ORGANIZATION


def test_a_deleted_product_is_told_from_one_never_seen(node, publish):
    publish(first=[product(1), product(2)])
    publish(first=[product(2)])

    with pytest.raises(ProductDeletedError, match="no longer offered"):
        get(node, URN)
    assert get(node, product_urn(3)) is None


def test_what_one_organization_deleted_another_may_still_offer(node, publish):
    publish(first=[product(1), product(2)], second=[product(1, OTHER_ORGANIZATION, id=URN)])
    publish(first=[product(2)])

    assert get(node, URN).organization == OTHER_ORGANIZATION


def test_numbers_beyond_any_float_are_no_error(node, publish, request):
    publish(first=[product(1, weight=10**400)])

    assert get(node, URN) is not None

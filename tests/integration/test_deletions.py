"""A publication that would delete much of the catalogue is held, whole, until someone says that it is meant."""

from typing import Any

from tests.support.feeds import FeedFolder, group, product
from tests.support.nodes import Node


def products(first: int, last: int, **changes: Any) -> list[dict[str, Any]]:
    """Products with the keys from `first` to `last`, both included."""
    return [product(key, **changes) for key in range(first, last + 1)]


def keys(first: int, last: int) -> set[str]:
    return {str(key) for key in range(first, last + 1)}


def test_a_publication_that_deletes_too_much_is_held_and_nothing_of_it_is_applied(
    node: Node, folder: FeedFolder
) -> None:
    folder.publish(products(1, 60), [*products(61, 100), group(1)])
    node.run()
    before = node.snapshot()

    folder.publish([product(1, name="Renamed"), product(101), *products(2, 60)], [])
    run = node.run()

    assert run["status"] == "held"
    assert run["error"].startswith("40 of 100 products would be deleted, more than the 20% that are let through")
    assert "--accept-deletions" in run["error"]
    assert run["feed"]["shards"] == {"read": 2, "unchanged": 0, "failed": 0}
    vanishing = run["feed"]["vanishing"]
    assert vanishing["count"] == 40
    assert {each["name"] for each in vanishing["products"]} == {f"Lamp {key}" for key in range(61, 101)}
    assert catalogue(node.snapshot()) == catalogue(before)
    assert node.rows("SELECT verdict, revision FROM feeds") == [{"verdict": "held", "revision": 1}]
    assert node.value("SELECT status FROM starts ORDER BY created_at DESC LIMIT 1") == "held"
    assert node.staging_tables() == []


def test_accepting_deletions_releases_what_is_held(node: Node, folder: FeedFolder) -> None:
    folder.publish(products(1, 100))
    node.run()
    folder.publish([product(1, name="Renamed"), *products(2, 50)])
    assert node.run()["status"] == "held"

    run = node.run(accept_deletions=True)

    assert run["status"] == "success"
    assert run["feed"]["products"] == {
        "read": 50, "inserted": 0, "updated": 1, "unchanged": 49, "deleted": 50, "rejected": 0,
    }  # fmt: skip
    assert set(node.products()) == keys(1, 50)
    assert node.products()["1"] == "Renamed"
    assert node.rows("SELECT verdict, revision FROM feeds") == [{"verdict": "applied", "revision": 2}]


def test_another_publication_than_the_held_one_is_not_released_with_it(node: Node, folder: FeedFolder) -> None:
    folder.publish(products(1, 100))
    node.run()
    folder.publish(products(1, 50))
    assert node.run()["status"] == "held"

    folder.publish(products(1, 10))
    run = node.run(accept_deletions=True)

    assert run["status"] == "held"
    assert run["error"].startswith("90 of 100 products would be deleted")
    assert set(node.products()) == keys(1, 100)

    assert node.run(accept_deletions=True)["status"] == "success"
    assert set(node.products()) == keys(1, 10)


def test_deletions_accepted_beforehand_are_not_held(node: Node, folder: FeedFolder) -> None:
    folder.publish(products(1, 100))
    node.run()
    folder.publish(products(1, 10))
    assert node.run(accept_deletions=True)["status"] == "success"
    assert set(node.products()) == keys(1, 10)


def test_twenty_products_may_go_whatever_their_share(node: Node, folder: FeedFolder) -> None:
    folder.publish(products(1, 24))
    node.run()
    folder.publish(products(1, 4))
    run = node.run()
    assert run["status"] == "success"
    assert run["feed"]["products"]["deleted"] == 20
    assert set(node.products()) == keys(1, 4)


def test_twenty_one_products_may_not(node: Node, folder: FeedFolder) -> None:
    folder.publish(products(1, 25))
    node.run()
    folder.publish(products(1, 4))
    assert node.run()["status"] == "held"
    assert set(node.products()) == keys(1, 25)


def test_a_fifth_of_the_products_may_go_whatever_their_number(node: Node, folder: FeedFolder) -> None:
    folder.publish(products(1, 150))
    node.run()
    folder.publish(products(1, 120))
    run = node.run()
    assert run["status"] == "success"
    assert run["feed"]["products"]["deleted"] == 30
    folder.publish(products(1, 95))
    assert node.run()["status"] == "held"
    assert set(node.products()) == keys(1, 120)


def test_an_empty_feed_is_held(node: Node, folder: FeedFolder) -> None:
    folder.publish(products(1, 30))
    node.run()
    for publication in ([[]], []):
        folder.publish(*publication)
        run = node.run()
        assert run["status"] == "held"
        assert run["error"].startswith("30 of 30 products would be deleted")
        assert set(node.products()) == keys(1, 30)


def test_rejected_items_do_not_delete_a_catalogue_either(node: Node, folder: FeedFolder) -> None:
    folder.publish(products(1, 30))
    node.run()
    folder.publish(products(1, 30, name=None))
    assert node.run()["status"] == "held"
    assert set(node.products()) == keys(1, 30)
    assert node.codes(attempted=True, shard="a.json") == ["name-missing"] * 30
    assert node.codes(attempted=False, severity="error") == []


def test_a_held_publication_is_held_again_and_its_issues_are_told_once(node: Node, folder: FeedFolder) -> None:
    folder.publish(products(1, 30))
    node.run()
    folder.publish([product(1, sku=None)])
    told = []
    for _ in range(2):
        assert node.run()["status"] == "held"
        told.append([(row["code"], row["shard"], row["attempted"]) for row in node.issues()])
    assert told[0] == told[1]
    assert ("sku-missing", "a.json", True) in told[0]


def test_the_fraction_is_a_setting(node: Node, folder: FeedFolder) -> None:
    node.settings = node.settings.model_copy(update={"max_delete_fraction": 0.95})
    node.configure({"name": "acme", "registry": "publisher/registry.json"})
    folder.publish(products(1, 100))
    node.run()
    folder.publish(products(1, 10))
    assert node.run()["status"] == "success"


def test_a_good_publication_after_a_held_one_applies_and_clears_its_issues(node: Node, folder: FeedFolder) -> None:
    folder.publish(products(1, 100))
    node.run()
    folder.publish([product(1, sku=None)])
    assert node.run()["status"] == "held"

    folder.publish([*products(1, 99), product(101)])
    run = node.run()

    assert run["status"] == "success"
    assert set(node.products()) == keys(1, 99) | {"101"}
    assert node.issues(attempted=True) == []
    assert node.codes(code="sku-missing") == []


def test_going_back_to_the_publication_in_the_catalogue_clears_the_attempt(node: Node, folder: FeedFolder) -> None:
    folder.publish(products(1, 100))
    node.run()
    before = node.snapshot()
    folder.publish([product(1, sku=None)])
    assert node.run()["status"] == "held"

    folder.publish(products(1, 100))
    run = node.run()

    assert run["status"] == "success"
    assert run["feed"]["shards"] == {"read": 0, "unchanged": 1, "failed": 0}
    assert node.snapshot() == before


def catalogue(snapshot: dict[str, Any]) -> dict[str, Any]:
    """What readers see, and the checkpoint, without what was attempted in vain."""
    kept = {name: found for name, found in snapshot.items() if name not in ("feed", "issues")}
    return kept | {"issues": [row for row in snapshot["issues"] if not row["attempted"]]}

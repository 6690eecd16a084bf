import json

from bench.feeds import Edit, Kind, write_feed
from bench.wording import samples

PRODUCTS = 60


def products(folder, *arguments):
    write_feed(folder, PRODUCTS, *arguments)
    items = json.loads((folder / "feed-0000.json").read_text())["itemListElement"]
    return [entry["item"] for entry in items if entry["item"]["@type"] == "Product"]


def test_texts_with_a_meaning_are_those_of_the_samples_mixed(tmp_path):
    sentences = {sentence for _, told in samples() for sentence in told}

    for product in products(tmp_path, None, Kind(worded=True)):
        assert any(name in product["name"] for name, _ in samples())
        assert sum(sentence in product["description"] for sentence in sentences) >= 4


def test_a_change_is_of_the_same_products(tmp_path):
    before = products(tmp_path, None, Kind(worded=True))
    after = products(tmp_path, Edit(changed_every=20), Kind(worded=True))

    changed = [number for number, pair in enumerate(zip(before, after, strict=True)) if pair[0] != pair[1]]
    assert changed == [7, 27, 47]
    assert [each["@id"] for each in before] == [each["@id"] for each in after]
    assert all(before[each]["description"] != after[each]["description"] for each in changed)

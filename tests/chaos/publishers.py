"""Organizations whose feeds change: seeded edits, published by renaming whole files into place."""

import json
import os
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from tests.support.feeds import encode, group, item_list, organization_entry, product

ORGANIZATIONS = {name: f"urn:cmp:org:{name}.example" for name in ("alder", "birch", "cedar", "dogwood")}
SHARDS = (10, 14)
ITEMS = (3, 7)
MAX_SHARDS = 18
LARGE = (11, 100)
"""Shards, and products in each, of one that is large: so many texts that helpers are asked to embed some."""
ENTRIES = (
    {"name": "woods", "registry": "woods/registry.json", "schedule": "* * * * *"},
    {"name": "cedar", "registry": "cedar/registry.json", "schedule": "*/2 * * * *"},
    {"name": "dogwood", "feed_path": "dogwood/index.json", "schedule": "* * * * *"},
)
_REGISTRIES = {"woods/registry.json": ("alder", "birch"), "cedar/registry.json": ("cedar",)}

Shards = dict[str, list[Any]]


@dataclass
class Publisher:
    """One organization's feed as it is published now, and as it was."""

    name: str
    folder: Path
    shards: Shards = field(default_factory=dict)
    earlier: list[Shards] = field(default_factory=list)
    made: int = 0  # names that were given to shards
    edition: int = 0  # of what makes the feed large, 0 when it is not

    @property
    def urn(self) -> str:
        return ORGANIZATIONS[self.name]

    def item(self, random: Random) -> dict[str, Any]:
        """From a pool small enough that URNs repeat in other shards."""
        key = random.randrange(90)
        group_urn = f"{self.urn}:productgroup:{key % 7}"
        if random.random() < 0.1:
            return group(key, id=group_urn, name=f"Group {random.randrange(5)}")
        changes: dict[str, Any] = {
            "name": f"Thing {key} {random.choice(('old', 'new', 'blue', 'red'))}",
            "category": random.choice(("Home > Lamps", "Home", "Garden > Rakes")),
            "offers": {"@type": "Offer", "price": random.randrange(1, 500), "priceCurrency": "EUR"},
        }
        if random.random() < 0.3:
            changes["isVariantOf"] = {"@type": "ProductGroup", "@id": group_urn}
        if random.random() < 0.05:
            changes["name"] = None  # is rejected
        return product(key, self.urn, **changes)

    def shard_name(self) -> str:
        self.made += 1
        return f"shard-{self.made}.json"

    def change(self, random: Random) -> None:
        """Brings the next publication about."""
        self.earlier = [*self.earlier[-3:], deepcopy(self.shards)]
        if not self.shards:
            for _ in range(random.randint(*SHARDS)):
                self.shards[self.shard_name()] = [self.item(random) for _ in range(random.randint(*ITEMS))]
            return
        edits = random.choices(list(_EDITS), weights=[weight for weight in _EDITS.values()], k=random.randint(1, 3))
        for edit in edits:
            edit(self, random)

    def write(self) -> None:
        """New and changed shards first, then the index, then what it does not name any more."""
        shards = self.shards | self._large()
        for name, items in shards.items():
            _replace(self.folder / name, encode(item_list(*items)))
        index = {
            "@type": "ProductFeedIndex", "orgid": self.urn, "totalShards": len(shards),
            "shards": [{"url": name} for name in shards],
        }  # fmt: skip
        _replace(self.folder / "index.json", encode(index))
        for file in self.folder.glob("*-*.json"):
            if file.name not in shards:
                file.unlink()

    def _large(self) -> Shards:
        if not self.edition:
            return {}
        return {
            f"large-{shard}.json": [
                product(f"large-{shard}-{number}", self.urn, name=f"Edition {self.edition} of {shard}, {number}")
                for number in range(LARGE[1])
            ]
            for shard in range(LARGE[0])
        }


class Publishers:
    """All organizations, with the registries that list them and the `ingestion.yaml` that lists those."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.config = root / "ingestion.yaml"
        self.all = [Publisher(name, root / self._place(name)) for name in ORGANIZATIONS]
        for each in self.all:
            each.folder.mkdir(parents=True)
        self.config.write_text(json.dumps({"ingestion": [{"source_type": "local"} | entry for entry in ENTRIES]}))
        self.write_registries(0)

    def write_registries(self, edition: int) -> None:
        """Another edition of an entry makes all shards of its feed be read anew."""
        for path, names in _REGISTRIES.items():
            entries = [
                organization_entry(
                    ORGANIZATIONS[name], name=name.title(), description=f"Edition {edition}",
                    productFeed={"@type": "DataFeed", "url": f"{self._below(name)}index.json"},
                )
                for name in names
            ]  # fmt: skip
            _replace(self.root / path, encode(entries))

    def publish_first(self, random: Random) -> None:
        for each in self.all:
            each.change(random)
            each.write()

    def publish(self, random: Random) -> str:
        """The next publication of one of them, or of all; returns whose."""
        chosen = self.all if random.random() < 0.15 else [random.choice(self.all)]
        for each in chosen:
            each.change(random)
            each.write()
        return ", ".join(each.name for each in chosen)

    def publish_at_large(self, random: Random) -> None:
        """Another edition of the last one's feed: every text of it is new."""
        self.all[-1].edition = random.randrange(1, 1000)
        self.all[-1].write()

    def _place(self, name: str) -> str:
        return f"woods/{name}" if name in _REGISTRIES["woods/registry.json"] else name

    def _below(self, name: str) -> str:
        return f"{name}/" if name in _REGISTRIES["woods/registry.json"] else ""


def _places(publisher: Publisher, random: Random, number: int) -> Iterator[list[Any]]:
    names = list(publisher.shards)
    for name in random.sample(names, min(number, len(names))):
        yield publisher.shards[name]


def _change_a_few(publisher: Publisher, random: Random) -> None:
    for items in _places(publisher, random, random.randint(1, 3)):
        items[random.randrange(len(items)) :] = [publisher.item(random)]


def _change_everywhere(publisher: Publisher, random: Random) -> None:
    """In so many shards that helpers are asked."""
    for items in publisher.shards.values():
        items[random.randrange(len(items))] = publisher.item(random)


def _add_items(publisher: Publisher, random: Random) -> None:
    for items in _places(publisher, random, 2):
        items.insert(random.randrange(len(items) + 1), publisher.item(random))


def _move_items(publisher: Publisher, random: Random) -> None:
    found = list(_places(publisher, random, 2))
    if len(found) == 2 and len(found[0]) > 1:
        found[1].append(found[0].pop(random.randrange(len(found[0]))))


def _add_shard(publisher: Publisher, random: Random) -> None:
    if len(publisher.shards) < MAX_SHARDS:
        publisher.shards[publisher.shard_name()] = [publisher.item(random) for _ in range(random.randint(*ITEMS))]


def _remove_shard(publisher: Publisher, random: Random) -> None:
    if len(publisher.shards) > SHARDS[0] // 2:
        del publisher.shards[random.choice(list(publisher.shards))]


def _rename_shard(publisher: Publisher, random: Random) -> None:
    chosen, name = random.choice(list(publisher.shards)), publisher.shard_name()
    publisher.shards = {name if each == chosen else each: items for each, items in publisher.shards.items()}


def _reorder_shards(publisher: Publisher, random: Random) -> None:
    names = list(publisher.shards)
    random.shuffle(names)
    publisher.shards = {name: publisher.shards[name] for name in names}


def _return(publisher: Publisher, random: Random) -> None:
    """An earlier publication comes back whole."""
    publisher.shards = deepcopy(random.choice([each for each in publisher.earlier if each]))


_EDITS: dict[Callable[[Publisher, Random], None], int] = {
    _change_a_few: 4,
    _change_everywhere: 4,
    _add_items: 2,
    _move_items: 2,
    _add_shard: 1,
    _remove_shard: 1,
    _rename_shard: 1,
    _reorder_shards: 1,
    _return: 2,
}


def _replace(path: Path, content: bytes) -> None:
    """Readers see the old file or the new one. A file that says the same is left alone."""
    if path.exists() and path.read_bytes() == content:
        return
    new = path.with_name(f"{path.name}.new")
    new.write_bytes(content)
    os.replace(new, path)

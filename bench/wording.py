"""Names and descriptions that mean something: those of the sample products, mixed."""

import json
import random
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

_SAMPLES = Path(__file__).parents[1] / "samples"


@lru_cache(maxsize=1)
def samples() -> tuple[tuple[str, tuple[str, ...]], ...]:
    """The name of each sample product, and the sentences of its description."""
    found: dict[str, tuple[str, ...]] = {}
    for path in sorted(_SAMPLES.rglob("*.json")):
        for entry in json.loads(path.read_text()).get("itemListElement", ()):
            item: dict[str, Any] = entry["item"]
            if item["@type"] == "Product":
                found[item["name"]] = tuple(re.split(r"(?<=\.) ", item["description"]))
    return tuple(found.items())


def worded(source: random.Random, series: str, sentences: int) -> tuple[str, str]:
    """A name that begins with a series' and a description of so many sentences: of one sample product with something of
    others."""
    (name, own), *others = source.sample(samples(), sentences + 1)
    other = source.choice(re.findall(r"[A-Za-z-]{4,}", others[0][0]))
    told = [*own[:2], *(source.choice(told) for _, told in others)][:sentences]
    return f"{series} {name}, {other}", " ".join(told)

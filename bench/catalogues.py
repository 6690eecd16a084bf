"""Catalogues to be searched, ingested and indexed. They stay in the benchmark's folder, so that with `--at` the next
run finds them.

Up to `EMBEDDED` products every vector is the model's, of the product's own text. To embed more takes half an hour and
longer: their vectors are mixtures of two of the first `SEEDS` products' vectors, moved a little. What a search costs
depends on the number and spread of vectors, not on what they mean; embedding is not measured there.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray
from sqlalchemy import text

from app.cmp.text import search_text
from app.core.config import Settings
from app.db.session import LiveDatabase, connect
from app.services import generations, vectors
from app.services.generations import TEXT_RECIPE, configured
from app.vectors.indexes.base import Block, Entry
from bench.feeds import Kind
from bench.place import Bench, execute, ingest
from bench.table import console, load

WORDED = Kind(worded=True)
"""Vectors of made-up words lie so close together that no graph tells them apart, as no real catalogue's do."""

EMBEDDED = 100_000
SEEDS = 20_000
_NOISE = 0.01  # of each number of a vector whose length is 1
_BATCH = 2_000
_GRAPH_MEMORY = "2GB"  # what the graph of a million vectors takes; of less, a build goes on by way of the disk


@dataclass(frozen=True)
class Catalogue:
    """A searchable database of so many products. `seconds` went into embedding and indexing, None if not all were
    embedded; `load` was that of the machine then."""

    products: int
    database: str
    url: str
    seconds: float | None
    load: float
    text_recipe: int = TEXT_RECIPE

    @property
    def throughput(self) -> float | None:
        """Products a second."""
        return None if self.seconds is None else self.products / self.seconds

    @property
    def settings(self) -> Settings:
        return Settings(database_url=self.url)

    def texts(self, most: int) -> list[str]:
        """The search texts of the first products."""
        database = LiveDatabase(self.url)
        with database.transaction() as connection:
            rows = connection.execute(
                text("SELECT name, brand_name, description FROM products ORDER BY id LIMIT :most"), {"most": most}
            ).all()
        database.engine.dispose()
        return [search_text(*row) for row in rows]


def catalogue(bench: Bench, products: int) -> Catalogue:
    """The catalogue of so many products, made when it is not there."""
    name = f"catalogue_{products}"
    mark = bench.folder / f"{name}.json"
    if (found := _kept(mark)) is not None:
        return replace(found, url=bench.migrated(name))
    mark.unlink(missing_ok=True)
    url = bench.create(name)
    ingest(url, folder := bench.feed(products, kind=WORDED))
    console.print(f"bench: filling the index of {products:,} products")
    if products <= EMBEDDED:
        seconds: float | None = ingest(url, folder, "vector")["seconds"]
        made = Catalogue(products, name, url, seconds, load())
    else:
        execute(url, f"ALTER DATABASE {name} SET maintenance_work_mem = '{_GRAPH_MEMORY}'")
        made = Catalogue(products, name, url, None, load())
        _fill(made)
    execute(url, "VACUUM ANALYZE", "CHECKPOINT")  # nothing is left to be done beside the measurements
    mark.write_bytes(msgspec.json.encode(made))
    return made


def _kept(mark: Path) -> Catalogue | None:
    """What is written down of a catalogue that is there whole, as it would be made now."""
    if not mark.exists():
        return None
    found = msgspec.json.decode(mark.read_bytes(), type=Catalogue)
    return found if found.text_recipe == TEXT_RECIPE else None


def _fill(made: Catalogue) -> None:
    """Puts all products into the index, with vectors that are mixed."""
    database = connect(made.settings)
    recipe = configured(made.settings)
    opened = generations.open_generation(database, recipe)
    mixed = _mixtures(opened.embedder.embed(made.texts(SEEDS)).vectors)
    index = opened.generation.index
    with database.transaction() as connection:
        (organization,) = [outdated.organization_id for outdated in index.outdated(connection, None)]
    first = 0
    while True:
        with database.transaction() as connection:
            pending = index.pending(connection, Block(organization, first, 2**63 - 1), _BATCH)
            index.acknowledge(connection, [Entry(*each) for each in zip(pending, mixed, strict=False)])
        if not pending:
            break
        first = pending[-1].product_id + 1
    began = time.monotonic()
    vectors.complete(database, recipe)
    console.print(f"bench: built the graph in {time.monotonic() - began:.0f} s")
    database.engine.dispose()


def _mixtures(seeds: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    """Vectors of length 1 without end: 0.5 to 0.9 of one seed and the rest of another, with noise."""
    source = np.random.default_rng(1)
    while True:
        ones, others = source.integers(0, len(seeds), (2, _BATCH))
        part = source.uniform(0.5, 0.9, (_BATCH, 1)).astype(np.float32)
        mixed = part * seeds[ones] + (1 - part) * seeds[others]
        mixed += source.normal(0, _NOISE, mixed.shape).astype(np.float32)
        yield from mixed / np.linalg.norm(mixed, axis=1, keepdims=True)

"""An embedder that needs no model, and a way to forget what it embedded."""

from collections.abc import Sequence
from hashlib import sha256
from itertools import cycle

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import text

from app.db.session import LiveDatabase
from app.services.generations import Recipe
from app.vectors.embedders import Embedded, Embedder, EmbedderIdentity, Variant

DIMENSIONS = 16


class HashEmbedder:
    """Gives each text a direction of its own, and remembers what it was asked for."""

    def __init__(self, variant: Variant = "int8", model: str = "hash") -> None:
        self.identity = EmbedderIdentity("test", model, "0" * 64, variant, DIMENSIONS, 256)
        self.calls: list[list[str]] = []

    @property
    def texts(self) -> list[str]:
        return [text for call in self.calls for text in call]

    def embed(self, texts: Sequence[str]) -> Embedded:
        self.calls.append(list(texts))
        return Embedded(np.array([direction(text) for text in texts], np.float32).reshape(-1, DIMENSIONS))


def direction(text: str) -> NDArray[np.float32]:
    seed = int.from_bytes(sha256(text.encode()).digest()[:8])
    vector = np.random.default_rng(seed).normal(size=DIMENSIONS)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def factory(embedder: Embedder) -> Recipe:
    """Gives always the same one."""
    return Recipe(lambda variant: embedder)


def by_cpu(*variants: Variant) -> Recipe:
    """Chooses a variant in turn, as machines with different processors do, unless it is told which."""
    choices = cycle(variants)
    return Recipe(lambda variant: HashEmbedder(variant or next(choices)))


def forget_generations(database: LiveDatabase) -> None:
    """As if no vector step had ever been."""
    with database.transaction() as connection:
        connection.exec_driver_sql("DELETE FROM dropped_generations")
        for generation in connection.execute(text("DELETE FROM index_generations RETURNING id")).scalars().all():
            connection.exec_driver_sql(f"DROP TABLE IF EXISTS vectors_{generation}, acknowledged_{generation}")

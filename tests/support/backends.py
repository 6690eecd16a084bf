"""The index in the database, and at the tests' own Pinecone."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from app.core.config import Settings
from app.services.generations import Recipe
from app.vectors.embedders import Embedder, HostedEmbedder
from app.vectors.indexes import pinecone, pinecone_index
from app.vectors.indexes.pinecone import PineconeIndexes
from tests.support.embedders import DIMENSIONS
from tests.support.pinecone import PineconeServer
from tests.support.pinecone.opening import pinecone_settings


@dataclass(frozen=True)
class Backend:
    """Where a test's index is. `recipe` makes a recipe of an embedder."""

    name: str
    recipe: Callable[[Embedder], Recipe]
    server: PineconeServer | None = None


@contextmanager
def pgvector(_patch: pytest.MonkeyPatch) -> Iterator[Backend]:
    yield Backend("pgvector", lambda embedder: Recipe(lambda variant: embedder))


@contextmanager
def own_vectors(patch: pytest.MonkeyPatch) -> Iterator[Backend]:
    """With a dense index that takes vectors."""
    with PineconeServer() as server:
        server.create_dense("dense", DIMENSIONS)
        server.create_integrated("sparse")
        with connected(pinecone_settings(server), patch):
            yield _at(server)


@contextmanager
def hosted(patch: pytest.MonkeyPatch) -> Iterator[Backend]:
    """With a dense index that embeds texts."""
    with PineconeServer() as server:
        server.create_integrated("dense", model="multilingual-e5-large")
        server.create_integrated("sparse")
        with connected(pinecone_settings(server), patch):
            yield _at(server)


@contextmanager
def connected(settings: Settings, patch: pytest.MonkeyPatch) -> Iterator[None]:
    """This process's settings, while the block runs; connections are closed when it ends."""
    opened: list[PineconeIndexes] = []

    def open_indexes(*arguments: Any) -> PineconeIndexes:
        opened.append(pinecone.open_indexes(*arguments))
        return opened[-1]

    patch.setattr(pinecone_index, "get_settings", lambda: settings)
    patch.setattr(pinecone_index, "open_indexes", open_indexes)
    yield
    pinecone_index.connected.cache_clear()
    for each in opened:
        each.close()


def _at(server: PineconeServer) -> Backend:
    settings = pinecone_settings(server)
    return Backend("pinecone", lambda embedder: pinecone_recipe(settings, embedder), server)


def pinecone_recipe(settings: Settings, embedder: Embedder) -> Recipe:
    place = pinecone_index.place_of(settings, DIMENSIONS)
    used = HostedEmbedder(place["dense"]) if place["takes"] == "texts" else embedder
    return Recipe(lambda variant: used, lambda: place)

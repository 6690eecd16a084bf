"""The client of the tests' own server."""

from dataclasses import replace
from typing import Any

import numpy as np

from app.core.config import Settings
from app.net.door import Policy
from app.vectors.indexes.pinecone import (
    Metadata,
    PineconeConfig,
    PineconeIndexes,
    ProductFacts,
    Record,
    open_indexes,
    product_metadata,
)
from app.vectors.indexes.pinecone.config import Patience
from tests.support.pinecone import API_KEY, PineconeServer

DIMENSIONS = 16
TEXT_HASH = bytes(16)
_PATIENCE = Patience(tries=4, backoff=0.01, max_pause=1)


def pinecone_settings(server: PineconeServer, **chosen: Any) -> Settings:
    named = {
        "pinecone_api_key": API_KEY, "pinecone_dense_index": "dense", "pinecone_sparse_index": "sparse",
        "pinecone_controller_host": server.url, "allowed_private_hosts": "127.0.0.1",
    }  # fmt: skip
    return Settings(_env_file=None, **(named | chosen))


def pinecone_config(server: PineconeServer, **chosen: Any) -> PineconeConfig:
    """It tries four times, and waits for moments only."""
    return replace(PineconeConfig.of(pinecone_settings(server, **chosen)), patience=_PATIENCE)


def open_at(server: PineconeServer, **chosen: Any) -> PineconeIndexes:
    policy = Policy.of(pinecone_settings(server, **chosen))
    return open_indexes(pinecone_config(server, **chosen), policy, DIMENSIONS)


def record(number: int, text: str | None = None, metadata: Metadata | None = None, size: int = DIMENSIONS) -> Record:
    """A record whose vector depends on its number."""
    vector = np.random.default_rng(number).normal(size=size).astype(np.float32)
    words = f"coffee cup number{number}" if text is None else text
    return Record(str(number), words, vector / np.linalg.norm(vector), metadata or facts())


def facts(brand: str = "Acme") -> Metadata:
    return product_metadata(ProductFacts("urn:cmp:org:one", [brand]), TEXT_HASH)

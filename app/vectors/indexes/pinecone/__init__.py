"""Pinecone: a dense and a sparse index, told apart by describing them, read and written with the official SDK.

`open_indexes` gives both; `create_missing` makes those that are not there. Each is a `PineconeIndex`, whose methods
take a namespace: one for each node and generation, so that nodes can share indexes and a generation goes with its own.

What writes yields the ids that were acknowledged, batch by batch, to the caller's thread: what is noted after that has
arrived. A batch whose answer was lost is sent again, which changes nothing, since a record is known by its id. Writes
are visible after a while, so what is read here can be older than what was acknowledged.

The metadata that filters ask for (`metadata`) and the filters (`filters`) belong together: a filter passes every
product that passes the exact one, and some that do not, which PostgreSQL has to look at again.
"""

from app.vectors.indexes.base import SearchFilters
from app.vectors.indexes.pinecone.client import Match, PineconeIndex, PineconeIndexes, open_indexes
from app.vectors.indexes.pinecone.config import PineconeConfig, obsolete_settings
from app.vectors.indexes.pinecone.errors import (
    PineconeError,
    PineconeRefusedError,
    PineconeUnavailableError,
    UnsuitableIndexError,
)
from app.vectors.indexes.pinecone.filters import pinecone_filter
from app.vectors.indexes.pinecone.metadata import Metadata, OfferFacts, ProductFacts, metadata_hash, product_metadata
from app.vectors.indexes.pinecone.records import Record
from app.vectors.indexes.pinecone.setup import create_missing
from app.vectors.indexes.traffic import Traffic

__all__ = [
    "Match",
    "Metadata",
    "OfferFacts",
    "PineconeConfig",
    "PineconeError",
    "PineconeIndex",
    "PineconeIndexes",
    "PineconeRefusedError",
    "PineconeUnavailableError",
    "ProductFacts",
    "Record",
    "SearchFilters",
    "Traffic",
    "UnsuitableIndexError",
    "create_missing",
    "metadata_hash",
    "obsolete_settings",
    "open_indexes",
    "pinecone_filter",
    "product_metadata",
]

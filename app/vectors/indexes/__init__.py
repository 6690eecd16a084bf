"""Search indexes by provider, each behind the `Index` protocol."""

from collections.abc import Callable, Mapping
from typing import Any

from app.vectors.indexes.base import Index
from app.vectors.indexes.pgvector import PgVectorIndex

__all__ = ["Index", "open_index"]


def _pgvector(generation_id: int, identity: Mapping[str, Any], _namespace: str | None) -> Index:
    return PgVectorIndex(generation_id, identity["dimensions"])


def _pinecone(generation_id: int, identity: Mapping[str, Any], namespace: str | None) -> Index:
    from app.vectors.indexes.pinecone_index import open_pinecone  # loads what few nodes need

    return open_pinecone(generation_id, identity, namespace)


_PROVIDERS: Mapping[str, Callable[[int, Mapping[str, Any], str | None], Index]] = {
    "pgvector": _pgvector,
    "pinecone": _pinecone,
}


def open_index(generation_id: int, identity: Mapping[str, Any], namespace: str | None) -> Index:
    """The index of a generation. An identity that names no other index is of one in the database."""
    return _PROVIDERS[identity.get("index", "pgvector")](generation_id, identity, namespace)

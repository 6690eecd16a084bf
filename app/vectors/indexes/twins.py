"""Vectors of texts that an index elsewhere holds already, of whatever product: they are not embedded again."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from app.cmp.text import embedded_hash
from app.vectors.indexes.ledger import PendingRecord, record_id
from app.vectors.indexes.pinecone import PineconeIndexes
from app.vectors.indexes.pinecone.metadata import TEXT_HASH

_Vectors = dict[bytes, NDArray[np.float32]]


def with_twins(indexes: PineconeIndexes, namespace: str, products: Sequence[PendingRecord]) -> list[PendingRecord]:
    """The products: those whose twin is another one with its vector, or without a twin where none is seen there yet. An
    index that makes its vectors itself is always sent the text."""
    vectors: _Vectors = {}
    if indexes.dense.takes == "vectors":
        foreign = [each for each in products if _is_foreign(each)]
        kept = {each.embedded_hash: indexes.recent.find((namespace, each.embedded_hash)) for each in foreign}
        vectors = {text: vector for text, vector in kept.items() if vector is not None}
        vectors |= _held(indexes, namespace, [each for each in foreign if each.embedded_hash not in vectors])
    return [_with_vector(each, vectors) if _is_foreign(each) else each for each in products]


def _is_foreign(product: PendingRecord) -> bool:
    return product.twin not in (None, product.product_id)


def _with_vector(product: PendingRecord, vectors: _Vectors) -> PendingRecord:
    vector = vectors.get(product.embedded_hash)
    return replace(product, vector=vector, twin=None if vector is None else product.twin)


def _held(indexes: PineconeIndexes, namespace: str, products: Sequence[PendingRecord]) -> _Vectors:
    """The twins' vectors by the hash of the text that they are of, as the records there say: one may be older than what
    was acknowledged."""
    twins = sorted({record_id(each.twin) for each in products if each.twin is not None})
    return {
        embedded_hash(bytes.fromhex(str(metadata[TEXT_HASH]))): vector
        for vector, metadata in indexes.dense.fetch_vectors(namespace, twins).values() if TEXT_HASH in metadata
    }  # fmt: skip

"""What goes into an index, and how much of it goes at once. Pure: no I/O."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from app.cmp.text import cut_bytes
from app.vectors.indexes.pinecone.metadata import Metadata

MAX_BATCH_BYTES = 2_000_000
MAX_VECTORS = 1_000
MAX_TEXTS = 96
"""Records of one request: with vectors of the node's own, and with texts that Pinecone embeds."""

MAX_DELETED = 1_000
MAX_FETCHED = 100
_MAX_FETCHED_BYTES = 4_000  # of ids, which are part of the URL

MAX_TEXT_BYTES = 8 * 1024
"""Of a text that Pinecone embeds and keeps beside the metadata: more than its models read."""

_ENVELOPE = 2_000  # bytes of a request around its records, a namespace of 512 characters among them
_DECIMALS = 8  # of a unit vector's numbers: as exact as a float32, in half the digits


@dataclass(frozen=True, eq=False)
class Record:
    """A product for an index. `vector` is for one with vectors of the node's own, `text` for one that embeds it. The id
    is ASCII of up to 512 characters."""

    id: str
    text: str
    vector: NDArray[np.float32] | None
    metadata: Metadata


@dataclass(frozen=True, eq=False)
class Payload:
    """A record as it is sent."""

    id: str
    body: dict[str, Any]
    size: int


def vector_payload(record: Record) -> Payload:
    """Raises `ValueError` for a record without a vector, or with one that is not finite."""
    if record.vector is None or not np.isfinite(record.vector).all():
        raise ValueError(f"record {record.id} has no vector")
    values = np.round(record.vector.astype(np.float64), _DECIMALS).tolist()
    return _payload(record.id, {"id": record.id, "values": values, "metadata": record.metadata})


def text_payload(record: Record, text_field: str) -> Payload:
    return _payload(record.id, {"_id": record.id, text_field: embeddable(record.text), **record.metadata})


def embeddable(text: str) -> str:
    """The text within limits; a model reads no empty one."""
    return cut_bytes(text, MAX_TEXT_BYTES).strip() or "-"


def batches(payloads: Iterable[Payload], max_records: int) -> Iterator[list[Payload]]:
    """Cut by number and by bytes, in order."""
    batch: list[Payload] = []
    size = _ENVELOPE
    for payload in payloads:
        if batch and (len(batch) == max_records or size + payload.size > MAX_BATCH_BYTES):
            yield batch
            batch, size = [], _ENVELOPE
        batch.append(payload)
        size += payload.size
    if batch:
        yield batch


def parts(ids: Iterable[str], number: int) -> Iterator[list[str]]:
    """Ids in parts of `number`."""
    remaining = iter(ids)
    while part := list(islice(remaining, number)):
        yield part


def fetchable(ids: Sequence[str]) -> Iterator[list[str]]:
    """Ids in parts that fit into a URL."""
    part: list[str] = []
    for each in ids:
        if part and (len(part) == MAX_FETCHED or sum(map(len, part)) + len(each) > _MAX_FETCHED_BYTES):
            yield part
            part = []
        part.append(each)
    if part:
        yield part


def _payload(record_id: str, body: dict[str, Any]) -> Payload:
    return Payload(record_id, body, len(msgspec.json.encode(body)) + 1)

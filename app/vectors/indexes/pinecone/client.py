"""Both indexes as the node uses them."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from app.net.door import Policy
from app.vectors.indexes.base import SearchFilters
from app.vectors.indexes.pinecone import records as cutting
from app.vectors.indexes.pinecone.config import PineconeConfig
from app.vectors.indexes.pinecone.connecting import connect
from app.vectors.indexes.pinecone.errors import PineconeRefusedError, PineconeUnavailableError, UnsuitableIndexError
from app.vectors.indexes.pinecone.filters import pinecone_filter
from app.vectors.indexes.pinecone.metadata import PRODUCT, TEXT_HASH, Metadata
from app.vectors.indexes.pinecone.recent import Recent
from app.vectors.indexes.pinecone.records import Payload, Record
from app.vectors.indexes.pinecone.sending import sent_at_once
from app.vectors.indexes.traffic import Counters, Traffic

if TYPE_CHECKING:
    from pinecone import Index

    from app.vectors.indexes.pinecone.recognising import Kind, Shape, Takes
    from app.vectors.indexes.pinecone.session import Session

T = TypeVar("T")
R = TypeVar("R")

MAX_HITS = 10_000
_PAGE = 100
_SHORT_FIELD = (TEXT_HASH,)  # of each hit: if none were named, all would come


@dataclass(frozen=True)
class Match:
    """A record that was found, and how well it fits: comparable within one answer only."""

    id: str
    score: float


class PineconeIndex:
    """One index. What writes yields ids as they are acknowledged, and has to be consumed; when something fails, what
    was under way is waited for and yielded before the error is raised."""

    def __init__(self, session: "Session", name: str, index: "Index", shape: "Shape") -> None:
        self.name = name
        self._session = session
        self._index = index
        self._shape = shape

    @property
    def kind(self) -> "Kind":
        return self._shape.kind

    @property
    def takes(self) -> "Takes":
        """What it is written and asked by: vectors of the node's own, or texts that Pinecone embeds."""
        return self._shape.takes

    # --- writing -------------------------------------------------------------------------------------------------

    def upsert(self, namespace: str, records: Iterable[Record]) -> Iterator[list[str]]:
        """Writes records, new ones and others, in batches as large as Pinecone takes. Raises `ValueError` for one
        without a vector where that is needed."""
        if self.takes == "vectors":
            payloads: Iterable[Payload] = map(cutting.vector_payload, records)
            most = cutting.MAX_VECTORS
        else:
            field = self._shape.text_field
            payloads = (cutting.text_payload(each, field) for each in records)
            most = cutting.MAX_TEXTS

        def send(batch: list[Payload]) -> list[str]:
            self._call("upsert", lambda: self._write(namespace, [each.body for each in batch]))
            return [each.id for each in batch]

        return self._acknowledged(cutting.batches(payloads, most), send)

    def update_metadata(self, namespace: str, changes: Iterable[tuple[str, Metadata]]) -> Iterator[list[str]]:
        """Replaces the metadata of records, and embeds nothing. A record that is not there does not come to be."""

        def send(change: tuple[str, Metadata]) -> list[str]:
            record_id, metadata = change
            self._ask(
                "update", lambda: self._index.update(id=record_id, set_metadata=metadata, namespace=namespace)
            )  # fmt: skip
            return [record_id]

        return self._acknowledged(changes, send)

    def delete(self, namespace: str, ids: Iterable[str]) -> Iterator[list[str]]:
        """Deletes records; those that are not there are fine."""

        def send(part: list[str]) -> list[str]:
            self._ask("delete", lambda: self._index.delete(ids=part, namespace=namespace))
            return part

        return self._acknowledged(cutting.parts(ids, cutting.MAX_DELETED), send)

    def drop(self, namespace: str) -> None:
        """Deletes a namespace with all that is in it."""
        self._ask("drop", lambda: self._index.delete_namespace(name=namespace))

    # --- reading -------------------------------------------------------------------------------------------------

    def ids(self, namespace: str) -> Iterator[list[str]]:
        """The ids of all records, page by page."""
        listed = partial(self._index.list_paginated, namespace=namespace, limit=_PAGE)
        token: str | None = None
        while True:
            page = self._ask("list", partial(listed, pagination_token=token))
            if page is None:
                return
            if found := [each.id for each in page.vectors if each.id is not None]:
                yield found
            token = page.pagination.next if page.pagination else None
            if not token:
                return

    def fetch_metadata(self, namespace: str, ids: Sequence[str]) -> dict[str, Metadata]:
        """The metadata of those of the records that are there."""
        return {record_id: metadata for record_id, (_, metadata) in self.fetch_vectors(namespace, ids).items()}

    def fetch_vectors(self, namespace: str, ids: Sequence[str]) -> dict[str, tuple[NDArray[np.float32], Metadata]]:
        """The dense vectors and the metadata of those of the records that are there."""
        found: dict[str, tuple[NDArray[np.float32], Metadata]] = {}
        for part in cutting.fetchable(ids):
            answer = self._ask("fetch", partial(self._index.fetch, ids=part, namespace=namespace))
            for record_id, vector in (answer.vectors if answer else {}).items():
                metadata = dict(vector.metadata or {})
                metadata.pop(self._shape.text_field, None)
                found[record_id] = np.array(vector.values or (), np.float32), metadata
        return found

    def namespaces(self) -> dict[str, int]:
        """How many records each namespace holds, as far as Pinecone knows by now."""
        stats = self._call("stats", self._index.describe_index_stats)
        return {name: summary.vector_count for name, summary in stats.namespaces.items()}

    def count(self, namespace: str) -> int:
        return self.namespaces().get(namespace, 0)

    def query(
        self, namespace: str, *, vector: NDArray[np.float32] | None = None, text: str | None = None,
        filters: SearchFilters | None = None, among: Sequence[str] | None = None, top_k: int = 200,
    ) -> list[Match]:  # fmt: skip
        """The best records that pass the filters, or are `among` those named, best first: by vector or by text, as the
        index takes them."""
        conditions = pinecone_filter(filters or SearchFilters()) if among is None else {PRODUCT: {"$in": list(among)}}
        most = min(top_k, MAX_HITS)
        if self.takes == "vectors":
            if vector is None:
                raise ValueError(f"{self.name} is asked by vectors")
            values = vector.astype(np.float64).tolist()
            answer = self._ask(
                "query",
                lambda: self._index.query(vector=values, top_k=most, namespace=namespace, filter=conditions),
            )
            return [Match(each.id, each.score) for each in answer.matches] if answer else []
        if text is None:
            raise ValueError(f"{self.name} is asked by texts")
        inputs = {"text": cutting.embeddable(text)}
        found = self._ask(
            "search",
            lambda: self._index.search(
                namespace=namespace, top_k=most, inputs=inputs, filter=conditions, fields=_SHORT_FIELD
            ),
        )
        return [Match(each.id, each.score) for each in found.result.hits] if found else []

    # --- calling -------------------------------------------------------------------------------------------------

    def _write(self, namespace: str, bodies: list[dict[str, Any]]) -> object:
        if self.takes == "vectors":
            return self._index.upsert(vectors=bodies, namespace=namespace)
        return self._index.upsert_records(records=bodies, namespace=namespace)

    def _acknowledged(self, parts: Iterable[T], send: Callable[[T], list[str]]) -> Iterator[list[str]]:
        for ids in sent_at_once(parts, send, self._session.config.concurrency):
            self._session.count_records(self.name, len(ids))
            yield ids

    def _call(self, told: str, request: Callable[[], R]) -> R:
        return self._session.call(f"{told} {self.name}", request)

    def _ask(self, told: str, request: Callable[[], R]) -> R | None:
        """None when there is no such namespace: it comes to be with the first record."""
        try:
            return self._call(told, request)
        except PineconeRefusedError as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise
            return None


@dataclass(frozen=True)
class PineconeIndexes:
    """Both indexes, what they count, and the vectors that went up lately."""

    dense: PineconeIndex
    sparse: PineconeIndex
    counters: Counters
    session: "Session"
    recent: Recent = field(default_factory=Recent)

    def take_traffic(self) -> dict[str, Traffic]:
        """What went to Pinecone since this was last asked, by index."""
        return self.counters.take()

    def close(self) -> None:
        self.session.close()


def open_indexes(config: PineconeConfig, policy: Policy, dimensions: int) -> PineconeIndexes:
    """Both indexes, described and found fit; `dimensions` are those of the node's own vectors. Safe to use from several
    threads; to be opened after a fork. Raises `ConfigurationError` without the SDK, and `PineconeError`."""
    counters = Counters()
    session = connect(config, policy, counters)
    with ExitStack() as opening:
        opening.callback(session.close)
        dense = _opened(session, config.dense_index, "dense", dimensions)
        sparse = _opened(session, config.sparse_index, "sparse", dimensions)
        opening.pop_all()
    return PineconeIndexes(dense, sparse, counters, session)


def _opened(session: "Session", name: str, wanted: "Kind", dimensions: int) -> PineconeIndex:
    from app.vectors.indexes.pinecone.recognising import recognise

    described = session.describe(name)
    if described is None:
        raise UnsuitableIndexError(
            f"There is no index {name}", remedy="Run `discovery-node vectors setup`, which creates it."
        )
    if described.host is None or not described.status.ready:
        raise PineconeUnavailableError(f"The index {name} is not ready yet ({described.status.state})")
    index = session.index(name, described.host)
    stats = session.call(f"stats {name}", index.describe_index_stats)
    return PineconeIndex(session, name, index, recognise(described, stats.vector_type, wanted, dimensions))

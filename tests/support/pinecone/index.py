"""An index: what it holds, and what can be seen of it."""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.support.pinecone import embedding
from tests.support.pinecone.filtering import passes

DEFAULT = "__default__"


@dataclass
class StoredRecord:
    metadata: dict[str, Any]
    values: NDArray[np.float32] | None = None
    sparse: dict[int, float] = field(default_factory=dict)


Namespaces = dict[str, dict[str, StoredRecord]]
Change = Callable[[Namespaces], None]


@dataclass
class Lateness:
    """When what was written is seen: after so many seconds, and so many later reads of the index."""

    seconds: float = 0.0
    reads: int = 0


@dataclass
class Counted:
    """What an index was asked: requests by path, records that were written, bytes of bodies, texts embedded."""

    requests: dict[str, int] = field(default_factory=dict)
    batches: list[int] = field(default_factory=list)
    records: int = 0
    bytes: int = 0
    embedded: int = 0

    @property
    def total(self) -> int:
        return sum(self.requests.values())


@dataclass(eq=False)
class Index:
    """An index of vectors, or with a `model` of texts, which are read from `text_field`."""

    name: str
    vector_type: str
    dimension: int | None
    metric: str
    model: str | None = None
    text_field: str = ""
    lateness: Lateness = field(default_factory=Lateness)
    counted: Counted = field(default_factory=Counted)
    namespaces: Namespaces = field(default_factory=dict)
    lock: threading.RLock = field(default_factory=threading.RLock)
    _reads: int = 0
    _unseen: list[tuple[float, int, Change]] = field(default_factory=list)

    def change(self, change: Change) -> None:
        """Writes, in order, to be seen when it is time."""
        with self.lock:
            late = self.lateness
            self._unseen.append((time.monotonic() + late.seconds, self._reads + late.reads, change))
            self._settle()

    def seen(self) -> Namespaces:
        """What a read sees."""
        with self.lock:
            self._settle()
            self._reads += 1
            return self.namespaces

    @property
    def awaits_changes(self) -> bool:
        """Whether something was written that is not seen yet."""
        return bool(self._unseen)

    def settle(self) -> None:
        """Everything that was written is seen."""
        with self.lock:
            for _, _, change in self._unseen:
                change(self.namespaces)
            self._unseen.clear()

    def empty(self) -> None:
        """As it was when it was new."""
        with self.lock:
            self._unseen.clear()
            self.namespaces.clear()
            self.lateness, self.counted = Lateness(), Counted()

    def embed(self, text: str) -> StoredRecord:
        """A record without metadata, with the vector of a text."""
        self.counted.embedded += 1
        if self.vector_type == "sparse":
            return StoredRecord({}, sparse=embedding.sparse(text))
        return StoredRecord({}, embedding.dense(text, self.dimension or 1))

    def search(
        self, namespace: str, wanted: StoredRecord, top_k: int, condition: Mapping[str, Any] | None
    ) -> list[tuple[str, float, StoredRecord]]:
        """The best records that pass, best first. A sparse vector finds what shares an index with it."""
        held = self.seen().get(namespace, {})
        passing = [(name, each) for name, each in held.items() if condition is None or passes(each.metadata, condition)]
        scored = [
            (name, score, each) for (name, each), score in zip(passing, self._scores(wanted, passing), strict=True)
        ]
        if self.vector_type == "sparse":
            scored = [each for each in scored if each[1] != 0]
        return sorted(scored, key=lambda each: (-each[1], each[0]))[:top_k]

    def _scores(self, wanted: StoredRecord, records: list[tuple[str, StoredRecord]]) -> list[float]:
        if wanted.values is None:
            return [
                sum(weight * each.sparse.get(index, 0) for index, weight in wanted.sparse.items())
                for _, each in records
            ]
        if not records:
            return []
        matrix = np.stack([each.values for _, each in records if each.values is not None])
        products = matrix @ wanted.values
        if self.metric == "cosine":
            products = products / (np.linalg.norm(matrix, axis=1) * np.linalg.norm(wanted.values))
        return [float(each) for each in products]

    def _settle(self) -> None:
        """In the order of writing: one that is not yet to be seen keeps those behind it."""
        now = time.monotonic()
        while self._unseen and self._unseen[0][0] <= now and self._unseen[0][1] <= self._reads:
            self._unseen.pop(0)[2](self.namespaces)

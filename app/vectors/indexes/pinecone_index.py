"""The search index at Pinecone: a dense and a sparse index, in each a namespace for the generation.

What is there is known by the ledger. A filter of Pinecone's lets pass all that passes, as the vector step last told it,
and some that does not; so what is found is looked at again in the catalogue, and more is asked for until there are
enough.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache, partial
from itertools import chain, islice
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, text

from app.core.config import Settings, get_settings
from app.db.session import Database
from app.net.door import Policy
from app.vectors.breaker import Breaker
from app.vectors.indexes.base import (
    Block,
    Candidates,
    Condition,
    Differences,
    Entry,
    IndexUnavailableError,
    Leg,
    Outdated,
    PendingProduct,
)
from app.vectors.indexes.ledger import (
    Ledger,
    PendingRecord,
    described,
    product_facts,
    product_id,
    record_id,
    text_hashes,
)
from app.vectors.indexes.pinecone import (
    Match,
    Metadata,
    PineconeConfig,
    PineconeIndex,
    PineconeIndexes,
    Record,
    create_missing,
    open_indexes,
)
from app.vectors.indexes.pinecone.metadata import METADATA_HASH, TEXT_HASH
from app.vectors.indexes.twins import with_twins

FEW = 1_000
"""Up to so many products that pass the filters are named in the question, which makes it exact."""

MAX_FOUND = 10_000
"""Hits of one answer, and products that a question can name, at most."""

_WORDS = "2"
"""Raise it whenever the sparse index is sent another text of the same product: a new generation is then built."""

_OVERFETCH, _GROWTH = 2, 4
_PAGE = 1_000  # records compared at once

T = TypeVar("T")


@dataclass(frozen=True)
class PineconeSearchIndex:
    """A generation's namespace, and its ledger."""

    ledger: Ledger
    namespace: str
    connect: Callable[[], PineconeIndexes] = field(compare=False)
    ask: Callable[[Callable[[PineconeIndexes], Candidates]], Candidates] = field(compare=False)

    @property
    def table(self) -> str:
        return self.ledger.table

    @property
    def is_in_database(self) -> bool:
        return False

    def create(self, connection: Connection) -> None:
        self.ledger.create(connection)

    def discard(self) -> None:
        indexes = self.connect()
        indexes.dense.drop(self.namespace)
        indexes.sparse.drop(self.namespace)

    def drop(self, connection: Connection) -> None:
        self.ledger.drop(connection)

    def count(self, connection: Connection) -> int:
        return self.ledger.count(connection)

    # --- keeping in step with the catalogue ----------------------------------------------------------------------

    def outdated(self, connection: Connection, organization_ids: Sequence[int] | None) -> list[Outdated]:
        return self.ledger.outdated(connection, organization_ids)

    def lag(self, connection: Connection) -> tuple[int, float]:
        return self.ledger.lag(connection)

    def blocks(self, connection: Connection, organization_ids: Sequence[int] | None, size: int) -> list[Block]:
        return self.ledger.blocks(connection, organization_ids, size)

    def pending(self, connection: Connection, block: Block, limit: int) -> list[PendingProduct]:
        return self.ledger.pending(connection, block, limit)

    def outdated_facts(self, connection: Connection, block: Block, limit: int) -> list[PendingProduct]:
        return self.ledger.outdated_facts(connection, block, limit)

    def release(self, connection: Connection, products: Sequence[PendingProduct]) -> None:
        self.ledger.release(connection, [_record(each) for each in products])

    def resolve(self, products: Sequence[PendingProduct]) -> Sequence[PendingProduct]:
        return with_twins(self.connect(), self.namespace, [_record(each) for each in products])

    def send(self, entries: Sequence[Entry]) -> None:
        """Whole records of what is new to an index, of the others the metadata, where it is new."""
        products = [_record(entry.product) for entry in entries]
        vectors = {entry.product.product_id: entry.vector for entry in entries if entry.vector is not None}

        def send(index: PineconeIndex) -> None:
            written, changed = _dense(products, vectors) if index.kind == "dense" else _sparse(products)
            _await(index.upsert(self.namespace, written))
            _await(index.update_metadata(self.namespace, changed))

        _on_both(self.connect(), send)
        sent = [each for each in products if each.product_id in vectors]
        self.connect().recent.keep(((self.namespace, each.embedded_hash), vectors[each.product_id]) for each in sent)

    def acknowledge(self, connection: Connection, entries: Sequence[Entry]) -> int:
        return self.ledger.acknowledge(connection, [_record(entry.product) for entry in entries])

    def vanished(self, connection: Connection, organization_ids: Sequence[int], limit: int) -> list[int]:
        return self.ledger.vanished(connection, organization_ids, limit)

    def erase(self, product_ids: Sequence[int]) -> None:
        ids = [record_id(each) for each in product_ids]
        _on_both(self.connect(), lambda index: _await(index.delete(self.namespace, ids)))

    def forget(self, connection: Connection, product_ids: Sequence[int]) -> int:
        return self.ledger.forget(connection, product_ids)

    def ensure_search_structures(self, connection: Connection) -> bool:
        """Pinecone's own business."""
        return False

    def compare(self, database: Database) -> Differences:
        """Reads all records of both indexes: what one of them lacks is missing."""
        with database.transaction() as connection:
            live = set(connection.exec_driver_sql("SELECT id FROM products WHERE deleted_at IS NULL").scalars())
        missing, stale, surplus, facts = set[int](), set[int](), set[int](), set[int]()
        indexes = self.connect()
        for index in (indexes.dense, indexes.sparse):
            held = set[int]()
            for page in _paged(index.ids(self.namespace)):
                found = index.fetch_metadata(self.namespace, page)
                with database.transaction() as connection:
                    texts, others = _outdated_records(connection, found)
                stale |= (texts | others) & live
                facts |= others & live
                held |= {product_id(each) for each in page}
            missing |= live - held
            surplus |= held - live
        return Differences(sorted(missing), sorted(stale - missing), sorted(surplus), frozenset(facts - missing))

    def doubt(self, connection: Connection, differences: Differences) -> None:
        self.ledger.doubt(connection, differences)

    # --- finding -------------------------------------------------------------------------------------------------

    def candidates(
        self, connection: Connection, query: str, vector: NDArray[np.float32] | None, condition: Condition, depth: int
    ) -> Candidates:
        """Whoever asks waits less than who writes, and for a Pinecone that failed a moment ago not at all."""
        few = _passing(connection, condition, 0, FEW + 1) if condition.is_filter else None
        if few is not None and len(few) > FEW:
            few = None
        question = Question(self.namespace, query, vector, condition, few, depth)
        if few == []:
            return Candidates({}, {})
        return self.ask(partial(question.found, connection))

    def count_phrases(self, connection: Connection, phrases: Sequence[str]) -> Mapping[str, int]:
        """Pinecone does not tell."""
        return {}

    def count_words(self, connection: Connection, words: Sequence[str]) -> Mapping[str, int]:
        return {}


@dataclass(frozen=True)
class Question:
    """What is asked of an index. The ids of the `few` that pass are named in it, where they are few."""

    namespace: str
    query: str
    vector: NDArray[np.float32] | None
    condition: Condition
    few: Sequence[int] | None
    depth: int

    def found(self, connection: Connection, indexes: PineconeIndexes) -> Candidates:
        dense, sparse = _on_both(indexes, self.first)
        return Candidates(
            self.ranked(connection, indexes.dense, dense), self.ranked(connection, indexes.sparse, sparse)
        )

    def first(self, index: PineconeIndex) -> list[Match]:
        return self._ask(index, self.few, self._first_number)

    def ranked(self, connection: Connection, index: PineconeIndex, found: list[Match]) -> Leg:
        """The best products that pass, from a first answer on: more is asked for until there are enough, or no more."""
        number = self._first_number
        while True:
            passing = self._checked(connection, found)
            if len(passing) >= self.depth or len(found) < number:
                return dict(islice(passing.items(), self.depth))
            if number == MAX_FOUND:
                return self._ranked_of_all(connection, index)
            number = min(number * _GROWTH, MAX_FOUND)
            found = self._ask(index, self.few, number)

    @property
    def _first_number(self) -> int:
        return min(self.depth * _OVERFETCH if self.condition.is_filter else self.depth, MAX_FOUND)

    def _ask(self, index: PineconeIndex, among: Sequence[int] | None, number: int) -> list[Match]:
        if index.takes == "vectors" and self.vector is None:
            return []
        return index.query(
            self.namespace,
            vector=self.vector if index.takes == "vectors" else None,
            text=self.query,
            filters=self.condition.filters,
            among=None if among is None else [record_id(each) for each in among],
            top_k=number,
        )

    def _checked(self, connection: Connection, found: Sequence[Match]) -> Leg:
        """What passes of what was found, in its order."""
        scores = {product_id(each.id): each.score for each in found}
        statement = f"SELECT p.id FROM products p WHERE p.id = ANY(CAST(:found AS bigint[])) AND {self.condition.sql}"
        rows = connection.execute(text(statement), {**self.condition.parameters, "found": list(scores)})
        passing = set(rows.scalars())
        return {each: score for each, score in scores.items() if each in passing}

    def _ranked_of_all(self, connection: Connection, index: PineconeIndex) -> Leg:
        """The best of all that pass, block by block: what is found is full of what does not pass."""
        best: list[Match] = []
        block = _passing(connection, self.condition, 0, MAX_FOUND)
        while block:
            best += self._ask(index, block, self.depth)
            best = sorted(best, key=lambda match: (-match.score, product_id(match.id)))[: self.depth]
            block = _passing(connection, self.condition, block[-1], MAX_FOUND)
        return {product_id(match.id): match.score for match in best}


def _on_both(indexes: PineconeIndexes, do: Callable[[PineconeIndex], T]) -> tuple[T, T]:
    """Does the same with both indexes, at once."""
    with ThreadPoolExecutor(2, thread_name_prefix="pinecone") as pool:
        dense, sparse = pool.map(do, (indexes.dense, indexes.sparse))
    return dense, sparse


def place_of(settings: Settings, dimensions: int) -> dict[str, str]:
    """What an identity says of where an index of these settings is. Raises `PineconeError`, `ConfigurationError`."""
    dense = connected(settings, dimensions).dense
    return {
        "index": "pinecone",
        "dense": dense.name,
        "sparse": settings.pinecone_sparse_index or "",
        "takes": dense.takes,
        "words": _WORDS,
    }


def create_indexes(settings: Settings, dimensions: int) -> list[str]:
    """Creates those of both indexes that are not there; returns their names."""
    return create_missing(PineconeConfig.of(settings), Policy.of(settings), dimensions)


def open_pinecone(generation_id: int, identity: Mapping[str, Any], namespace: str | None) -> PineconeSearchIndex:
    """The index of a generation. Pinecone is connected to when it is needed, with this process's key."""
    names = {"pinecone_dense_index": identity["dense"], "pinecone_sparse_index": identity["sparse"]}

    def settings() -> Settings:
        return get_settings().model_copy(update=names)

    def connect() -> PineconeIndexes:
        return connected(settings(), identity["dimensions"])

    def ask(question: Callable[[PineconeIndexes], Candidates]) -> Candidates:
        used = settings()
        return _breaker(used).ask(lambda: question(connected(used, identity["dimensions"], for_queries=True)))

    return PineconeSearchIndex(Ledger(generation_id), namespace or f"generation-{generation_id}", connect, ask)


@lru_cache(maxsize=8)
def _breaker(_settings: Settings) -> Breaker:
    """One for both indexes, of whatever generation."""
    return Breaker("Pinecone", IndexUnavailableError)


@lru_cache(maxsize=8)
def connected(settings: Settings, dimensions: int, *, for_queries: bool = False) -> PineconeIndexes:
    """Connections that all of the process share: one is opened once for the same settings. Those of queries are others:
    they are less patient, and do not wait when it is those who write that are asked to slow down."""
    config = PineconeConfig.of(settings)
    return open_indexes(config.for_queries if for_queries else config, Policy.of(settings), dimensions)


def _record(product: PendingProduct) -> PendingRecord:
    assert isinstance(product, PendingRecord)  # noqa: S101 - what `pending` gave
    return product


_Sent = tuple[list[Record], list[tuple[str, Metadata]]]


def _dense(products: Sequence[PendingRecord], vectors: Mapping[int, NDArray[np.float32]]) -> _Sent:
    """Records of new texts, as they are embedded; new metadata of the others."""
    written = [
        Record(record_id(each.product_id), each.text, vectors.get(each.product_id, each.vector), each.metadata)
        for each in products if each.has_new_text
    ]  # fmt: skip
    return written, _changed(each for each in products if not each.has_new_text)


def _sparse(products: Sequence[PendingRecord]) -> _Sent:
    """Records of whatever is searched, where it is new; new metadata of the others."""
    written = [
        Record(record_id(each.product_id), each.words, None, each.metadata) for each in products if each.has_new_words
    ]
    return written, _changed(each for each in products if not each.has_new_words)


def _changed(products: Iterable[PendingRecord]) -> list[tuple[str, Metadata]]:
    """Metadata tell the hash of the words too."""
    return [
        (record_id(each.product_id), each.metadata)
        for each in products if each.has_new_metadata or each.has_new_words
    ]  # fmt: skip


def _await(acknowledged: Iterable[list[str]]) -> None:
    """What writes does so as it is consumed."""
    deque(acknowledged, maxlen=0)


def _paged(pages: Iterable[list[str]]) -> Iterator[list[str]]:
    """Ids in pages of a size that is worth a statement."""
    ids = chain.from_iterable(pages)
    while page := list(islice(ids, _PAGE)):
        yield page


def _passing(connection: Connection, condition: Condition, after: int, limit: int) -> list[int]:
    """The first products beyond an id that pass."""
    statement = f"SELECT p.id FROM products p WHERE {condition.sql} AND p.id > :after ORDER BY p.id LIMIT :limit"
    parameters = {**condition.parameters, "after": after, "limit": limit}
    return list(connection.execute(text(statement), parameters).scalars())


def _outdated_records(connection: Connection, found: Mapping[str, Metadata]) -> tuple[set[int], set[int]]:
    """The products of records that have another text than in the catalogue, and those that have other facts."""
    ids = [product_id(each) for each in found]
    hashes, facts = text_hashes(connection, ids), product_facts(connection, ids)
    wanted = {each: described(each, facts[each], hashes[each]) for each in hashes}

    def differing(key: str) -> set[int]:
        return {each for each in wanted if wanted[each].get(key) != found[record_id(each)].get(key)}

    return differing(TEXT_HASH), differing(METADATA_HASH)

"""A query as the index is asked it: spelled as the catalogue is, with a vector where there is one."""

from dataclasses import dataclass, replace
from functools import lru_cache, partial

import numpy as np
import structlog
from numpy.typing import NDArray
from sqlalchemy import Connection, text

from app.core.errors import ConfigurationError
from app.services.generations import Generation, live_generation, searched_generation
from app.services.scope import Scope, resolve
from app.vectors.embedders import Embedder, EmbedderIdentity, EmbeddingUnavailableError
from app.vectors.indexes.base import Candidates
from app.vectors.spelling import respell

log = structlog.get_logger()

QUERY_VECTORS = 4096
"""Vectors of queries that are kept, the latest asked for: of the local model some 6 MB."""

_BRAND_WORDS = 4  # of a name, at most


class _QueryRefusedError(Exception):
    """The model takes no such query, this time; the message is its reason."""


@dataclass(frozen=True)
class Question:
    """A query, and as the index would have it when that is something else. Without a vector, words alone decide."""

    connection: Connection
    generation: Generation
    query: str
    respelled: str | None
    vector: NDArray[np.float32] | None

    def respell(self, embedder: Embedder) -> "Question":
        """As the index would have it; itself when there is nothing better."""
        index, connection = self.generation.index, self.connection
        spelled = respell(self.query, partial(index.count_phrases, connection), partial(index.count_words, connection))
        if spelled == self.query:
            return self
        vector = None if self.vector is None else _vector(embedder, spelled)
        return replace(self, respelled=spelled, vector=self.vector if vector is None else vector)

    def candidates(self, scope: Scope, depth: int) -> Candidates:
        words = f"{self.query} OR {self.respelled}" if self.respelled else self.query
        return self.generation.index.candidates(self.connection, words, self.vector, scope.condition, depth)

    def of_brand(self, scope: Scope, depth: int) -> list[int]:
        """When the query is a brand's name: its products, by words; what its name is near to says nothing."""
        if len(self.query.split()) > _BRAND_WORDS or not _is_brand(self.connection, self.query):
            return []
        filters = scope.filters
        if filters.brand is None:
            filters = replace(filters, brand=self.query)
        of_brand = resolve(self.connection, filters)
        found = self.candidates(of_brand, depth) if of_brand else Candidates({}, {})
        return list(dict.fromkeys([*found.text, *found.dense]))


def ask(connection: Connection, embedder: Embedder, query: str) -> Question | None:
    """None when nothing is indexed. Raises `OtherModelError`."""
    is_embeddable = True
    try:
        generation = searched_generation(connection, embedder)
    except (EmbeddingUnavailableError, ConfigurationError) as error:
        _tell(error)
        generation, is_embeddable = live_generation(connection), False
    if generation is None:
        return None
    vector = _vector(embedder, query) if is_embeddable else None
    return Question(connection, generation, query, None, vector)


def _vector(embedder: Embedder, query: str) -> NDArray[np.float32] | None:
    """None when the model takes no such query, or cannot be had."""
    try:
        return _embedded(embedder, embedder.identity, query)  # type: ignore[arg-type] # by identity, all hash
    except (EmbeddingUnavailableError, ConfigurationError) as error:
        _tell(error)
    except _QueryRefusedError as error:
        log.warning("the query is refused: searching by words alone", error=str(error))
    return None


@lru_cache(maxsize=QUERY_VECTORS)
def _embedded(embedder: Embedder, _identity: EmbedderIdentity, query: str) -> NDArray[np.float32]:
    """The query's vector. A model that changes under its name is another identity; a refusal is not kept."""
    embedded = embedder.embed([query])
    if embedded.refused:
        raise _QueryRefusedError(embedded.refused[0])
    embedded.vectors.setflags(write=False)
    vector: NDArray[np.float32] = embedded.vectors[0]
    return vector


def _tell(error: EmbeddingUnavailableError | ConfigurationError) -> None:
    log.warning("no vector for the query: searching by words alone", error=str(error), remedy=error.remedy)


def _is_brand(connection: Connection, query: str) -> bool:
    found: bool = connection.execute(
        text("""
            SELECT EXISTS (SELECT FROM products p WHERE lower(p.brand_name) = lower(:query) AND p.deleted_at IS NULL)
                OR EXISTS (SELECT FROM brands WHERE lower(name) = lower(:query))
            """),
        {"query": query},
    ).scalar_one()
    return found

"""An embedding service for those who search."""

from collections.abc import Sequence
from typing import Protocol

from app.vectors.breaker import Breaker
from app.vectors.embedders.base import Embedded, Embedder, EmbedderIdentity


class Service(Embedder, Protocol):
    """An embedder that may have to ask for its identity."""

    @property
    def known_identity(self) -> EmbedderIdentity | None:
        """None when it has to."""
        ...


class ImpatientEmbedder:
    """Asks a service, while the breaker lets it: so a query waits for it once, however often it asks. What is known
    without asking says nothing of the service, and is told in any case."""

    def __init__(self, embedder: Service, breaker: Breaker) -> None:
        self._embedder = embedder
        self._breaker = breaker

    @property
    def identity(self) -> EmbedderIdentity:
        return self._embedder.known_identity or self._breaker.ask(lambda: self._embedder.identity)

    def embed(self, texts: Sequence[str]) -> Embedded:
        return self._breaker.ask(lambda: self._embedder.embed(texts))

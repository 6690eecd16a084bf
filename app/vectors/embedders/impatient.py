"""For those who search: a service that failed is left alone for a while, instead of being waited for by each."""

import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from app.vectors.embedders.base import Embedded, Embedder, EmbedderIdentity, EmbeddingUnavailableError

PAUSE = 5.0  # seconds

T = TypeVar("T")


class Breaker:
    """Whether a service is asked. After it failed it is not for `pause` seconds, and then by one, whom the others do
    not wait for."""

    def __init__(self, pause: float = PAUSE) -> None:
        self._pause = pause
        self._again_at: float | None = None  # on the monotonic clock, since it failed
        self._lock = threading.Lock()

    def ask(self, question: Callable[[], T]) -> T:
        """Raises `EmbeddingUnavailableError` while the service is left alone, and what the question raises."""
        self._begin()
        try:
            answer = question()
        except EmbeddingUnavailableError:
            self._again_at = time.monotonic() + self._pause
            raise
        self._again_at = None
        return answer

    def _begin(self) -> None:
        with self._lock:
            if self._again_at is None:
                return
            now = time.monotonic()
            if now < self._again_at:
                raise EmbeddingUnavailableError(
                    "The embedding service failed a moment ago", remedy="It is asked again by itself, in a few seconds."
                )
            self._again_at = now + self._pause


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

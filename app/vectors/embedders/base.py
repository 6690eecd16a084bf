"""What every embedder promises: texts become unit vectors, each by itself, or are refused with a reason."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from app.core.errors import DiscoveryNodeError

Variant = Literal["int8", "fp32"]

PATIENCE = 300.0
"""Seconds that a service may take for the texts of one call. What it does not manage by then stays pending."""


class EmbeddingError(DiscoveryNodeError):
    """No vector can be computed: the model is missing, or is not the one expected."""


class EmbeddingUnavailableError(EmbeddingError):
    """No vector can be had now; later the same may go well. `retry_after`: in so many seconds, as the service said."""

    def __init__(self, message: str, *, remedy: str = "", retry_after: float | None = None) -> None:
        super().__init__(message, remedy=remedy)
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class EmbedderIdentity:
    """What decides a text's vector: vectors of equal identities may be compared, others must not.

    `weights` is the SHA-256 of the weights file in hex, or what a service made of a text that all are asked for (see
    `probe`); `max_tokens` counts the two special tokens, and what lies beyond it does not reach the vector. None: only
    the service knows.
    """

    provider: str
    model: str
    weights: str
    variant: Variant
    dimensions: int
    max_tokens: int | None


@dataclass(frozen=True, slots=True)
class Embedded:
    """What became of texts: row `n` of `vectors`, of shape (texts, dimensions), is that of the text `n`, and of length
    1; or else `refused` holds the reason by `n`, and the row is NaN throughout, which no index takes."""

    vectors: NDArray[np.float32]
    refused: Mapping[int, str] = field(default_factory=dict)


class Embedder(Protocol):
    """Turns texts into vectors. Safe to call from several threads at once; to be created after a fork."""

    @property
    def identity(self) -> EmbedderIdentity:
        """Raises like `embed`: a service has to be asked."""
        ...

    def embed(self, texts: Sequence[str]) -> Embedded:
        """What becomes of a text depends on it alone, never on the other texts of the call nor on threads. The empty
        text has a vector too.

        Raises `EmbeddingError` when the model cannot be loaded, `EmbeddingUnavailableError` when it is a service that
        gives no vectors for now, and `ConfigurationError` when a setting has to be changed first.
        """
        ...

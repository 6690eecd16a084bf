"""What every embedder promises: texts become unit vectors, each by itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from app.core.errors import DiscoveryNodeError

Variant = Literal["int8", "fp32"]


class EmbeddingError(DiscoveryNodeError):
    """No vector can be computed: the model is missing, or is not the one expected."""


@dataclass(frozen=True, slots=True)
class EmbedderIdentity:
    """What decides a text's vector: vectors of equal identities may be compared, others must not.

    `weights` is the SHA-256 of the weights file in hex; `max_tokens` counts the two special tokens,
    and what lies beyond it does not reach the vector.
    """

    provider: str
    model: str
    weights: str
    variant: Variant
    dimensions: int
    max_tokens: int


class Embedder(Protocol):
    """Turns texts into vectors. Safe to call from several threads at once; to be created after a fork."""

    @property
    def identity(self) -> EmbedderIdentity: ...

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """One row per text, in order: shape (texts, dimensions), each of length 1.

        A row depends on its text alone, never on the other texts of the call nor on threads. The empty
        text has a vector too. Raises `EmbeddingError` when the model cannot be loaded.
        """
        ...

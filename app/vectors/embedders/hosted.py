"""Where the index makes the vectors itself, texts go up and no vector comes back."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from app.vectors.embedders.base import Embedded, EmbedderIdentity


class HostedEmbedder:
    """Stands for the model of an index with integrated embedding, which is known by the index alone: `model` is its
    name. The vectors it gives are empty, and are not looked at there."""

    PROVIDER: Final = "pinecone"

    def __init__(self, model: str) -> None:
        self.identity = EmbedderIdentity(self.PROVIDER, model, "", "fp32", dimensions=0, max_tokens=None)

    def embed(self, texts: Sequence[str]) -> Embedded:
        return Embedded(np.empty((len(texts), 0), np.float32))

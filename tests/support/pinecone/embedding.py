"""Integrated embedding: the hosted models by name, with hashed words in their place. The same text always gives the
same vector, and texts that share words are close."""

import math
import re
import zlib
from collections import Counter
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Model:
    vector_type: Literal["dense", "sparse"]
    dimension: int | None
    metric: str


MODELS = {
    "llama-text-embed-v2": Model("dense", 1024, "cosine"),
    "multilingual-e5-large": Model("dense", 1024, "cosine"),
    "pinecone-sparse-english-v0": Model("sparse", None, "dotproduct"),
}


def sparse(text: str) -> dict[int, float]:
    """Weights of words, which grow with their number."""
    return {zlib.crc32(word.encode()): 1 + math.log(number) for word, number in Counter(_words(text)).items()}


def dense(text: str, dimension: int) -> NDArray[np.float32]:
    """A vector of length 1; the empty text has one too."""
    vector = np.zeros(dimension, dtype=np.float32)
    for term, weight in (sparse(text) or {0: 1.0}).items():
        vector[term % dimension] += weight if (term >> 16) & 1 else -weight
    if not vector.any():
        vector[0] = 1
    return vector / np.linalg.norm(vector)


def _words(text: str) -> list[str]:
    return [word.removesuffix("s") for word in re.findall(r"\w+", text.lower())]

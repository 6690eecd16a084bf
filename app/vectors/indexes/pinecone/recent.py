"""Vectors that went up a moment ago: Pinecone shows them only after a while."""

import threading
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

_KEPT = 4096  # of 384 numbers some 6 MB

Key = tuple[str, bytes]
"""A namespace, and the hash of the text that a vector is of."""


@dataclass(eq=False)
class Recent:
    """The latest vectors. Safe to use from several threads."""

    _kept: OrderedDict[Key, NDArray[np.float32]] = field(default_factory=OrderedDict, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def keep(self, sent: Iterable[tuple[Key, NDArray[np.float32]]]) -> None:
        with self._lock:
            for key, vector in sent:
                self._kept[key] = vector
                self._kept.move_to_end(key)
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)

    def find(self, key: Key) -> NDArray[np.float32] | None:
        with self._lock:
            return self._kept.get(key)

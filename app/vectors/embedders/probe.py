"""How a model that only a service has is recognised: by what it makes of one text."""

from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.vectors.embedders.base import EmbedderIdentity

PROBE = "A cup of coffee, and a lamp to read by."
"""Changing it makes every service another model."""

_PREFIX = "probe:"
_LENGTH = 64  # numbers that are kept: two models agree in them by chance with a cosine of 0.13, give or take
_ALIKE = 0.99  # what one model makes of one text differs by less, whatever it is computed on


def fingerprint(vector: NDArray[np.float32]) -> str:
    """The beginning of the probe's vector in bytes, each number as a share of the largest."""
    first = vector[:_LENGTH].astype(np.float64)
    scaled = np.rint(first / max(np.abs(first).max(), np.finfo(np.float64).tiny) * 127).astype(np.int8)
    return _PREFIX + b64encode(scaled.tobytes()).decode("ascii")


def are_alike(one: str, other: str) -> bool:
    """Whether two fingerprints, or hashes of weights, are of one model."""
    if not (one.startswith(_PREFIX) and other.startswith(_PREFIX)):
        return one == other
    a, b = _numbers(one), _numbers(other)
    return a.size == b.size and float(a @ b) >= _ALIKE * float(np.linalg.norm(a) * np.linalg.norm(b))


def is_identity(recorded: Mapping[str, Any], identity: EmbedderIdentity) -> bool:
    """Whether what was written down, an identity among it, is of this one."""
    expected = asdict(identity)
    weights = expected.pop("weights")
    same = all(recorded.get(name) == value for name, value in expected.items())
    return same and are_alike(str(recorded.get("weights")), weights)


def _numbers(told: str) -> NDArray[np.float64]:
    return np.frombuffer(b64decode(told.removeprefix(_PREFIX)), np.int8).astype(np.float64)

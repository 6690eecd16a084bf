"""What an embedding service answers, read strictly: a vector that cannot be trusted is none."""

from base64 import b64decode
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

_MAX_TOLD = 200


class UnusableAnswerError(Exception):
    """The answer is not what was asked for; the message says why."""


class WrongDimensionsError(Exception):
    """Vectors have another length than the configured one."""

    def __init__(self, found: int) -> None:
        super().__init__(found)
        self.found = found


class _Row(msgspec.Struct):
    index: int
    embedding: str | list[float]


class _Answer(msgspec.Struct):
    data: list[_Row]


_decode = msgspec.json.Decoder(_Answer).decode


def read_vectors(body: bytes, count: int, dimensions: int) -> NDArray[np.float32]:
    """Vectors of length 1 for `count` texts, by `index`. A row that is no direction (zero, infinite, not a number) is
    NaN throughout. Raises `UnusableAnswerError` and `WrongDimensionsError`."""
    try:
        rows = _decode(body).data
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        page = " (a page of HTML or XML)" if body.lstrip()[:1] == b"<" else ""
        raise UnusableAnswerError(f"the answer is not a list of embeddings{page}: {error}") from error
    _require_each_once([row.index for row in rows], count)
    vectors = np.full((count, dimensions), np.nan, np.float32)
    for row in rows:
        vectors[row.index] = _unit(_numbers(row.embedding), dimensions)
    return vectors


def _require_each_once(indexes: Sequence[int], count: int) -> None:
    if sorted(indexes) != list(range(count)):
        told = "out of range" if any(not 0 <= index < count for index in indexes) else "missing or double"
        raise UnusableAnswerError(f"{len(indexes)} embeddings for {count} texts, with an index that is {told}")


def _numbers(embedding: str | list[float]) -> NDArray[np.float64]:
    if isinstance(embedding, list):
        return np.array(embedding, np.float64)
    try:
        return np.frombuffer(b64decode(embedding, validate=True), "<f4").astype(np.float64)
    except ValueError as error:
        raise UnusableAnswerError("an embedding is not base64 of 32-bit numbers") from error


def _unit(numbers: NDArray[np.float64], dimensions: int) -> NDArray[np.float64]:
    if numbers.size != dimensions:
        raise WrongDimensionsError(numbers.size)
    largest = np.abs(numbers).max()
    if not np.isfinite(largest) or largest == 0:
        return np.full(dimensions, np.nan)
    scaled = numbers / largest  # so that squares neither vanish nor overflow
    unit: NDArray[np.float64] = scaled / np.linalg.norm(scaled)
    return unit


def reason(body: bytes, secret: str | None) -> str:
    """What a service says of an error, in one short line and without the key, should it repeat it."""
    told = _message(body) or body[:1000].decode(errors="replace")
    if secret:
        told = told.replace(secret, "…")
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in told).split())
    return line if len(line) <= _MAX_TOLD else line[: _MAX_TOLD - 1] + "…"


def error_code(body: bytes) -> str:
    """The code that OpenAI gives an error, such as `insufficient_quota`; "" without one."""
    error = _object(body).get("error")
    code = error.get("code") if isinstance(error, Mapping) else None
    return code if isinstance(code, str) else ""


def _message(body: bytes) -> str:
    """OpenAI: `error.message`; Ollama, TEI: `error`; FastAPI: `detail`; others: `message`."""
    found = _object(body)
    for name in ("error", "detail", "message"):
        told = found.get(name)
        if isinstance(told, Mapping):
            told = told.get("message")
        if told:
            return told if isinstance(told, str) else msgspec.json.encode(told).decode()
    return ""


def _object(body: bytes) -> Mapping[str, Any]:
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {}
    return found if isinstance(found, Mapping) else {}

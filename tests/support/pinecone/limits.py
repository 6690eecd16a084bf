"""The limits of https://docs.pinecone.io/reference/api/database-limits, which are enforced."""

import json
import math
from collections.abc import Mapping
from typing import Any

from tests.support.pinecone.answers import Refusal, require

MAX_BYTES = 2_000_000
MAX_VECTORS = 1_000
MAX_RECORDS = 96
MAX_METADATA = 40_960
MAX_ID = 512
MAX_TOP_K = 10_000
MAX_IDS = 1_000
MAX_PAGE = 100
MAX_DIMENSION = 20_000
MAX_NAMESPACE = 512
_MAX_INDICES = 2_048


def check_size(body: bytes) -> None:
    if len(body) > MAX_BYTES:
        raise Refusal(413, f"the request has {len(body)} bytes, more than {MAX_BYTES}", "PAYLOAD_TOO_LARGE")


def check_id(identifier: Any) -> str:
    require(isinstance(identifier, str) and identifier, "an id is a string that is not empty")
    require(identifier.isascii() and "\0" not in identifier, "an id is ASCII without NUL")
    require(len(identifier) <= MAX_ID, f"an id has at most {MAX_ID} characters")
    return str(identifier)


def check_metadata(metadata: Any) -> dict[str, Any]:
    require(isinstance(metadata, Mapping), "metadata is an object")
    for key, value in metadata.items():
        require(not key.startswith("$"), f"the key {key} starts with $")
        is_list = isinstance(value, list) and all(isinstance(each, str) for each in value)
        require(is_list or isinstance(value, str | bool | int | float), f"{key} is no string, number, boolean or list")
        require(not isinstance(value, float) or math.isfinite(value), f"{key} is not finite")
    size = len(json.dumps(metadata, ensure_ascii=False, separators=(",", ":")).encode())
    require(size <= MAX_METADATA, f"metadata of {size} bytes is more than {MAX_METADATA}")
    return dict(metadata)


def check_top_k(number: Any) -> int:
    require(type(number) is int and 1 <= number <= MAX_TOP_K, f"top_k is 1 to {MAX_TOP_K}")
    return int(number)


def check_values(values: Any, dimension: int) -> list[float]:
    require(isinstance(values, list) and len(values) == dimension, f"a vector has {dimension} dimensions")
    require(all(type(each) in {int, float} and math.isfinite(each) for each in values), "values are finite numbers")
    require(any(values), "a dense vector has a value that is not zero")
    return [float(each) for each in values]


def check_sparse(sparse: Any) -> dict[int, float]:
    require(isinstance(sparse, Mapping) and sparse.keys() == {"indices", "values"}, "sparse: indices and values")
    indices, values = sparse["indices"], sparse["values"]
    require(isinstance(indices, list) and isinstance(values, list), "sparse indices and values are lists")
    require(0 < len(indices) == len(values) <= _MAX_INDICES, f"1 to {_MAX_INDICES} indices, and as many values")
    require(all(type(each) is int and 0 <= each < 2**32 for each in indices), "sparse indices are 32-bit numbers")
    require(len(set(indices)) == len(indices), "sparse indices are different")
    require(all(type(each) in {int, float} and math.isfinite(each) for each in values), "values are finite numbers")
    require(all(values), "sparse values are not zero")
    return {index: float(value) for index, value in zip(indices, values, strict=True)}

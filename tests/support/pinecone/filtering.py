"""Pinecone's filter language: https://docs.pinecone.io/guides/search/filter-by-metadata."""

import operator
from collections.abc import Mapping
from typing import Any

from tests.support.pinecone.answers import require

_MAX_LISTED = 10_000
_ORDERED = {"$gt": operator.gt, "$gte": operator.ge, "$lt": operator.lt, "$lte": operator.le}


def check(condition: Any) -> None:
    """Refuses what Pinecone does not understand."""
    require(isinstance(condition, Mapping), "a filter is an object")
    for key, wanted in condition.items():
        if key in {"$and", "$or"}:
            require(isinstance(wanted, list) and wanted, f"{key} takes a list of filters")
            for part in wanted:
                check(part)
            continue
        require(not key.startswith("$"), f"there is no operator {key}")
        for name, operand in _operators(wanted).items():
            _check_operand(name, operand)


def passes(metadata: Mapping[str, Any], condition: Mapping[str, Any]) -> bool:
    return all(_passes(metadata, key, wanted) for key, wanted in condition.items())


def _passes(metadata: Mapping[str, Any], key: str, wanted: Any) -> bool:
    if key == "$and":
        return all(passes(metadata, part) for part in wanted)
    if key == "$or":
        return any(passes(metadata, part) for part in wanted)
    value = metadata.get(key)
    return all(_holds(value, name, operand) for name, operand in _operators(wanted).items())


def _holds(value: Any, name: str, operand: Any) -> bool:
    if name == "$exists":
        return (value is not None) is operand
    if name == "$ne":
        return not _equals(value, operand)
    if name == "$nin":
        return not any(_equals(value, each) for each in operand)
    if name == "$eq":
        return _equals(value, operand)
    if name == "$in":
        return any(_equals(value, each) for each in operand)
    return _is_number(value) and bool(_ORDERED[name](value, operand))


def _equals(value: Any, operand: Any) -> bool:
    """A list equals each of its elements. True is no number."""
    if isinstance(value, list):
        return operand in value
    return isinstance(value, bool) == isinstance(operand, bool) and bool(value == operand)


def _operators(wanted: Any) -> Mapping[str, Any]:
    return wanted if isinstance(wanted, Mapping) else {"$eq": wanted}


def _check_operand(name: str, operand: Any) -> None:
    if name in {"$in", "$nin"}:
        require(isinstance(operand, list), f"{name} takes a list")
        require(len(operand) <= _MAX_LISTED, f"{name} takes at most {_MAX_LISTED} values")
        require(
            all(isinstance(each, str | int | float) for each in operand), f"{name} takes strings, numbers, booleans"
        )
    elif name == "$exists":
        require(isinstance(operand, bool), "$exists takes a boolean")
    elif name in _ORDERED:
        require(_is_number(operand), f"{name} takes a number")
    else:
        require(name in {"$eq", "$ne"}, f"there is no operator {name}")
        require(isinstance(operand, str | int | float), f"{name} takes a string, number or boolean")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)

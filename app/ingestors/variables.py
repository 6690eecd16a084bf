"""`${VARIABLE}` in `ingestion.yaml`, filled from the environment."""

import re
from collections.abc import Mapping
from typing import Any

Place = tuple[int | str, ...]

_VARIABLE = re.compile(r"\$(?:(\$)|\{([^{}]*)\}|(?=\{))")


class VariableError(ValueError):
    """A variable is not set, or not written as one. `place` is where in the document."""

    def __init__(self, message: str, place: Place) -> None:
        super().__init__(message)
        self.place = place


def fill(value: Any, environment: Mapping[str, str], place: Place = ()) -> Any:
    """A document with its variables filled; `$$` stands for `$`. What is filled in is text, whatever it holds. Raises
    `VariableError`."""
    if isinstance(value, dict):
        return {key: fill(each, environment, (*place, key)) for key, each in value.items()}
    if isinstance(value, list):
        return [fill(each, environment, (*place, number)) for number, each in enumerate(value)]
    if not isinstance(value, str):
        return value

    def variable(found: re.Match[str]) -> str:
        escaped, name = found.groups()
        if escaped:
            return "$"
        if not name:
            raise VariableError("`${` is not followed by a variable's name and `}`", place)
        if name not in environment:
            raise VariableError(f"the environment variable {name} is not set", place)
        return environment[name]

    return _VARIABLE.sub(variable, value)

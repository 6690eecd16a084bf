"""An item as JSON, line by line, with the lines marked that an issue is about."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from app.api.negotiation import encoded

_PART = re.compile(r"[^.\[\]]+|\[\d+\]")


@dataclass(frozen=True)
class Line:
    """A line of JSON; `is_place` when it belongs to the value at the issue's path."""

    text: str
    is_place: bool


def marked(place: Mapping[str, Any]) -> list[Line]:
    """The lines of the place's `item`; what its `path` names is marked, as far down as the item has it."""
    parts = tuple(part.strip("[]") for part in _PART.findall(place["path"] or ""))
    lines = list(_lines(json.loads(encoded(place["item"])), (), "", "", ""))
    deepest = max((_shared(at, parts) for at, _ in lines), default=0)
    wanted = parts[:deepest]
    return [Line(text, bool(wanted) and at[:deepest] == wanted) for at, text in lines]


def _shared(at: tuple[str, ...], parts: tuple[str, ...]) -> int:
    return next((n for n, (a, b) in enumerate(zip(at, parts, strict=False)) if a != b), min(len(at), len(parts)))


def _lines(
    value: Any, at: tuple[str, ...], indent: str, name: str, comma: str
) -> Iterator[tuple[tuple[str, ...], str]]:
    """Lines of a value with their paths."""
    if not isinstance(value, dict | list) or not value:
        yield at, f"{indent}{name}{json.dumps(value, ensure_ascii=False)}{comma}"
        return
    is_object = isinstance(value, dict)
    members: list[tuple[Any, Any]] = list(value.items()) if isinstance(value, dict) else list(enumerate(value))
    yield at, f"{indent}{name}{'{' if is_object else '['}"
    for number, (key, each) in enumerate(members, 1):
        label = f"{json.dumps(key, ensure_ascii=False)}: " if is_object else ""
        yield from _lines(each, (*at, str(key)), f"{indent}  ", label, "," if number < len(members) else "")
    yield at, f"{indent}{'}' if is_object else ']'}{comma}"

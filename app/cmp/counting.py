"""Counting the elements of an array before they are taken apart: a byte of JSON may cost sixty when it is."""

import re

import msgspec

_SLICE = 1024 * 1024
_HARMLESS = 5_000_000  # elements that may be listed before they are counted
_BRACKET = re.compile(rb'(?:[^\[\]{}"]++|"(?:[^"\\]++|\\.)*+")*+[\[\]{}]', re.DOTALL)
_COMMA = re.compile(rb'"(?:[^"\\]++|\\.)*+"|,', re.DOTALL)


def is_bottomless(array: msgspec.Raw, limit: int) -> bool:
    """Whether an array holds more elements than `limit`, and so many that it should not be taken apart to find out."""
    return _commas(array, max(limit, _HARMLESS)) and _elements(array, limit) > limit


def _commas(array: msgspec.Raw, limit: int) -> bool:
    """Whether there are so many commas, wherever they stand: never fewer than elements."""
    view, seen = memoryview(array), 0
    for start in range(0, len(view), _SLICE):
        seen += bytes(view[start : start + _SLICE]).count(b",")
        if seen >= limit:
            return True
    return False


def _elements(array: msgspec.Raw, limit: int) -> int:
    """How many elements an array has; beyond `limit` counting ends."""
    view = memoryview(array)
    depth, found = 0, 1
    for part in _BRACKET.finditer(view):
        if depth == 1:
            for comma in _COMMA.finditer(view, part.start(), part.end() - 1):
                found += view[comma.start()] == ord(",")
                if found > limit:
                    return found
        depth += 1 if view[part.end() - 1] in b"[{" else -1
    return found

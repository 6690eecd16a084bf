"""Category paths: `Electronics > Audio > Headphones`."""

import re

from app.cmp.limits import MAX_CATEGORY_BYTES, MAX_CATEGORY_DEPTH
from app.cmp.text import clean, cut_bytes

SEPARATOR = " > "
_SEPARATORS = re.compile("&gt;|&raquo;|&rsaquo;|[>›»]")  # noqa: RUF001 (these are the signs shops use)


def normalize_path(text: str) -> str | None:
    """Parts trimmed and single-spaced, joined by ` > `; empty ones dropped. A slash belongs to a name."""
    parts = (" ".join(part.split()) for part in _SEPARATORS.split(clean(text)))
    return SEPARATOR.join(part for part in parts if part) or None


def path_of_list(values: list[str]) -> str | None:
    """Strings without a separator are the parts of one path, from the root. Otherwise the first full path."""
    paths = [value for value in values if _SEPARATORS.search(value)]
    return normalize_path(paths[0] if paths else SEPARATOR.join(values))


def own_name(path: str) -> str:
    """The deepest part of the path."""
    return path.rpartition(SEPARATOR)[2]


def ancestors(path: str) -> list[str]:
    """The paths from the root down, the path itself included."""
    parts = path.split(SEPARATOR)
    return [SEPARATOR.join(parts[:depth]) for depth in range(1, len(parts) + 1)]


def cut_path(path: str) -> str:
    """The path within limits: the deepest parts go first; a root that is too long itself is cut."""
    if len(path) * 4 <= MAX_CATEGORY_BYTES and path.count(">") < MAX_CATEGORY_DEPTH:
        return path
    parts = path.split(SEPARATOR)[:MAX_CATEGORY_DEPTH]
    size = len(SEPARATOR) * (len(parts) - 1) + sum(len(part.encode()) for part in parts)
    while len(parts) > 1 and size > MAX_CATEGORY_BYTES:
        size -= len(parts.pop().encode()) + len(SEPARATOR)
    return cut_bytes(SEPARATOR.join(parts), MAX_CATEGORY_BYTES).rstrip()

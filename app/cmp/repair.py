"""Mending what is almost JSON: the slips real exporters make, and no others.

Python's `json.dumps` writes bare NaN and Infinity; string concatenation leaves raw control characters; cutting
text by UTF-16 units leaves half surrogate pairs.
"""

import re
from dataclasses import dataclass

_CONSTANT = re.compile(
    rb'(?s)(?:[^"NI\-]++|"(?:[^"\\]++|\\.)*+"|-(?!Infinity))*+(-?Infinity|NaN|\Z|.)',
)
"""Runs from one bare constant to the next in a single match, skipping strings; it always advances."""

_HALF_PAIR = re.compile(rb"\\u[dD][89a-fA-F]")
_ESCAPE = re.compile(
    rb"(?s)\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)"
)
_CONTROL = re.compile(rb"[\x00-\x1f]")
_CONTROL_TO_SPACE = bytes(32 if byte < 32 else byte for byte in range(256))


@dataclass(frozen=True, slots=True)
class Repaired:
    """The mended text, what was mended, and where (in the mended text) two quotes were put in."""

    text: bytes
    kinds: tuple[str, ...]
    quoted: tuple[int, ...] = ()

    def original(self, offset: int) -> int:
        """The place in the text as it was of a place in the mended one."""
        before = sum(1 for at in self.quoted if at < offset)
        return offset - 2 * before


def repair(text: bytes) -> Repaired:
    """Quote bare constants, blank raw control characters, replace half surrogate pairs by U+FFFD."""
    kinds = []
    mended, quoted = _quote_constants(text)
    if quoted:
        kinds.append("bare NaN or Infinity")
    if _CONTROL.search(mended) is not None:
        mended = mended.translate(_CONTROL_TO_SPACE)
        kinds.append("raw control characters")
    if _HALF_PAIR.search(mended):
        whole = _ESCAPE.sub(_whole_pair, mended)
        if whole != mended:
            kinds.append("half surrogate pairs")
        mended = whole
    return Repaired(mended, tuple(kinds), tuple(quoted))


def _whole_pair(escape: re.Match[bytes]) -> bytes:
    return rb"\ufffd" if escape[1] else escape[0]


def _quote_constants(text: bytes) -> tuple[bytes, list[int]]:
    pieces: list[bytes | memoryview] = []
    view = memoryview(text)
    quoted: list[int] = []
    end = 0
    for match in _CONSTANT.finditer(text):
        if match[1] not in (b"NaN", b"Infinity", b"-Infinity"):
            continue
        start = match.start(1)
        quoted.append(start + 2 * len(quoted))
        pieces += (view[end:start], b'"', match[1], b'"')
        end = match.end(1)
    return (b"".join((*pieces, view[end:])) if pieces else text), quoted

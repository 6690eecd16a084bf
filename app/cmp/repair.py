"""Mending what is almost JSON: the slips real exporters make, and no others.

Python's `json.dumps` writes bare NaN and Infinity; string concatenation leaves raw control characters; cutting
text by UTF-16 units leaves half surrogate pairs.
"""

import re
from array import array
from bisect import bisect_left
from collections.abc import Sequence
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
    quoted: Sequence[int] = ()

    def original(self, offset: int) -> int:
        """The place in the text as it was of a place in the mended one."""
        return offset - 2 * bisect_left(self.quoted, offset)


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
    return Repaired(mended, tuple(kinds), quoted)


def _whole_pair(escape: re.Match[bytes]) -> bytes:
    return rb"\ufffd" if escape[1] else escape[0]


def _quote_constants(text: bytes) -> "tuple[bytes, array[int]]":
    """The text with bare constants in quotes, and where. A hostile text is nothing but constants: each costs little."""
    quoted = array("q")
    mended = bytearray()
    end = 0
    with memoryview(text) as view:
        for match in _CONSTANT.finditer(text):
            if match[1] not in (b"NaN", b"Infinity", b"-Infinity"):
                continue
            quoted.append(match.start(1) + 2 * len(quoted))
            mended += view[end : match.start(1)]
            mended += b'"%b"' % match[1]
            end = match.end(1)
        mended += view[end:]
    return (bytes(mended) if quoted else text), quoted

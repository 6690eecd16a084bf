"""Reading a JSON document of any size without copying it: is it JSON, and where does it stop being JSON?"""

import re
from collections.abc import Callable
from mmap import mmap

import msgspec

from app.cmp.limits import MAX_LENIENT_REPAIR_BYTES, MAX_NESTING
from app.cmp.repair import repair

Buffer = bytes | bytearray | memoryview | mmap
"""What a document may come in. It is never copied, except to mend it."""

NOTHING = msgspec.Raw(b"null")
_RAW = msgspec.json.Decoder(msgspec.Raw)
_VALUE = msgspec.json.Decoder(float_hook=msgspec.Raw)
_SMALL_BYTES = 64 * 1024
_PLACE = re.compile(r" \(byte (\d+)\)$")
_TOKEN = re.compile(rb'(?s)"(?:[^"\\]++|\\.)*+"|[\[\]{}]')
_STRING = re.compile(rb'(?s)"(?:[^"\\]++|\\.)*+"')
_NAMED_AFTER = ("trailing characters", "invalid escape character in string")
"""Errors for which msgspec names the byte after."""

_BOM = b"\xef\xbb\xbf"
_STRANGERS = (
    (b"\xff\xfe", "is UTF-16, not UTF-8"),
    (b"\xfe\xff", "is UTF-16, not UTF-8"),
    (b"\x1f\x8b", "is gzip-compressed, not JSON"),
    (b"PK\x03\x04", "is a ZIP archive, not JSON"),
    (b"<", "is HTML or XML, not JSON"),
)


class MalformedDocumentError(ValueError):
    """A document cannot be read: `reason` says why, `offset` at which byte."""

    def __init__(self, reason: str, offset: int) -> None:
        super().__init__(f"{reason} (at byte {offset})")
        self.reason = reason
        self.offset = offset


class Document(msgspec.Struct):
    """Bytes known to be one JSON value. `root` is a view of them, or of a mended copy (`repairs` says of what)."""

    root: msgspec.Raw
    shift: int = 0
    repairs: tuple[str, ...] = ()
    original: Callable[[int], int] = int

    @property
    def first(self) -> bytes:
        """`{`, `[`, a quote, a digit…"""
        return bytes(memoryview(self.root)[:1])

    def find(self, text: bytes) -> int:
        """The first place of a text in `root`, or 0."""
        found = re.compile(re.escape(text)).search(memoryview(self.root))
        return found.start() if found else 0

    def offset_of(self, part: msgspec.Raw, after: int = 0) -> int:
        """The byte of the document where a part begins (the first that reads the same, from a place in `root`)."""
        needle = bytes(memoryview(part)[:4096])
        found = re.compile(re.escape(needle)).search(memoryview(self.root), after)
        return self.shift + self.original(found.start() if found else after)


def open_document(data: Buffer) -> Document:
    """The document in `data`. Raises MalformedDocumentError when it is not one complete JSON value in UTF-8."""
    view = memoryview(data).cast("B")
    shift = len(_BOM) if view[:3] == _BOM else 0
    view = view[shift:]
    _refuse_strangers(bytes(view[:64]), shift)
    try:
        return Document(_RAW.decode(view), shift)
    except RecursionError as error:
        raise _too_deep(view, shift) from error
    except msgspec.MsgspecError as error:
        if len(view) > MAX_LENIENT_REPAIR_BYTES:
            raise _malformed(str(error), len(view), shift) from error
        return _mended(bytes(view), shift, str(error))


def _mended(data: bytes, shift: int, first_error: str) -> Document:
    """The document after one attempt to mend it; errors name the place in the document as it came."""
    mended = repair(data)
    if not mended.kinds:
        raise _malformed(first_error, len(data), shift)
    try:
        return Document(_RAW.decode(mended.text), shift, mended.kinds, mended.original)
    except RecursionError as error:
        raise _too_deep(memoryview(data), shift) from error
    except msgspec.MsgspecError as error:
        raise _malformed(str(error), len(data), shift, mended.original) from error


def _refuse_strangers(head: bytes, shift: int) -> None:
    start = head.lstrip()
    if not start:
        raise MalformedDocumentError("is empty", shift)
    for magic, reason in _STRANGERS:
        if start.startswith(magic):
            raise MalformedDocumentError(reason, shift)
    if b"\x00" in head[:4]:
        raise MalformedDocumentError("is UTF-16 or UTF-32, not UTF-8", shift)


def _malformed(message: str, size: int, shift: int, original: Callable[[int], int] = int) -> MalformedDocumentError:
    """msgspec's message as reason and offset; truncation, the one error it does not place, is at the end."""
    place = _PLACE.search(message)
    if place is None:
        return MalformedDocumentError("is truncated", shift + size)
    reason = _PLACE.sub("", message).removeprefix("JSON is malformed: ")
    at = int(place[1]) - (reason in _NAMED_AFTER)
    return MalformedDocumentError(f"is not JSON: {reason}", shift + original(at))


def small_value(raw: msgspec.Raw) -> object:
    """What a member of any type holds; None when it is too large to be what the protocol means by it: decoded it may
    take thirty times its bytes. Raises what msgspec does when it cannot be read."""
    return None if memoryview(raw).nbytes > _SMALL_BYTES else _VALUE.decode(raw)


def nesting_of(item: Buffer) -> int:
    """How deep arrays and objects stand in each other."""
    depth = deepest = 0
    for token in _TOKEN.finditer(item):
        sign = item[token.start()]
        depth += (sign in b"[{") - (sign in b"]}")
        deepest = max(deepest, depth)
    return deepest


def _too_deep(view: memoryview, shift: int) -> MalformedDocumentError:
    depth = deepest = place = 0
    for token in _TOKEN.finditer(view):
        sign = view[token.start()]
        depth += (sign in b"[{") - (sign in b"]}")
        if depth > deepest:
            deepest, place = depth, token.start()
        if depth > MAX_NESTING:
            break
    return MalformedDocumentError(f"is nested more than {min(deepest, MAX_NESTING)} deep", shift + place)


def find_long_string(document: Document, limit: int) -> int | None:
    """The offset of the first string longer than `limit` bytes."""
    for token in _STRING.finditer(memoryview(document.root)):
        if token.end() - token.start() > limit:
            return document.shift + document.original(token.start())
    return None

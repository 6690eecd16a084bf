"""Splitting a shard into its items without decoding them."""

from typing import Literal

import msgspec

from app.cmp.counting import is_bottomless
from app.cmp.documents import (
    NOTHING,
    Buffer,
    Document,
    MalformedDocumentError,
    find_long_string,
    open_document,
    small_value,
)
from app.cmp.issues import Issue
from app.cmp.kinds import kind_of
from app.cmp.limits import DEFAULT_LIMITS, DocumentLimits

_LIST_ITEM = msgspec.Raw(b'"ListItem"')
_LIST_ITEM_TYPES = frozenset({"listitem", "datafeeditem"})


class Members(msgspec.Struct):
    """The members of a document's outermost object that tell what it is."""

    raw_kind: msgspec.Raw = msgspec.field(name="@type", default=NOTHING)
    shards: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    elements: msgspec.Raw | msgspec.UnsetType = msgspec.field(name="itemListElement", default=msgspec.UNSET)
    feed_elements: msgspec.Raw | msgspec.UnsetType = msgspec.field(name="dataFeedElement", default=msgspec.UNSET)
    graph: msgspec.Raw | msgspec.UnsetType = msgspec.field(name="@graph", default=msgspec.UNSET)

    @property
    def kind(self) -> object:
        return small_value(self.raw_kind)

    @property
    def list(self) -> msgspec.Raw | None:
        for member in (self.elements, self.feed_elements, self.graph):
            if member is not msgspec.UNSET:
                return member
        return None


class _ListItem(msgspec.Struct, gc=False):
    """A ListItem as specified. Anything else takes the slower, liberal way."""

    item: msgspec.Raw
    kind: Literal["ListItem"] = msgspec.field(name="@type", default="ListItem")
    position: int | float | str | None = None


class _Wrapper(msgspec.Struct, gc=False):
    item: msgspec.Raw
    kind: msgspec.Raw = msgspec.field(name="@type", default=_LIST_ITEM)


class Shard(msgspec.Struct):
    """The items in feed order, as views of the shard's bytes, and what is odd about the shard as a whole."""

    items: list[msgspec.Raw]
    issues: list[Issue]


_MEMBERS = msgspec.json.Decoder(Members)
_LIST_ITEMS = msgspec.json.Decoder(list[_ListItem])
_ELEMENTS = msgspec.json.Decoder(list[msgspec.Raw])
_WRAPPER = msgspec.json.Decoder(_Wrapper)
_WRAPPING = 1024
"""Bytes around an item that are no reason to look for a long string beside the items."""

_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


def split_shard(data: Buffer) -> list[msgspec.Raw]:
    """The items of a shard; the position of each is its index + 1. Raises MalformedDocumentError."""
    return read_shard(data).items


def read_shard(data: Buffer, limits: DocumentLimits = DEFAULT_LIMITS) -> Shard:
    """An ItemList, an array, or a single item; ListItems are unwrapped. An item of any JSON type is kept: the
    verdict on it is `parse_item`'s. Raises MalformedDocumentError."""
    document = open_document(data)
    items, issues = _split(document, limits.items)
    _refuse_many(document, items, limits.items)
    _refuse_oversized(document, items, limits.item_bytes)
    if document.repairs:
        issues.append(Issue("shard-repaired", f"The shard held {', '.join(document.repairs)}."))
    return Shard(items, issues)


def read_members(document: Document) -> Members:
    """What the outermost object says it is. Raises MalformedDocumentError when it is no object."""
    if document.first != b"{":
        raise MalformedDocumentError("is neither an object nor an array", document.shift)
    try:
        members = _MEMBERS.decode(document.root)
        small_value(members.raw_kind)
        return members
    except _UNREADABLE as error:
        raise MalformedDocumentError(f"has members that cannot be read: {error}", document.shift) from error


def _split(document: Document, limit: int) -> tuple[list[msgspec.Raw], list[Issue]]:
    if document.first == b"[":
        _refuse_bottomless(document, document.root, limit)
        return unwrap(document.root)
    members = read_members(document)
    if members.list is not None:
        return _listed(document, members.list, limit)
    if kind_of(members.kind) is not None:
        return [document.root], []
    raise MalformedDocumentError("is neither a list of items nor an item", document.shift)


def _listed(document: Document, member: msgspec.Raw, limit: int) -> tuple[list[msgspec.Raw], list[Issue]]:
    first = bytes(memoryview(member)[:1])
    if first == b"[":
        _refuse_bottomless(document, member, limit)
        return unwrap(member)
    if first == b"{":
        return [_unwrapped(member)], []
    raise MalformedDocumentError("holds something else than a list of items", document.offset_of(member))


def unwrap(elements: msgspec.Raw) -> tuple[list[msgspec.Raw], list[Issue]]:
    """The items of an array of ListItems or bare items."""
    try:
        listed = _LIST_ITEMS.decode(elements)
    except _UNREADABLE:
        return [_unwrapped(element) for element in _ELEMENTS.decode(elements)], []
    return [element.item for element in listed], _disorder(listed)


def _unwrapped(element: msgspec.Raw) -> msgspec.Raw:
    try:
        wrapper = _WRAPPER.decode(element)
        kind = small_value(wrapper.kind)
    except _UNREADABLE:
        return element
    kinds = kind if isinstance(kind, list) else [kind]
    names = {kind.rpartition(":")[2].rpartition("/")[2].lower() for kind in kinds if isinstance(kind, str)}
    return wrapper.item if names & _LIST_ITEM_TYPES else element


def _disorder(listed: list[_ListItem]) -> list[Issue]:
    """A warning when listed positions repeat or fall. They may well start at 501 in a second shard."""
    before: float = 0
    for ordinal, element in enumerate(listed, 1):
        position = element.position
        if not isinstance(position, int | float):
            continue
        if position <= before:
            found = f"Position {position} at place {ordinal} does not follow {before}."
            return [Issue("position-disorder", found, "itemListElement.position", position=ordinal)]
        before = position
    return []


def _refuse_bottomless(document: Document, array: msgspec.Raw, limit: int) -> None:
    if is_bottomless(array, limit):
        raise _too_many(document, limit)


def _refuse_many(document: Document, items: list[msgspec.Raw], limit: int) -> None:
    if len(items) > limit:
        raise _too_many(document, limit)


def _too_many(document: Document, limit: int) -> MalformedDocumentError:
    return MalformedDocumentError(f"holds more than {limit} items (MAX_ITEMS_PER_SHARD)", document.shift)


def _refuse_oversized(document: Document, items: list[msgspec.Raw], limit: int) -> None:
    size = memoryview(document.root).nbytes
    if size <= limit:
        return
    seen = 0
    for position, item in enumerate(items, 1):
        length = memoryview(item).nbytes
        if length > limit:
            place = find_long_string(document, limit)
            offset = place if place is not None else document.offset_of(item, seen)
            told = f"the limit is {limit} bytes (MAX_ITEM_BYTES)"
            raise MalformedDocumentError(f"item {position} takes {length} bytes, {told}", offset)
        seen += length
    beside = size - seen - len(items) * _WRAPPING
    place = find_long_string(document, limit) if beside > limit else None
    if place is not None:
        raise MalformedDocumentError(f"holds a string of more than {limit} bytes (MAX_ITEM_BYTES)", place)

"""The feed: an index of shards, or a single shard. What is no JSON, or no feed, raises MalformedDocumentError."""

import msgspec

from app.cmp.counting import is_bottomless
from app.cmp.documents import NOTHING, Buffer, Document, MalformedDocumentError, open_document, small_value
from app.cmp.fields import describe
from app.cmp.issues import Issue
from app.cmp.kinds import kind_of, type_names
from app.cmp.limits import DEFAULT_LIMITS, MAX_INDEX_BYTES, MAX_PLACES, MAX_TEXT, MAX_URL, DocumentLimits
from app.cmp.shards import Shard, read_members, read_shard, split_shard
from app.cmp.text import clean
from app.cmp.urns import normalize_organization_urn

__all__ = [
    "FeedIndex", "MalformedDocumentError", "Shard", "ShardRef", "parse_index", "read_shard", "split_shard",
]  # fmt: skip


class ShardRef(msgspec.Struct, frozen=True):
    """A shard as the index lists it: the URL may be relative to the index."""

    url: str
    last_updated: str | None = None


class FeedIndex(msgspec.Struct):
    """What a feed consists of. `organization_urn` is canonical, and None when the index names none."""

    version: str | None
    last_updated: str | None
    organization_urn: str | None
    total_shards: int | None
    shards: list[ShardRef]
    issues: list[Issue]


class _Unread(msgspec.Struct):
    """The index's members, not decoded: any of them may be of any size."""

    kind: msgspec.Raw = msgspec.field(name="@type", default=NOTHING)
    version: msgspec.Raw = NOTHING
    last_updated: msgspec.Raw = msgspec.field(name="lastUpdated", default=NOTHING)
    orgid: msgspec.Raw = NOTHING
    organization: msgspec.Raw = NOTHING
    total_shards: msgspec.Raw = msgspec.field(name="totalShards", default=NOTHING)
    shards: msgspec.Raw = NOTHING


class _Index(msgspec.Struct):
    kind: object
    version: object
    last_updated: object
    orgid: object
    organization: object
    total_shards: object
    shards: msgspec.Raw

    @classmethod
    def of(cls, unread: _Unread) -> "_Index":
        return cls(
            kind=small_value(unread.kind),
            version=small_value(unread.version),
            last_updated=small_value(unread.last_updated),
            orgid=small_value(unread.orgid),
            organization=small_value(unread.organization),
            total_shards=small_value(unread.total_shards),
            shards=unread.shards,
        )


class _Entry(msgspec.Struct):
    """A shard entry: the first of these that is a string is the address."""

    url: object = None
    id: object = msgspec.field(name="@id", default=None)
    content_url: object = msgspec.field(name="contentUrl", default=None)
    last_updated: object = msgspec.field(name="lastUpdated", default=None)


_INDEX = msgspec.json.Decoder(_Unread)
_ENTRIES = msgspec.json.Decoder(list[msgspec.Raw])
_ENTRY = msgspec.json.Decoder(str | _Entry, float_hook=msgspec.Raw)
_SHARDS = b'"shards"'
_MAX_ENTRY_BYTES = 64 * 1024
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


def parse_index(data: Buffer, limits: DocumentLimits = DEFAULT_LIMITS) -> FeedIndex | None:
    """The feed's index, or None when the document is itself a shard. Raises MalformedDocumentError when it is
    neither, or when a shard entry cannot be read: then the publication is not known as a whole."""
    if memoryview(data).nbytes > MAX_INDEX_BYTES:
        return None
    document = open_document(data)
    if document.first == b"[":
        return None
    members = read_members(document)
    if members.shards is msgspec.UNSET and "productfeedindex" not in type_names(members.kind):
        if members.list is not None or kind_of(members.kind) is not None:
            return None
        raise MalformedDocumentError("is neither a feed index nor a list of items", document.shift)
    return _read_index(document, limits)


def _read_index(document: Document, limits: DocumentLimits) -> FeedIndex:
    try:
        index = _Index.of(_INDEX.decode(document.root))
    except _UNREADABLE as error:
        raise MalformedDocumentError(f"has members that cannot be read: {error}", document.shift) from error
    issues: list[Issue] = []
    if "productfeedindex" not in type_names(index.kind):
        issues.append(Issue("index-type-missing", "The index has no `@type` ProductFeedIndex.", "@type"))
    organization = _organization(index, issues)
    shards = _shards(document, index.shards, issues, limits.shards)
    return FeedIndex(
        _text(index.version), _text(index.last_updated), organization, _total(index, shards, issues), shards, issues
    )


def _organization(index: _Index, issues: list[Issue]) -> str | None:
    """`orgid`, else `organization.urn` (or `organization` itself)."""
    place, found = "orgid", index.orgid
    if found is None:
        place, found = "organization", index.organization
    value = found
    if isinstance(found, dict):
        value = next((found[key] for key in ("urn", "value", "@id", "orgid") if key in found), None)
    if value is None:
        issues.append(Issue("orgid-missing", "The index names no organization.", "orgid"))
        return None
    urn = normalize_organization_urn(value) if isinstance(value, str) else None
    if urn is None:
        issues.append(Issue("orgid-unusable", f"`{place}` is no organization's URN.", place, describe(value)))
    elif value != urn or place != "orgid" or found is not value:
        issues.append(Issue("orgid-spelling", f"`{place}` is read as {urn}.", place, describe(value)))
    return urn


def _shards(document: Document, raw: msgspec.Raw, issues: list[Issue], limit: int) -> list[ShardRef]:
    first = bytes(memoryview(raw)[:1])
    if first not in (b"[", b"{", b'"'):
        raise MalformedDocumentError(
            "lists no shards: `shards` is not a list", document.offset_of(raw, document.find(_SHARDS))
        )
    too_many = is_bottomless(raw, limit)
    entries = [] if too_many else _ENTRIES.decode(raw) if first == b"[" else [raw]
    if too_many or len(entries) > limit:
        reason = f"lists more than {limit} shards (MAX_SHARDS_PER_FEED)"
        raise MalformedDocumentError(reason, document.offset_of(raw, document.find(_SHARDS)))
    listed: dict[str, ShardRef] = {}
    bare = relative = repeated = 0
    for number, entry in enumerate(entries, 1):
        shard, is_text = _shard(document, entry, number)
        bare += is_text
        relative += "://" not in shard.url
        if listed.setdefault(shard.url, shard) is not shard:
            repeated += 1
            if repeated <= MAX_PLACES:
                found = f"Entry {number} of the index lists a shard again."
                issues.append(Issue("duplicate-shard", found, "shards", shard.url, number, shard.url))
    _summarize(issues, len(entries), bare, relative, repeated, next(iter(listed), None))
    return list(listed.values())


def _summarize(issues: list[Issue], count: int, bare: int, relative: int, repeated: int, example: str | None) -> None:
    """One issue for what is wrong with many shard entries."""
    if repeated > MAX_PLACES:
        issues.append(Issue("duplicate-shard", f"{repeated} of {count} entries list a shard again.", "shards"))
    if bare:
        issues.append(Issue("shard-as-text", f"{bare} of {count} shards are plain strings.", "shards", example))
    if relative:
        issues.append(Issue("shard-url-relative", f"{relative} of {count} shard URLs are relative.", "shards", example))


def _shard(document: Document, entry: msgspec.Raw, number: int) -> tuple[ShardRef, bool]:
    if memoryview(entry).nbytes > _MAX_ENTRY_BYTES:
        raise MalformedDocumentError(f"shard entry {number} is too long", document.offset_of(entry))
    try:
        value = _ENTRY.decode(entry)
    except _UNREADABLE as error:
        reason = f"shard entry {number} is neither an object nor a string"
        raise MalformedDocumentError(reason, document.offset_of(entry, document.find(_SHARDS))) from error
    if isinstance(value, str):
        url, updated = value, None
    else:
        addresses = (value.url, value.id, value.content_url)
        url = next((address for address in addresses if isinstance(address, str)), "")
        updated = _text(value.last_updated)
    url = clean(url).strip()
    if not url or len(url) > MAX_URL:
        reason = f"shard entry {number} has {'too long a' if url else 'no'} URL"
        raise MalformedDocumentError(reason, document.offset_of(entry, document.find(_SHARDS)))
    return ShardRef(url, updated), isinstance(value, str)


def _total(index: _Index, shards: list[ShardRef], issues: list[Issue]) -> int | None:
    """`totalShards` against what is listed, each shard counted once."""
    total = index.total_shards
    if total is None:
        return None
    if not isinstance(total, int) or isinstance(total, bool):
        total = int(total) if isinstance(total, str) and total.isdecimal() and len(total) < 10 else None
    if total != len(shards):
        found = f"`totalShards` is {_text(index.total_shards) or '?'}, and {len(shards)} are listed."
        issues.append(Issue("total-shards-mismatch", found, "totalShards", _text(index.total_shards)))
    return total


def _text(value: object) -> str | None:
    """A string, or a number's text; cleaned and cut."""
    if isinstance(value, msgspec.Raw):
        value = bytes(value).decode("ascii", "replace")
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    return clean(str(value)[:MAX_TEXT]).strip() or None

"""A publication as it is read: its index, the versions of its shards, and what of them need not be read again."""

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Self

from psycopg.types.json import Jsonb

from app.cmp.feed import FeedIndex, MalformedDocumentError, ShardRef, parse_index
from app.cmp.issues import Issue
from app.cmp.limits import DEFAULT_LIMITS, DocumentLimits
from app.cmp.recipe import RECIPE
from app.core.config import Settings
from app.db.publication import Publication, PublishedShard, Seen, SeenDocument
from app.db.staging import IssueRow, StagingTables
from app.ingestors.base import ForbiddenAddressError, ForbiddenPathError, SourceError, UnreachableError
from app.ingestors.sources.base import BaseSource, Document, Validators
from app.net.urls import shown
from app.services.feeds import FeedState, KnownShard
from app.services.organizations import Publisher

_CODES = {
    UnreachableError: "shard-missing", ForbiddenPathError: "path-outside", ForbiddenAddressError: "address-forbidden",
}  # fmt: skip


def document_limits(settings: Settings) -> DocumentLimits:
    """What the settings say of how much is taken of a document."""
    return DocumentLimits(
        shards=settings.max_shards_per_feed,
        items=settings.max_items_per_shard,
        item_bytes=settings.max_item_bytes,
        nesting=settings.max_nesting,
    )


@dataclass(frozen=True)
class FeedRequest:
    """What to ingest, for whom, and what is allowed. `options_hash` covers the options that decide what is read;
    `released` is the fingerprint of the one publication whose deletions are accepted."""

    ingestor: str
    source_type: str
    path: str
    publisher: Publisher
    options_hash: bytes = b""
    full: bool = False
    accept_deletions: bool = False
    released: bytes | None = None
    max_delete_fraction: float = 0.2
    limits: DocumentLimits = DEFAULT_LIMITS

    @property
    def context_hash(self) -> bytes:
        """Covers all that decides how an item is read, besides its bytes."""
        return hashlib.sha256(b"%d\0%b\0%b" % (RECIPE, self.publisher.entry_hash, self.options_hash)).digest()


class Fetched(NamedTuple):
    """Which version of a document was fetched."""

    sha256: bytes
    path: str
    validators: Validators

    @classmethod
    def of(cls, document: Document) -> Self:
        return cls(document.sha256, document.path, document.validators)

    @classmethod
    def as_seen(cls, path: str, document: SeenDocument) -> Self:
        return cls(document.sha256, path, document.validators)


@dataclass
class Reading:
    """How far a publication is read: its index and the shards that were fetched, by ordinal, and those that were read.
    `listed` is what the index says. `problems` are shards, or the index, that could not be read; `transient` while
    nothing but fetching failed, `retry_after` how many seconds their servers asked to be waited."""

    request: FeedRequest
    state: FeedState
    refs: list[ShardRef] = field(default_factory=list)
    index: Fetched | None = None
    listed: FeedIndex | None = None
    fetched: dict[int, Fetched] = field(default_factory=dict)
    shards: dict[int, PublishedShard] = field(default_factory=dict)
    issues: list[Issue] = field(default_factory=list)
    problems: list[Issue] = field(default_factory=list)
    transient: bool = True
    retry_after: float | None = None

    @property
    def reusable(self) -> bool:
        """Whether what was read last time would be read the same way now."""
        return not self.request.full and self.state.context_hash == self.request.context_hash

    def known(self, ref: ShardRef) -> KnownShard | None:
        """What of a shard need not be read again."""
        return self.state.shards.get(ref.url) if self.reusable else None

    def seen_before(self, path: str) -> SeenDocument | None:
        """What is known of a document's version, and which bytes it has."""
        return self.state.seen.documents.get(path) if self.reusable and self.state.seen else None

    @property
    def fingerprint(self) -> bytes:
        """Of how the publication is read, its shards and their bytes, in order, and what is wrong with its index."""
        digest = hashlib.sha256(self.request.context_hash)
        for ordinal, ref in enumerate(self.refs):
            fetched = self.fetched.get(ordinal)
            digest.update(b"%b\0%b\0" % (ref.url.encode(), fetched.sha256 if fetched else b"unread"))
        of_index = [problem for problem in self.problems if problem.shard is None]
        for issue in (*self.issues, *of_index):
            digest.update(f"{issue.message}\0{issue.value}\0".encode())
        return digest.digest()

    def publication(self, staging: StagingTables) -> Publication:
        """What is read so far, for the merge."""
        request, state, fingerprint = self.request, self.state, self.fingerprint
        # Deletions are accepted for what the operator has seen: the held publication, not one that came after it.
        seen = state.verdict != "held" or state.attempted_fingerprint == fingerprint
        return Publication(
            organization_id=request.publisher.id,
            feed_id=state.id,
            revision=state.revision,
            context_hash=request.context_hash,
            fingerprint=fingerprint,
            shards=[self.shards[ordinal] for ordinal in sorted(self.shards)],
            staging=staging,
            issues=[_row(issue) for issue in (*self.issues, *self.problems)],
            seen=self.seen,
            full=request.full,
            deletions_accepted=(request.accept_deletions and seen) or request.released == fingerprint,
            max_delete_fraction=request.max_delete_fraction,
        )

    @property
    def index_unreachable(self) -> bool:
        """Whether nothing is known of the publication, and may be another time."""
        return self.transient and any(problem.shard is None for problem in self.problems)

    @property
    def seen(self) -> Seen | None:
        """What tells that nothing changed without fetching it again. Of a publication that could not be read whole the
        rest is as it was known before: the next attempt fetches what it has to, and no more."""
        documents = [*([self.index] if self.index else []), *self.fetched.values()]
        told = {each.path: SeenDocument(each.sha256, each.validators) for each in documents if each.validators}
        listed = self.listed if self.index and self.index.validators else None
        if self.problems and self.state.seen:
            told = self._kept(self.state.seen) | told
            if self.index is None and self._is_own_as_before(told):
                listed = self.state.seen.index
        is_whole = len(self.fetched) == len(self.refs) and all(document.validators for document in documents)
        return Seen(told, self.fingerprint if is_whole else None, listed) if told else None

    def _is_own_as_before(self, told: Mapping[str, SeenDocument]) -> bool:
        """Whether what is known of the feed's own document is what was known before: then so is what it lists."""
        assert self.state.seen is not None  # noqa: S101 - asked for only then
        return told.get(self.request.path) == self.state.seen.documents.get(self.request.path)

    def _kept(self, seen: Seen) -> dict[str, SeenDocument]:
        """What stays known besides what was fetched now: shards as they are in the catalogue, and the feed's own
        document if it could not be had."""
        merged = {shard.bytes_hash for shard in self.state.shards.values()}
        kept = {path: each for path, each in seen.documents.items() if each.sha256 in merged}
        kept.pop(self.request.path, None)
        if self.index is None and (own := seen.documents.get(self.request.path)):
            kept[self.request.path] = own
        return kept if len(kept) <= 2 * len(merged) + 1 else {}

    def fail(self, issue: Issue, *, transient: bool, retry_after: float | None = None) -> None:
        self.problems.append(issue)
        self.transient = self.transient and transient
        self.retry_after = max(self.retry_after or 0, retry_after or 0) or None


class PublicationReader:
    """Fetches a publication's documents."""

    def __init__(self, source: BaseSource) -> None:
        self._source = source

    def look(self, request: FeedRequest, state: FeedState) -> Reading:
        """Fetches what changed of the publication without reading it: enough for its fingerprint."""
        reading = Reading(request, state)
        document = self.list(reading)
        for ordinal, ref in enumerate(reading.refs):
            try:
                found = document or self.open_unless(reading, ordinal)
                if isinstance(found, Fetched):
                    reading.fetched[ordinal] = found
                    continue
                with found:
                    reading.fetched[ordinal] = Fetched.of(found)
            except SourceError as error:
                reading.fail(unfetched(ref, error), transient=error.transient)
        return reading

    def list(self, reading: Reading) -> Document | None:
        """Reads the index; returns the document when the feed is a single shard that is not as it was seen before."""
        path, before = reading.request.path, reading.seen_before(reading.request.path)
        try:
            document = self._source.open_if_changed(path, before.validators) if before else self._source.open(path)
        except SourceError as error:
            retry_after = error.retry_after if isinstance(error, UnreachableError) else None
            reading.fail(Issue("index-unreadable", str(error)), transient=error.transient, retry_after=retry_after)
            return None
        if document is None:
            assert before is not None  # noqa: S101 - nothing else is a version to compare with
            _list_as_seen(reading, Fetched.as_seen(path, before))
            return None
        try:
            index = parse_index(document.content(), reading.request.limits)
        except (SourceError, MalformedDocumentError) as error:
            document.close()
            reading.fail(Issue("index-unreadable", f"{shown(path)}: {error}"), transient=False)
            return None
        if index is None:
            _list_single(reading)
            return document
        _list_index(reading, Fetched.of(document), index)
        document.close()
        return None

    def open(self, reading: Reading, ordinal: int) -> Document:
        """Fetches a shard. Raises `SourceError`, also when the index may not name it."""
        return self._source.open(self._path_of(reading, ordinal))

    def open_unless(
        self, reading: Reading, ordinal: int, hashes: Collection[bytes] | None = None
    ) -> Document | Fetched:
        """Fetches a shard, unless it is the version that was seen before and its bytes have one of the `hashes`, or any
        when there are none given. Raises `SourceError`, as `open` does."""
        path = self._path_of(reading, ordinal)
        before = reading.seen_before(path)
        if before is None or (hashes is not None and before.sha256 not in hashes):
            return self._source.open(path)
        fetched = Fetched.as_seen(path, before)
        if reading.fetched.get(ordinal) == fetched:  # a feed of one shard: its version was asked for already
            return fetched
        return self._source.open_if_changed(path, before.validators) or fetched

    def _path_of(self, reading: Reading, ordinal: int) -> str:
        path, ref = reading.request.path, reading.refs[ordinal]
        if ref.url == _name(path) and len(reading.refs) == 1:
            return path
        return self._source.resolve(path, ref.url)


def _list_as_seen(reading: Reading, fetched: Fetched) -> None:
    """The feed's own document is as it was: its index, or the one shard it consists of."""
    seen = reading.state.seen
    if seen is None or seen.index is None:
        _list_single(reading)
        reading.fetched[0] = fetched
    else:
        _list_index(reading, fetched, seen.index)


def _list_single(reading: Reading) -> None:
    reading.refs = [ShardRef(_name(reading.request.path))]
    reading.issues = [Issue("feed-is-shard", "The feed is a list of items without an index.")]


def _list_index(reading: Reading, fetched: Fetched, index: FeedIndex) -> None:
    reading.index, reading.listed = fetched, index
    _check_owner(reading, index)
    reading.refs, reading.issues = index.shards, index.issues


def _check_owner(reading: Reading, index: FeedIndex) -> None:
    own = reading.request.publisher.urn
    if index.organization_urn not in (None, own):
        found = f"The feed is that of {index.organization_urn}, and was listed as that of {own}."
        reading.fail(Issue("foreign-feed", found, "orgid", index.organization_urn), transient=False)


def unfetched(ref: ShardRef, error: SourceError) -> Issue:
    """What is told of a shard that could not be fetched."""
    code = next((code for kind, code in _CODES.items() if isinstance(error, kind)), "shard-unreadable")
    named = shown(ref.url)
    return Issue(code, str(error) if str(error).startswith(named) else f"{named}: {error}", shard=ref.url)


def _name(path: str) -> str:
    """The last part of a path; of a URL without its query, in which there may be secrets."""
    if "://" in path:
        path = path.partition("#")[0].partition("?")[0]
    return path.rstrip("/").rpartition("/")[2]


def _row(issue: Issue) -> IssueRow:
    return (
        issue.shard, issue.severity, issue.code, issue.position, issue.path, issue.message, issue.value, 1, Jsonb([]),
    )  # fmt: skip

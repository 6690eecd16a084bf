"""A publication as it is read: its index, the versions of its shards, and what of them need not be read again."""

import hashlib
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

from psycopg.types.json import Jsonb

from app.cmp.feed import FeedIndex, MalformedDocumentError, ShardRef, parse_index
from app.cmp.issues import Issue
from app.cmp.recipe import RECIPE
from app.db.publication import Publication, PublishedShard
from app.db.staging import IssueRow, StagingTables
from app.ingestors.base import ForbiddenPathError, SourceError, UnreachableError
from app.ingestors.sources.base import BaseSource, Document
from app.services.feeds import FeedState, KnownShard
from app.services.organizations import Publisher

_CODES = {UnreachableError: "shard-missing", ForbiddenPathError: "path-outside"}


@dataclass(frozen=True)
class FeedRequest:
    """What to ingest, for whom, and what is allowed. `options_hash` covers the options that decide what is read."""

    ingestor: str
    source_type: str
    path: str
    publisher: Publisher
    options_hash: bytes = b""
    full: bool = False
    accept_deletions: bool = False
    max_delete_fraction: float = 0.2

    @property
    def context_hash(self) -> bytes:
        """Covers all that decides how an item is read, besides its bytes."""
        return hashlib.sha256(b"%d\0%b\0%b" % (RECIPE, self.publisher.entry_hash, self.options_hash)).digest()


class Fetched(NamedTuple):
    """Which version of a document was fetched."""

    sha256: bytes
    path: str
    validators: dict[str, str | int]

    @classmethod
    def of(cls, document: Document) -> Self:
        return cls(document.sha256, document.path, document.validators)


@dataclass
class Reading:
    """How far a publication is read: its index and the shards that were fetched, by ordinal, and those that were read.
    `problems` are shards, or the index, that could not be; `transient` while nothing but fetching failed."""

    request: FeedRequest
    state: FeedState
    refs: list[ShardRef] = field(default_factory=list)
    index: Fetched | None = None
    fetched: dict[int, Fetched] = field(default_factory=dict)
    shards: dict[int, PublishedShard] = field(default_factory=dict)
    issues: list[Issue] = field(default_factory=list)
    problems: list[Issue] = field(default_factory=list)
    transient: bool = True

    @property
    def reusable(self) -> bool:
        """Whether what was read last time would be read the same way now."""
        return not self.request.full and self.state.context_hash == self.request.context_hash

    def known(self, ref: ShardRef) -> KnownShard | None:
        """What of a shard need not be read again."""
        return self.state.shards.get(ref.url) if self.reusable else None

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
            deletions_accepted=request.accept_deletions and seen,
            max_delete_fraction=request.max_delete_fraction,
        )

    @property
    def index_unreachable(self) -> bool:
        """Whether nothing is known of the publication, and may be another time."""
        return self.transient and any(problem.shard is None for problem in self.problems)

    @property
    def seen(self) -> dict[str, Any] | None:
        """What tells that nothing changed without fetching it again: the versions of all documents, by path, and what
        they amount to. None when the source does not say the version of each."""
        documents = [*self.fetched.values(), *([self.index] if self.index else [])]
        if len(self.fetched) < len(self.refs) or not all(document.validators for document in documents):
            return None
        versions = {document.path: document.validators for document in documents}
        return {"versions": versions, "fingerprint": self.fingerprint.hex()} if versions else None

    def fail(self, issue: Issue, *, transient: bool) -> None:
        self.problems.append(issue)
        self.transient = self.transient and transient


class PublicationReader:
    """Fetches a publication's documents."""

    def __init__(self, source: BaseSource) -> None:
        self._source = source

    def look(self, request: FeedRequest, state: FeedState) -> Reading:
        """Fetches the publication without reading it: enough for its fingerprint."""
        reading = Reading(request, state)
        document = self.list(reading)
        for ordinal, ref in enumerate(reading.refs):
            try:
                with document or self.open(reading, ordinal) as fetched:
                    reading.fetched[ordinal] = Fetched.of(fetched)
            except SourceError as error:
                reading.fail(unfetched(ref, error), transient=error.transient)
        return reading

    def list(self, reading: Reading) -> Document | None:
        """Reads the index; returns the document when the feed is a single shard."""
        path = reading.request.path
        try:
            document = self._source.open(path)
        except SourceError as error:
            reading.fail(Issue("index-unreadable", str(error)), transient=error.transient)
            return None
        try:
            index = parse_index(document.content())
        except (SourceError, MalformedDocumentError) as error:
            document.close()
            reading.fail(Issue("index-unreadable", f"{_name(path)}: {error}"), transient=False)
            return None
        if index is None:
            reading.refs = [ShardRef(_name(path))]
            reading.issues = [Issue("feed-is-shard", "The feed is a list of items without an index.")]
            return document
        reading.index = Fetched.of(document)
        document.close()
        _check_owner(reading, index)
        reading.refs, reading.issues = index.shards, index.issues
        return None

    def open(self, reading: Reading, ordinal: int) -> Document:
        """Fetches a shard. Raises `SourceError`, also when the index may not name it."""
        path, ref = reading.request.path, reading.refs[ordinal]
        if ref.url == _name(path) and len(reading.refs) == 1:
            return self._source.open(path)
        return self._source.open(self._source.resolve(path, ref.url))


def _check_owner(reading: Reading, index: FeedIndex) -> None:
    own = reading.request.publisher.urn
    if index.organization_urn not in (None, own):
        found = f"The feed is that of {index.organization_urn}, and was listed as that of {own}."
        reading.fail(Issue("foreign-feed", found, "orgid", index.organization_urn), transient=False)


def unfetched(ref: ShardRef, error: SourceError) -> Issue:
    """What is told of a shard that could not be fetched."""
    return Issue(_CODES.get(type(error), "shard-unreadable"), f"{ref.url}: {error}", shard=ref.url)


def _name(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2]


def _row(issue: Issue) -> IssueRow:
    return (
        issue.shard, issue.severity, issue.code, issue.position, issue.path, issue.message, issue.value, 1, Jsonb([]),
    )  # fmt: skip

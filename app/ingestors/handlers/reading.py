"""Reading a publication: its index, then every shard, staging those that changed."""

import hashlib
import threading
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from psycopg.types.json import Jsonb

from app.cmp.feed import FeedIndex, MalformedDocumentError, ShardRef, parse_index, read_shard
from app.cmp.issues import Issue
from app.cmp.recipe import RECIPE
from app.db.publication import Publication, PublishedShard
from app.db.session import Database
from app.db.staging import IssueRow, StagingTables
from app.ingestors.base import ForbiddenPathError, SourceError, UnreachableError, ValidationError
from app.ingestors.handlers.shards import ShardStager
from app.ingestors.progress import Progress
from app.ingestors.sources.base import BaseSource, Document
from app.services.feeds import FeedState, KnownShard
from app.services.organizations import Publisher

WORKERS = 2
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


@dataclass
class Reading:
    """How far a publication is read: `hashes` of the shards that were fetched, by ordinal, and those that were read.
    `problems` are shards, or the index, that could not be; `transient` while nothing but fetching failed."""

    request: FeedRequest
    state: FeedState
    refs: list[ShardRef] = field(default_factory=list)
    hashes: dict[int, bytes] = field(default_factory=dict)
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
            digest.update(b"%b\0%b\0" % (ref.url.encode(), self.hashes.get(ordinal, b"unread")))
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
            full=request.full,
            deletions_accepted=request.accept_deletions and seen,
            max_delete_fraction=request.max_delete_fraction,
        )

    def fail(self, issue: Issue, *, transient: bool) -> None:
        self.problems.append(issue)
        self.transient = self.transient and transient


@dataclass(frozen=True)
class _Unreadable:
    """A shard that could not be read."""

    issue: Issue
    transient: bool


class PublicationReader:
    """Reads for one run, into its staging tables."""

    def __init__(self, database: Database, source: BaseSource, tables: StagingTables, progress: Progress) -> None:
        self._database = database
        self._source = source
        self._tables = tables
        self._progress = progress
        self._staging = threading.Lock()
        self._created = False

    def create_staging(self) -> None:
        """Makes the staging tables, once; of several threads, the one that stages calls it."""
        if not self._created:
            with self._database.transaction() as connection:
                self._tables.create(connection)
            self._created = True

    def look(self, request: FeedRequest, state: FeedState) -> Reading:
        """Fetches the publication without reading it: enough for its fingerprint."""
        reading = Reading(request, state)
        document = self._list(reading)
        for ordinal, ref in enumerate(reading.refs):
            try:
                with document or self._open(reading, ref) as fetched:
                    reading.hashes[ordinal] = fetched.sha256
            except SourceError as error:
                reading.fail(_unfetched(ref, error), transient=error.transient)
        return reading

    def read(self, request: FeedRequest, state: FeedState) -> Reading:
        """Reads everything that can be read; what cannot is a problem of the reading."""
        reading = Reading(request, state)
        if self._created:
            with self._database.transaction() as connection:
                self._tables.clear(connection)
        document = self._list(reading)
        if not reading.problems:
            self._read_shards(reading, document)
        return reading

    def read_again(self, reading: Reading, positions: Mapping[int, Collection[int]]) -> None:
        """Stages the shards of these ordinals, whether they changed or not, with the items at these positions.
        Raises `SourceError` or `ValidationError` when one cannot be read any more."""
        for ordinal, forced in positions.items():
            ref = reading.refs[ordinal]
            with self._database.transaction() as connection:
                self._tables.forget(connection, ordinal, ref.url)
            with self._open(reading, ref) as document:
                reading.hashes[ordinal] = document.sha256
                try:
                    reading.shards[ordinal] = self._stage(reading, ordinal, document, forced)
                except MalformedDocumentError as error:
                    raise ValidationError(
                        f"{ref.url} changed while it was read: {error}", remedy="The next run reads it anew."
                    ) from error

    def _list(self, reading: Reading) -> Document | None:
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
        document.close()
        _check_owner(reading, index)
        reading.refs, reading.issues = index.shards, index.issues
        return None

    def _read_shards(self, reading: Reading, whole: Document | None) -> None:
        """Fetches and hashes shards two at a time, and stages what changed of them one by one: parsing is Python's own
        work, and two threads of it get in each other's way."""
        total = len(reading.refs)
        workers = WORKERS if self._database.concurrent else 1
        with ThreadPoolExecutor(workers, thread_name_prefix="shard") as pool:
            verdicts = pool.map(lambda ordinal: self._read_shard(reading, ordinal, whole), range(total))
            for done, verdict in enumerate(verdicts, 1):
                if isinstance(verdict, PublishedShard):
                    reading.shards[verdict.ordinal] = verdict
                else:
                    reading.fail(verdict.issue, transient=verdict.transient)
                self._progress.staging(done, total)

    def _read_shard(self, reading: Reading, ordinal: int, whole: Document | None) -> "PublishedShard | _Unreadable":
        """Fetches a shard and stages it, unless its bytes are those of the last merge."""
        ref = reading.refs[ordinal]
        try:
            with whole or self._open(reading, ref) as document:
                reading.hashes[ordinal] = document.sha256
                known = reading.known(ref)
                if known is not None and known.bytes_hash == document.sha256:
                    return PublishedShard(ordinal, ref.url, known.bytes_hash, staged=False, counts=known.counts)
                return self._stage(reading, ordinal, document, frozenset())
        except SourceError as error:
            return _Unreadable(_unfetched(ref, error), error.transient)
        except MalformedDocumentError as error:
            return _Unreadable(Issue("shard-unreadable", f"{ref.url}: {error}", shard=ref.url), transient=False)

    def _stage(self, reading: Reading, ordinal: int, document: Document, forced: Collection[int]) -> PublishedShard:
        ref, known = reading.refs[ordinal], reading.known(reading.refs[ordinal])
        stager = ShardStager(ordinal, ref.url, reading.request.publisher.context, known.id if known else None, forced)
        with self._staging:
            self.create_staging()
            shard = read_shard(document.content())
            with self._database.transaction(durable=False) as connection:
                counts = stager.stage(connection, self._tables, shard, document.sha256)
        return PublishedShard(ordinal, ref.url, document.sha256, staged=True, counts=counts)

    def _open(self, reading: Reading, ref: ShardRef) -> Document:
        """Fetches a shard. Raises `SourceError`, also when the index may not name it."""
        path = reading.request.path
        if ref.url == _name(path) and len(reading.refs) == 1:
            return self._source.open(path)
        return self._source.open(self._source.resolve(path, ref.url))


def _check_owner(reading: Reading, index: FeedIndex) -> None:
    own = reading.request.publisher.urn
    if index.organization_urn not in (None, own):
        found = f"The feed is that of {index.organization_urn}, and was listed as that of {own}."
        reading.fail(Issue("foreign-feed", found, "orgid", index.organization_urn), transient=False)


def _unfetched(ref: ShardRef, error: SourceError) -> Issue:
    return Issue(_CODES.get(type(error), "shard-unreadable"), f"{ref.url}: {error}", shard=ref.url)


def _name(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2]


def _row(issue: Issue) -> IssueRow:
    return (
        issue.shard, issue.severity, issue.code, issue.position, issue.path, issue.message, issue.value, 1, Jsonb([]),
    )  # fmt: skip

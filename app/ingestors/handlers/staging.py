"""A publication into staging: what changed of it, shard by shard, by this process and by whoever helps."""

import hashlib
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from dataclasses import replace as changed
from functools import partial
from typing import Any
from uuid import UUID

import msgspec
import structlog
from sqlalchemy import Connection

from app.cmp.feed import MalformedDocumentError, read_shard
from app.cmp.issues import Issue
from app.core.logging import in_this_context
from app.db.publication import PublishedShard, ShardCounts
from app.db.session import Database
from app.db.staging import Marker, StagingTables
from app.ingestors.base import SourceError, UnreachableError, ValidationError
from app.ingestors.handlers.reading import FeedRequest, Fetched, PublicationReader, Reading, unfetched
from app.ingestors.handlers.shards import ShardStager
from app.ingestors.helpers import Helpers
from app.ingestors.progress import FeedProgress, NoProgress
from app.ingestors.sources.base import BaseSource, Document
from app.net.urls import shown
from app.services import pieces, runs
from app.services.feeds import FeedState
from app.services.pieces import Piece, PieceLostError
from app.services.run_progress import ShardState
from app.services.runs import Run

log = structlog.get_logger()

WORKERS = 2
# Sharing begins when so many shards had to be staged, and so many are left.
SHARED_AFTER, SHARED_FROM = 3, 4
_POLL = 0.05  # seconds between looks at what helpers are at


@dataclass(frozen=True)
class Unreadable:
    """A shard that could not be read."""

    issue: Issue
    transient: bool
    retry_after: float | None = None


Verdict = PublishedShard | Unreadable
_Check = Callable[[Connection, PublishedShard], None]
_Prepare = Callable[[Reading], None]


class ShardReader:
    """Reads single shards into a run's staging tables, which `prepare` makes; of several threads, one at a time parses.
    `markers` tell what is staged already."""

    def __init__(
        self, database: Database, source: BaseSource, tables: StagingTables, prepare: _Prepare, progress: FeedProgress
    ) -> None:
        self._database = database
        self._progress = progress
        self._documents = PublicationReader(source)
        self._tables = tables
        self._prepare = prepare
        self._parsing = threading.Lock()
        self.markers: Mapping[int, Marker] = {}

    def read(self, reading: Reading, ordinal: int, whole: Document | None, check: _Check) -> Verdict:
        """Fetches a shard and stages it, unless its bytes are those of the last merge or stand in staging already.
        `check` is the last thing done before staged rows are committed."""
        url = reading.refs[ordinal].url
        self._progress.reading(url)
        with structlog.contextvars.bound_contextvars(shard=url):
            verdict = self._read(reading, ordinal, whole, check)
            if isinstance(verdict, Unreadable):
                log.warning("shard not read", code=verdict.issue.code, transient=verdict.transient)
            else:
                log.debug("shard read", staged=verdict.staged, items=verdict.counts.items)
        return verdict

    def _read(self, reading: Reading, ordinal: int, whole: Document | None, check: _Check) -> Verdict:
        ref = reading.refs[ordinal]
        before = self._before(reading, ordinal)
        try:
            found = whole or self._documents.open_unless(reading, ordinal, before)
            if isinstance(found, Fetched):
                reading.fetched[ordinal] = found
                return before[found.sha256]
            with found as document:
                reading.fetched[ordinal] = Fetched.of(document)
                if document.sha256 in before:
                    return before[document.sha256]
                replace = ordinal in self.markers
                return self.stage(reading, ordinal, document, frozenset(), check, replace=replace)
        except SourceError as error:
            retry_after = error.retry_after if isinstance(error, UnreachableError) else None
            return Unreadable(unfetched(ref, error), error.transient, retry_after)
        except MalformedDocumentError as error:
            issue = Issue("shard-unreadable", f"{shown(ref.url)}: {error}", shard=ref.url)
            return Unreadable(issue, transient=False)

    def _before(self, reading: Reading, ordinal: int) -> dict[bytes, PublishedShard]:
        """What a shard is when its bytes have a hash that was read before: as it was merged last, or staged."""
        ref, before = reading.refs[ordinal], {}
        if marker := self.markers.get(ordinal):
            counts = ShardCounts(**marker.counts)
            before[marker.bytes_hash] = PublishedShard(ordinal, ref.url, marker.bytes_hash, staged=True, counts=counts)
        if known := reading.known(ref):
            before[known.bytes_hash] = PublishedShard(
                ordinal, ref.url, known.bytes_hash, staged=False, counts=known.counts
            )
        return before

    def stage(
        self, reading: Reading, ordinal: int, document: Document, forced: Collection[int], check: _Check, *,
        replace: bool = False,
    ) -> PublishedShard:  # fmt: skip
        """Stages what changed of a shard, and its items at `forced` positions; with `replace` in place of what is
        staged of it."""
        ref, known = reading.refs[ordinal], reading.known(reading.refs[ordinal])
        limits = reading.request.limits
        context = changed(reading.request.publisher.context, max_nesting=limits.nesting)
        stager = ShardStager(ordinal, ref.url, context, known.id if known else None, forced)
        with self._parsing:
            self._prepare(reading)
            shard = read_shard(document.content(), limits)
            with self._database.transaction(durable=False) as connection:
                if replace:
                    self._tables.forget(connection, ordinal, ref.url)
                note = partial(self._progress.reading, ref.url)
                counts = stager.stage(connection, self._tables, shard, document.sha256, note)
                staged = PublishedShard(ordinal, ref.url, document.sha256, staged=True, counts=counts)
                check(connection, staged)
        return staged


class PublicationStager:
    """Reads publications for one run."""

    def __init__(
        self, database: Database, source: BaseSource, run: Run, progress: FeedProgress, helpers: Helpers
    ) -> None:
        self._database = database
        self._documents = PublicationReader(source)
        self._run = run
        self._tables = StagingTables(run.id)
        self._shards = ShardReader(database, source, self._tables, self.create_staging, progress)
        self._progress = progress
        self._helpers = helpers
        self._creating = threading.Lock()
        self._created = False
        self._staged = 0  # shards of this reading

    def create_staging(self, reading: Reading) -> None:
        """Makes the staging tables, once, empty but for what an earlier attempt staged of the same publication."""
        with self._creating:
            if self._created:
                return
            staged_for = _staged_for(reading)
            with self._database.transaction() as connection:
                self._tables.create(connection)
                if self._run.staged_for != staged_for:
                    self._tables.clear(connection)
                    runs.mark_staged_for(connection, self._run, staged_for)
                self._run.fence(connection)
            self._created = True

    def read(self, request: FeedRequest, state: FeedState) -> Reading:
        """Reads everything that can be read; what cannot is a problem of the reading."""
        reading = Reading(request, state)
        document = self._documents.list(reading)
        self._progress.listed([ref.url for ref in reading.refs])
        self._created = False
        self._staged = 0
        self._shards.markers = {}
        if self._run.staged_for is not None:
            self._take_over(reading)
        if not reading.problems:
            self._read_shards(reading, document)
        return reading

    def read_again(self, reading: Reading, positions: Mapping[int, Collection[int]]) -> None:
        """Stages the shards of these ordinals, whether they changed or not, with the items at these positions.
        Raises `SourceError` or `ValidationError` when one cannot be read any more."""
        for ordinal, forced in positions.items():
            ref = reading.refs[ordinal]
            named = structlog.contextvars.bound_contextvars(shard=ref.url)
            with named, self._documents.open(reading, ordinal) as document:
                reading.fetched[ordinal] = Fetched.of(document)
                try:
                    reading.shards[ordinal] = self._shards.stage(
                        reading, ordinal, document, forced, self._fence, replace=True
                    )
                except MalformedDocumentError as error:
                    raise ValidationError(
                        f"{shown(ref.url)} changed while it was read: {error}", remedy="The next run reads it anew."
                    ) from error
                self._progress.read(ref.url, "read", reading.shards[ordinal].counts.items)

    def _take_over(self, reading: Reading) -> None:
        """Looks what is staged: of the same publication it is taken over, anything else goes."""
        self.create_staging(reading)
        with self._database.transaction() as connection:
            pieces.withdraw(connection, self._run.id)
            self._shards.markers = self._tables.markers(connection)
        if self._shards.markers:
            log.info("going on with staged shards", staged=len(self._shards.markers), of=len(reading.refs))

    def _read_shards(self, reading: Reading, whole: Document | None) -> None:
        """Fetches and hashes shards two at a time, and stages what changed of them one by one: parsing is Python's own
        work, and two threads of it get in each other's way. Once it shows that there is much to stage, the rest is laid
        out in pieces, for helpers to join in."""
        total = len(reading.refs)
        threads = WORKERS if self._database.concurrent else 1
        pool = ThreadPoolExecutor(threads, thread_name_prefix="shard")
        try:
            for verdict in self._ahead(pool, lambda each: self._read_alone(reading, each, whole), self._alone(reading)):
                self._note(reading, verdict, total)
            if self._left(reading):
                self._share(reading, pool)
            # What a crash of the database left without a verdict.
            for ordinal in self._left(reading):
                self._note(reading, self._read_alone(reading, ordinal, None), total)
        finally:
            pool.shutdown(cancel_futures=True)

    def _alone(self, reading: Reading) -> Iterator[int]:
        """The shards that are read without help."""
        total = len(reading.refs)
        for ordinal in range(total):
            if self._run.start.is_task and self._staged >= SHARED_AFTER and total - ordinal >= SHARED_FROM:
                return
            yield ordinal

    def _left(self, reading: Reading) -> list[int]:
        """The shards without a verdict."""
        unreadable = {problem.shard for problem in reading.problems}
        return [
            ordinal for ordinal, ref in enumerate(reading.refs)
            if ordinal not in reading.shards and ref.url not in unreadable
        ]  # fmt: skip

    def _ahead(
        self, pool: ThreadPoolExecutor, read: Callable[[int], Verdict], ordinals: Iterable[int]
    ) -> Iterator[Verdict]:
        """Verdicts in order, with a few in the making."""
        begun: deque[Future[Verdict]] = deque()
        for ordinal in ordinals:
            begun.append(pool.submit(in_this_context(read), ordinal))
            if len(begun) > WORKERS:
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()

    def _read_alone(self, reading: Reading, ordinal: int, whole: Document | None) -> Verdict:
        return self._shards.read(reading, ordinal, whole, self._fence)

    def _share(self, reading: Reading, pool: ThreadPoolExecutor) -> None:
        """Lays the rest out in pieces, works through them, and gathers what others did."""
        owner, total = self._run.id, len(reading.refs)
        left = self._left(reading)
        self.create_staging(reading)
        with self._database.transaction() as connection:
            pieces.offer(connection, owner, {ordinal: {} for ordinal in left})
            self._run.fence(connection)
        self._helpers.invite_to_stage(owner, reading.request, reading.state.revision, len(left))
        helping = [
            pool.submit(in_this_context(work_through), self._database, self._shards, owner, reading)
            for _ in range(WORKERS)
        ]
        for future in helping:
            future.result()
        while not self._gather(reading, left, total):
            time.sleep(_POLL)
            work_through(self._database, self._shards, owner, reading)

    def _gather(self, reading: Reading, left: Collection[int], total: int) -> bool:
        """Notes the verdicts that are there; True when there are none to come."""
        with self._database.transaction() as connection:
            results = pieces.results(connection, self._run.id)
        for ordinal in set(left) & set(self._left(reading)):
            if result := results.get(ordinal):
                self._note(reading, _decoded(reading, ordinal, result), total)
        return all(result is not None for result in results.values())

    def _note(self, reading: Reading, verdict: Verdict, total: int) -> None:
        if isinstance(verdict, PublishedShard):
            reading.shards[verdict.ordinal] = verdict
            self._staged += verdict.staged
            state: ShardState = "read" if verdict.staged else "unchanged"
            self._progress.read(verdict.url, state, verdict.counts.items)
        else:
            self._progress.read(str(verdict.issue.shard), "failed", 0)
            reading.fail(verdict.issue, transient=verdict.transient, retry_after=verdict.retry_after)
        self._progress.staging(len(reading.shards) + len(reading.problems), total)

    def _fence(self, connection: Connection, _shard: PublishedShard) -> None:
        self._run.fence(connection)


def help_with(database: Database, source: BaseSource, run_id: UUID, request: FeedRequest, state: FeedState) -> int:
    """Takes pieces of another process's run, which reads the same publication, until there are none left; returns how
    many."""
    tables = StagingTables(run_id)
    reading = Reading(request, state)
    whole = PublicationReader(source).list(reading)
    if whole is not None:
        whole.close()
    shards = ShardReader(database, source, tables, lambda _: None, NoProgress())
    with database.transaction() as connection:
        if runs.staged_for(connection, run_id) != _staged_for(reading):
            log.info("the run to help with is over, or reads another publication", run=str(run_id))
            return 0
        shards.markers = tables.markers(connection)
    done = work_through(database, shards, run_id, reading)
    log.info("helped with shards", run=str(run_id), read=done)
    return done


def work_through(database: Database, shards: ShardReader, owner: UUID, reading: Reading) -> int:
    """Reads the shards that are free until there are none, and writes down what became of each; returns how many."""
    done = 0
    while True:
        with pieces.taken(database, owner) as piece:
            if piece is None:
                return done
            try:
                _work_on(database, shards, reading, piece)
                done += 1
            except PieceLostError as error:
                log.info("a shard was taken over by another worker", ordinal=piece.ordinal, error=str(error))


def _work_on(database: Database, shards: ShardReader, reading: Reading, piece: Piece) -> None:
    staged: list[Verdict] = []  # and written down as done with the same commit

    def finish(connection: Connection, verdict: Verdict) -> None:
        piece.finish(connection, _encoded(reading, piece.ordinal, verdict))
        staged.append(verdict)

    verdict = shards.read(reading, piece.ordinal, None, finish)
    if not staged:
        with database.transaction(durable=False) as connection:
            finish(connection, verdict)


def _staged_for(reading: Reading) -> bytes:
    """Of all that decides what is staged of a publication, besides the bytes of its shards."""
    request = reading.request
    digest = hashlib.sha256(b"%b\\0%d\\0%d\\0" % (request.context_hash, reading.state.revision, request.full))
    for url in (request.path, *(ref.url for ref in reading.refs)):
        digest.update(url.encode() + b"\\0")
    return digest.digest()[:16]


def _encoded(reading: Reading, ordinal: int, verdict: Verdict) -> dict[str, Any]:
    """A verdict as a piece's result."""
    fetched = reading.fetched.get(ordinal)
    result: dict[str, Any] = {"fetched": None if fetched is None else [fetched.sha256.hex(), *fetched[1:]]}
    if isinstance(verdict, PublishedShard):
        return result | {"staged": verdict.staged, "counts": asdict(verdict.counts)}
    problem = {"problem": msgspec.to_builtins(verdict.issue), "transient": verdict.transient}
    return result | problem | {"retry_after": verdict.retry_after}


def _decoded(reading: Reading, ordinal: int, result: dict[str, Any]) -> Verdict:
    """The verdict of a piece's result; notes which version was fetched."""
    if result["fetched"] is not None:
        sha256, path, validators = result["fetched"]
        reading.fetched[ordinal] = Fetched(bytes.fromhex(sha256), path, validators)
    if "problem" in result:
        issue = msgspec.convert(result["problem"], Issue)
        return Unreadable(issue, result["transient"], result["retry_after"])
    counts = ShardCounts(**result["counts"])
    url, sha256 = reading.refs[ordinal].url, reading.fetched[ordinal].sha256
    return PublishedShard(ordinal, url, sha256, staged=result["staged"], counts=counts)

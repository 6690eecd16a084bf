"""A feed into the catalogue: read what changed, then one merge."""

import time
from collections import defaultdict
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import structlog

from app.db.issues import record_attempt
from app.db.merge import merge
from app.db.publication import (
    CategoriesLostError,
    ContentNeededError,
    DeletionsHeldError,
    MergeReport,
    PublicationMovedError,
    StagingLostError,
)
from app.db.session import Database
from app.db.staging import StagingTables
from app.ingestors.base import IngestorError, UnstableError
from app.ingestors.handlers.reading import FeedRequest, Reading
from app.ingestors.handlers.staging import PublicationStager
from app.ingestors.helpers import Helpers
from app.ingestors.progress import FeedProgress
from app.ingestors.sources.base import BaseSource
from app.net.urls import shown
from app.services import categories, feeds
from app.services.runs import Run

log = structlog.get_logger()

_READINGS = 5  # of one feed, while others keep changing the catalogue under it


@dataclass
class ShardVerdicts:
    """How many shards were read, known to be as they were, or could not be read."""

    read: int = 0
    unchanged: int = 0
    failed: int = 0


@dataclass
class FeedReport:
    """What became of a feed; of one that is held, what would vanish."""

    shards: ShardVerdicts = field(default_factory=ShardVerdicts)
    merge: MergeReport = field(default_factory=MergeReport)
    vanishing: dict[str, Any] | None = None

    def as_dict(self) -> dict[str, Any]:
        vanishing = {"vanishing": self.vanishing} if self.vanishing else {}
        return {"shards": asdict(self.shards), **asdict(self.merge), **vanishing}


class FeedFailedError(IngestorError):
    """A publication could not be read whole, so nothing of it was applied. `transient` when only fetching failed,
    `retry_after` when a server said in how many seconds it may go well."""

    def __init__(self, message: str, report: FeedReport, *, transient: bool, retry_after: float | None = None) -> None:
        super().__init__(message, remedy="The catalogue stays as it was; see `discovery-node issues`.")
        self.report = report
        self.transient = transient
        self.retry_after = retry_after


class FeedHeldError(IngestorError):
    """A publication would delete too much, so nothing of it was applied."""

    def __init__(self, cause: DeletionsHeldError, report: FeedReport) -> None:
        super().__init__(str(cause), remedy=cause.remedy)
        self.report = report


class FeedHandler:
    """Brings one organization's feed into the catalogue, on behalf of one run; `timings` are the seconds it took."""

    def __init__(
        self, database: Database, source: BaseSource, run: Run, progress: FeedProgress, helpers: Helpers
    ) -> None:
        self._database = database
        self._run = run
        self._tables = StagingTables(run.id)
        self._stager = PublicationStager(database, source, run, progress, helpers)
        self.timings: dict[str, float] = {}

    def ingest(self, request: FeedRequest) -> FeedReport:
        """Reads the feed and merges what changed. Raises `FeedFailedError`, `FeedHeldError` or `UnstableError`."""
        for _ in range(_READINGS):
            with self._database.transaction() as connection:
                state = feeds.open_feed(
                    connection, request.publisher.id, request.ingestor, request.source_type, request.path
                )
                self._run.fence(connection)
            with self._timed("staging"):
                reading = self._stager.read(request, state)
            try:
                with self._timed("merge"):
                    return self._apply(reading)
            except PublicationMovedError:
                log.info("the catalogue changed while the feed was read; reading again")
        raise UnstableError(f"{shown(request.path)}: the catalogue changed {_READINGS} times while the feed was read")

    @contextmanager
    def _timed(self, part: str) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
        finally:
            self.timings[part] = self.timings.get(part, 0.0) + time.monotonic() - began

    def _apply(self, reading: Reading) -> FeedReport:
        if reading.problems:
            self._record(reading, "failed")
            raise FeedFailedError(
                _summary(reading), FeedReport(_shards(reading)), transient=reading.transient,
                retry_after=reading.retry_after,
            )  # fmt: skip
        if reading.reusable and reading.fingerprint == reading.state.fingerprint:
            return self._keep(reading)
        return self._merge(reading)

    def _keep(self, reading: Reading) -> FeedReport:
        """The publication is the one in the catalogue."""
        state = reading.state
        if state.attempted_fingerprint != state.fingerprint:
            with self._database.transaction() as connection:
                feeds.mark_current(connection, state.id)
                self._run.fence(connection)
        if reading.seen != state.seen:
            with self._database.transaction() as connection:
                feeds.remember_seen(connection, state.id, reading.seen)
                self._run.fence(connection)
        report = MergeReport()
        report.complete(
            [shard.counts for shard in reading.shards.values()],
            products=state.live_products,
            product_groups=state.live_groups,
            offers=state.live_offers,
        )
        return FeedReport(_shards(reading), report)

    def _merge(self, reading: Reading) -> FeedReport:
        """Merges; what turns out to be missing is read or made, and the merge tried again."""
        needed: defaultdict[int, set[int]] = defaultdict(set)
        for _ in range(_READINGS):
            try:
                return FeedReport(_shards(reading), self._merge_once(reading))
            except ContentNeededError as error:
                for ordinal, positions in error.positions.items():
                    needed[ordinal] |= positions
                self._stager.read_again(reading, {ordinal: needed[ordinal] for ordinal in error.positions})
            except StagingLostError as error:
                log.warning("staged rows are gone; staging again", shards=len(error.shards))
                self._stager.read_again(reading, dict.fromkeys(error.shards, frozenset[int]()))
            except CategoriesLostError:
                log.info("categories were removed as empty meanwhile; merging again")
            except DeletionsHeldError as error:
                self._record(reading, "held")
                report = FeedReport(_shards(reading), vanishing=error.as_dict())
                raise FeedHeldError(error, report) from error
        raise UnstableError(f"{shown(reading.request.path)}: its shards changed {_READINGS} times while they were read")

    def _merge_once(self, reading: Reading) -> MergeReport:
        self._stager.create_staging(reading)
        with self._database.transaction() as connection:
            categories.ensure(connection, self._tables.category_paths(connection))
        with self._database.transaction() as connection:
            report = merge(connection, reading.publication(self._tables))
            self._run.fence(connection)
        return report

    def _record(self, reading: Reading, verdict: str) -> None:
        self._stager.create_staging(reading)
        with self._database.transaction() as connection:
            record_attempt(connection, reading.publication(self._tables), verdict=verdict)
            self._run.fence(connection)


def _shards(reading: Reading) -> ShardVerdicts:
    staged = sum(shard.staged for shard in reading.shards.values())
    return ShardVerdicts(
        read=staged, unchanged=len(reading.shards) - staged, failed=len(reading.refs) - len(reading.shards)
    )


def _summary(reading: Reading) -> str:
    """The problems in one message; beyond three they are counted."""
    told: Collection[str] = [problem.message for problem in reading.problems[:3]]
    more = len(reading.problems) - len(told)
    return "; ".join(told) + (f"; and {more} more" if more else "")

"""One start of one ingestor: its registry, then for each organization feed and vectors, each in a run of its own."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal, cast

import structlog

from app.cmp.feed import MalformedDocumentError, parse_index
from app.core.config import Settings
from app.db.session import Database, is_away, is_passing
from app.ingestors.base import IngestorError, ProcessingError, SourceError, ValidationError
from app.ingestors.bulkhead import bulkhead, words_of
from app.ingestors.config import IngestorEntry
from app.ingestors.handlers.feed import FeedFailedError, FeedHandler, FeedHeldError, FeedReport
from app.ingestors.handlers.reading import FeedRequest, document_limits
from app.ingestors.handlers.registry import RegistryHandler, RegistryReport
from app.ingestors.handlers.vector import VectorHandler
from app.ingestors.helpers import Helpers
from app.ingestors.progress import NoProgress, Progress
from app.ingestors.reports import RunReport
from app.ingestors.watch import RunWatch, watched
from app.services import feeds, issues, organizations, refusals, runs, unlisted
from app.services.organizations import ForeignOrganizationError, Registered
from app.services.runs import EndedRun, OrganizationBusyError, Run
from app.services.starts import LeaseLostError, Start, Status
from app.services.unlisted import RetirementRule, RetirementsHeldError, Verdict
from app.vectors.embedders import EmbeddingUnavailableError
from app.vectors.indexes.base import IndexUnavailableError

log = structlog.get_logger()

Step = Literal["registry", "feed", "vector"]
STEPS: tuple[Step, ...] = ("registry", "feed", "vector")
_STORED = ("steps", *STEPS, "issues", "timings")  # what the ledger keeps of a report


@dataclass(frozen=True)
class Options:
    """How an ingestion is done. `full` takes nothing over from the last one; `organizations`, by URN, leaves out all
    others; `released` is the fingerprint of a held publication, or of held retirements, that is let through."""

    steps: tuple[Step, ...] = STEPS
    organizations: frozenset[str] | None = None
    full: bool = False
    dry_run: bool = False
    accept_deletions: bool = False
    released: bytes | None = None


@dataclass
class _Target:
    """An organization to bring up to date, or to retire; `error` when that cannot even begin."""

    urn: str | None
    organization_id: int | None = None
    registry: dict[str, Any] = field(default_factory=dict)
    error: Exception | None = None
    has_feed: bool = True
    retires: bool = False


class Ingestion:
    """Runs the steps of one entry of `ingestion.yaml`."""

    def __init__(
        self, database: Database, settings: Settings, entry: IngestorEntry, options: Options, start: Start,
        progress: Progress, helpers: Helpers, vectors: VectorHandler | None,
    ) -> None:  # fmt: skip
        self._database = database
        self._settings = settings
        self._entry = entry
        self._options = options
        self._start = start
        self._progress = progress
        self._helpers = helpers
        self._vectors = vectors
        self._source = entry.source(settings)
        self._degraded: str | None = None
        self._unlisted: Verdict | None = None
        self._registry_seconds = 0.0

    def run(self) -> list[RunReport]:
        """Does what the options ask for; returns one report for each organization. What an earlier attempt of the start
        brought to an end is not done again; organizations that other starts hold are noted in the start."""
        with structlog.contextvars.bound_contextvars(ingestor=self._entry.name):
            targets = self._targets()
            with self._database.transaction() as connection:
                ended = runs.ended(connection, self._start)
            reports = []
            for target in targets:
                earlier = ended.get(target.organization_id) if target.organization_id is not None else None
                try:
                    reports.append(self._told(target, earlier) if earlier else self._run_target(target))
                except OrganizationBusyError as busy:
                    log.info("the organization is busy; coming back to it", organization=target.urn)
                    self._start.busy.add(busy.organization_id)
        return reports

    def _targets(self) -> list[_Target]:
        """The organizations of this ingestor, after its registry was read."""
        began = time.monotonic()
        targets: list[_Target] = []

        def broken(error: Exception) -> None:
            self._raise_if_over(error)
            targets.append(_Target(None, error=error))

        with bulkhead(broken):
            targets.extend(self._with_feeds(self._filtered(self._registered())))
        self._registry_seconds = time.monotonic() - began
        return targets + self._leaving()

    def _with_feeds(self, targets: list[_Target]) -> list[_Target]:
        """Those that are asked for, and which of them have the feed that is named."""
        if self._options.organizations is not None:
            targets = [target for target in targets if target.urn in (*self._options.organizations, None)]
        if "feed" in self._options.steps and self._entry.feed_path is not None:
            owner = self._owner_of_feed(self._entry.feed_path, targets)
            return [owner, *(replace(target, has_feed=False) for target in targets if target.urn != owner.urn)]
        if "feed" in self._options.steps and not targets and self._unlisted is None:
            raise self._unknown()
        return targets

    def _unknown(self) -> ProcessingError:
        """Why there is no feed to read."""
        if self._options.organizations is not None and self._stored():
            return ProcessingError(
                f"{', '.join(sorted(self._options.organizations))}: not in the registry of the ingestor "
                f"{self._entry.name!r}, or left out by its filter",
                remedy="Read the registry first, or change the filter.",
            )
        return ProcessingError(
            f"The registry of the ingestor {self._entry.name!r} was never read, so its feeds are not known",
            remedy="Ingest it without --only, or with --only registry first.",
        )

    def _leaving(self) -> list[_Target]:
        """The organizations to retire, since they left the registry; or why none is."""
        if self._unlisted is None:
            return []
        wanted, held = self._options.organizations, self._unlisted.held
        targets = [_Target(None, error=held)] if held else []
        targets += [_Target(each.urn, each.id, has_feed=False, retires=True) for each in self._unlisted.retiring]
        return [target for target in targets if wanted is None or target.urn in wanted]

    def _registered(self) -> list[_Target]:
        """Reads the registry, or takes the stored one when it is not asked for or cannot be reached."""
        path = self._entry.registry
        if path is not None and "registry" in self._options.steps:
            try:
                handler = RegistryHandler(self._database, self._source, self._retirement_rule)
                report = handler.ingest(self._start, path, full=self._options.full)
            except SourceError as error:
                stored = self._stored()
                if not stored:
                    raise type(error)(
                        f"ingestor {self._entry.name!r}, field registry: {error}", remedy=error.remedy
                    ) from error
                self._degraded = f"The registry could not be read, so the stored one was used: {error}"
                log.warning("registry unreachable; going on with the stored one", error=str(error))
                return stored
            self._unlisted = report.unlisted
            return _from_registry(report)
        return self._stored()

    @property
    def _retirement_rule(self) -> RetirementRule:
        settings, is_accepted = self._settings, self._options.accept_deletions
        return RetirementRule(
            settings.unlisted_retention_days, settings.max_delete_fraction, is_accepted, self._options.released
        )

    def _filtered(self, targets: list[_Target]) -> list[_Target]:
        """Those of the targets that the entry's filter lets through."""
        wanted = self._entry.filter
        if wanted is None or not targets:
            return targets
        with self._database.transaction() as connection:
            urns = organizations.matching(
                connection, [target.urn for target in targets if target.urn], organizations=wanted.organization,
                categories=wanted.category, brands=wanted.brand,
            )  # fmt: skip
        kept = [target for target in targets if target.urn is None or target.urn in urns]
        if not kept:
            raise IngestorError(
                f"The filter of the ingestor {self._entry.name!r} lets no organization of its registry through",
                remedy="Correct it; `organization` and `brand` are URNs, `category` slugs of the registry.",
            )
        return kept

    def _stored(self) -> list[_Target]:
        has_feeds = "feed" in self._options.steps
        with self._database.transaction() as connection:
            owned = organizations.owned(connection, self._entry.name, stubs=not has_feeds, unlisted=not has_feeds)
        return [_Target(urn, identity) for identity, urn in owned]

    def _owner_of_feed(self, path: str, targets: list[_Target]) -> _Target:
        """The organization whose feed `feed_path` is: the registry's only one, else the one the index names."""
        if len(targets) == 1:
            return targets[0]
        try:
            urn = self._organization_named_by(path)
        except (SourceError, ValidationError) as unread:
            with self._database.transaction() as connection:
                known = feeds.read_at(connection, self._entry.source_type, path)
            return _Target(None, known and known.organization_id, error=None if known else unread)
        for target in targets:
            if target.urn == urn:
                return target
        if targets:
            missing = ValidationError(
                f"{path} is the feed of {urn}, which the registry does not list",
                remedy="List it there, or give the feed an ingestor of its own.",
            )
            return _Target(urn, error=missing)
        with self._database.transaction() as connection:
            try:
                return _Target(urn, organizations.ensure_stub(connection, self._entry.name, urn))
            except ForeignOrganizationError as error:
                return _Target(urn, error=error)

    def _organization_named_by(self, path: str) -> str:
        with self._source.open(path) as document:
            try:
                index = parse_index(document.content(), document_limits(self._settings))
            except MalformedDocumentError as error:
                raise ValidationError(f"{path}: {error}", remedy="Mend the index.") from error
        if index is None or index.organization_urn is None:
            raise ValidationError(
                f"{path} does not say whose feed it is", remedy="Name a registry for it, or add `orgid` to its index."
            )
        return index.organization_urn

    def _told(self, target: _Target, ended: EndedRun) -> RunReport:
        """The report of a run that is over."""
        told = self._new_report(str(ended.id), target) | ended.report
        return cast(RunReport, told | {"status": ended.status, "error": ended.error})

    def _new_report(self, run_id: str, target: _Target) -> RunReport:
        return {
            "id": run_id,
            "ingestor": self._entry.name,
            "organization": target.urn,
            "status": "degraded" if self._degraded else "success",
            "steps": {"registry": "degraded" if self._degraded else "success"} if self._reads_registry else {},
            "registry": target.registry,
            "feed": {},
            "vector": {},
            "issues": {"error": 0, "warning": 0},
            "timings": {"registry": self._registry_seconds},
            "error": self._degraded,
        }

    @property
    def _reads_registry(self) -> bool:
        return self._entry.registry is not None and "registry" in self._options.steps

    def _run_target(self, target: _Target) -> RunReport:
        with runs.claimed(self._database, self._start, target.organization_id) as run:
            report = self._new_report(str(run.id), target)
            if target.error is not None:
                self._fail(report, "registry" if self._reads_registry else "feed", target.error)
                if isinstance(target.error, RetirementsHeldError):
                    report["registry"] = {"vanishing": target.error.as_dict()}
                with self._database.transaction() as connection:
                    report["issues"] = issues.counts_of_ingestor(connection, self._entry.name)
            elif target.organization_id is not None:
                named = structlog.contextvars.bound_contextvars(organization=target.urn)
                with named, watched(self._database, run, self._progress) as watch:
                    self._run_steps(run, target, target.organization_id, report, watch)
            self._finish(run, report)
        return report

    def _run_steps(self, run: Run, target: _Target, organization_id: int, report: RunReport, watch: RunWatch) -> None:
        """Feed, then vectors; these also when the feed was not applied, so that what is live is found."""
        if target.retires:
            with self._step(report, "registry"):
                self._retire(run, organization_id, report)
        if "feed" in self._options.steps and target.has_feed:
            with self._step(report, "feed"):
                self._ingest_feed(run, organization_id, report, watch)
        if self._vectors is not None:
            with self._step(report, "vector"):
                vectors = self._vectors.run([organization_id], self._start, watch)
                report["vector"] = vectors.as_dict()
                if vectors.failed:
                    _degrade(report, "vector", _told_refused(vectors.failed))
        with self._step(report, None), self._database.transaction() as connection:
            report["issues"] = issues.counts(connection, organization_id)

    def _retire(self, run: Run, organization_id: int, report: RunReport) -> None:
        assert self._entry.registry is not None  # noqa: S101 - it was read
        with self._database.transaction() as connection:
            deleted = unlisted.retire(connection, organization_id, self._entry.registry)
            run.fence(connection)
        if deleted is not None:
            report["registry"] = {"organizations": {"retired": 1}}
            report["feed"] = FeedReport(merge=deleted).as_dict()
            log.info("organization retired: it left the registry", products=deleted.products.deleted)

    def _ingest_feed(self, run: Run, organization_id: int, report: RunReport, watch: RunWatch) -> None:
        with self._database.transaction() as connection:
            publisher = organizations.publisher(connection, organization_id)
        report["organization"] = publisher.urn
        if publisher.ingestor != self._entry.name:
            raise ForeignOrganizationError(publisher.urn, publisher.ingestor)
        if publisher.is_retired:
            raise ProcessingError(
                f"{publisher.urn} left its registry and was retired",
                remedy="Read a registry that lists it; its feed follows.",
            )
        request = FeedRequest(
            ingestor=self._entry.name,
            source_type=self._entry.source_type,
            path=self._entry.feed_path or self._feed_of(publisher.feed_url),
            publisher=publisher,
            options_hash=self._entry.options_hash(),
            full=self._options.full,
            accept_deletions=self._options.accept_deletions,
            released=self._options.released,
            max_delete_fraction=self._settings.max_delete_fraction,
            limits=document_limits(self._settings),
        )
        handler = FeedHandler(self._database, self._source, run, watch, self._helpers)
        try:
            report["feed"] = handler.ingest(request).as_dict()
        except (FeedFailedError, FeedHeldError) as error:
            report["feed"] = error.report.as_dict()
            raise
        finally:
            report["timings"] |= handler.timings

    def _feed_of(self, url: str | None) -> str:
        """Where the feed is that a registry entry names."""
        if url is None or self._entry.registry is None:
            raise ValidationError(
                "The registry entry names no feed", remedy="Add `cmp:productFeed` there, or `feed_path` here."
            )
        return self._source.resolve_feed(self._entry.registry, url)

    def _finish(self, run: Run, report: RunReport) -> None:
        run.report = {name: report[name] for name in _STORED}  # type: ignore[literal-required]

        def unwritten(error: Exception) -> None:
            # Without its database a run cannot say how it ended; the next one finds it lost, and ends it.
            self._fail(report, None, error)
            log.error("the end of the run could not be written down", run=report["id"], error=type(error).__name__)

        with bulkhead(unwritten):
            runs.finish(self._database, run, report["status"], report["error"])
        log.info(
            "run ended", run=report["id"], organization=report["organization"], status=report["status"],
            error=report["error"],
        )  # fmt: skip

    @contextmanager
    def _step(self, report: RunReport, step: Step | None) -> Iterator[None]:
        """Times a step; one that raises makes the run held, waiting or failed, and the next step goes on."""
        began = time.monotonic()
        if step is not None:
            report["steps"][step] = "success"
        try:
            with bulkhead(partial(self._fail, report, step)):
                yield
        finally:
            if step is not None:
                report["timings"][step] = time.monotonic() - began

    def _raise_if_over(self, error: Exception) -> None:
        """A task whose lease or database is gone stops at once: it can write nothing down, and is done again. So does
        one that was interrupted."""
        if (interruption := self._start.interruption(error)) is not None:
            raise interruption
        if self._start.is_task and (isinstance(error, LeaseLostError) or is_away(error)):
            raise error

    def _fail(self, report: RunReport, step: Step | None, error: Exception) -> None:
        """Writes into the report what a step ended with, unless that ends the whole start."""
        self._raise_if_over(error)
        status: Status = "failed"
        if isinstance(error, FeedHeldError | RetirementsHeldError):
            status = "held"
        elif self._start.may_retry and _is_transient(error):
            status = "waiting"
            self._start.retry_after = max(self._start.retry_after, getattr(error, "retry_after", None) or 0.0)
        report["status"] = runs.worst([report["status"], status])
        if step is not None:
            report["steps"][step] = status
        message, remedy = words_of(error)
        told = f"{message}. {remedy}".replace("..", ".") if remedy else message
        report["error"] = f"{report['error']} {told}" if report["error"] else told
        log.warning("step failed", step=step, error=message)

    def finish_vectors(self, reports: list[RunReport]) -> None:
        """Completes the search index after the last organization; what fails there is told in every report."""

        def broken(error: Exception) -> None:
            for report in reports:
                self._fail(report, "vector", error)

        if self._vectors is not None:
            with bulkhead(broken):
                self._vectors.finish()


def _degrade(report: RunReport, step: Step, told: str) -> None:
    report["status"] = runs.worst([report["status"], "degraded"])
    report["steps"][step] = "degraded"
    report["error"] = f"{report['error']} {told}" if report["error"] else told


def _told_refused(number: int) -> str:
    return f"Texts of {number} products were refused: see `discovery-node issues --code {refusals.CODE}`."


def _is_transient(error: Exception) -> bool:
    """Whether the same may go well in a while: what cannot be reached, what keeps changing, an embedding service, an
    index or a database that is full or busy."""
    is_busy = isinstance(error, EmbeddingUnavailableError | IndexUnavailableError)
    return is_passing(error) or is_busy or (isinstance(error, IngestorError) and error.transient)


def _from_registry(report: RegistryReport) -> list[_Target]:
    """A target for each organization of a registry, by URN."""
    targets = []
    for urn, result in sorted(report.organizations.items()):
        if isinstance(result, Registered):
            targets.append(_Target(urn, result.id, _registry_stats(result)))
        else:
            targets.append(_Target(urn, error=result))
    if not targets:
        error = IngestorError("The registry lists no organization", remedy="See `discovery-node issues`.")
        targets.append(_Target(None, error=error))
    return targets


def _registry_stats(result: Registered) -> dict[str, Any]:
    verdicts = {"read": 1, "inserted": 0, "updated": 0, "unchanged": 0} | {result.verdict: 1}
    return {"organizations": verdicts, "brands": vars(result.brands)}


def ingest_vectors(database: Database, start: Start, vectors: VectorHandler) -> RunReport:
    """The vector step for all organizations, as one run."""
    with runs.claimed(database, start, None) as run:
        began = time.monotonic()
        with watched(database, run, NoProgress()) as watch:
            done = vectors.run(None, start, watch)
        vectors.finish()
        report: RunReport = {
            "id": str(run.id), "ingestor": start.ingestor, "organization": None, "status": "success",
            "steps": {"vector": "success"}, "registry": {}, "feed": {}, "vector": done.as_dict(),
            "issues": {"error": 0, "warning": 0}, "timings": {"vector": time.monotonic() - began}, "error": None,
        }  # fmt: skip
        if done.failed:
            _degrade(report, "vector", _told_refused(done.failed))
        run.report = {name: report[name] for name in _STORED}  # type: ignore[literal-required]
        runs.finish(database, run, report["status"], report["error"])
    return report

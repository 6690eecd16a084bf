"""The way in: every ingestion, from the command line or from a worker, is started here."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import cached_property
from uuid import UUID

import structlog

from app.core.config import Settings, get_settings
from app.db import schema
from app.db.session import Database, LiveDatabase, connect, dry_run
from app.ingestors.checks import EntryCheck, check_entries, has_registry_updates, has_updates
from app.ingestors.config import IngestionConfig, IngestorEntry, load_config, unlisted_entry
from app.ingestors.handlers.reading import FeedRequest, document_limits
from app.ingestors.handlers.staging import help_with
from app.ingestors.handlers.vector import VectorHandler
from app.ingestors.helpers import Helpers, NoHelpers
from app.ingestors.ingestion import Ingestion, Options, Step, ingest_vectors
from app.ingestors.progress import NoProgress, Progress
from app.ingestors.reports import IngestorInfo, IngestReport, RunReport
from app.net.urls import shown
from app.services import feeds, losses, organizations, registries, starts
from app.services.feeds import KnownFeed
from app.services.generations import Recipe
from app.services.runs import worst
from app.services.starts import Start


class IngestorManager:
    """Ingests what `ingestion.yaml` lists, or a path that is given."""

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        database: LiveDatabase | None = None,
        config: IngestionConfig | None = None,
        progress: Progress | None = None,
        helpers: Helpers | None = None,
        embedders: Recipe | None = None,
    ) -> None:
        self._settings = settings or get_settings()
        self._given_database = database
        self._given_config = config
        self._progress = progress or NoProgress()
        self._helpers = helpers or NoHelpers()
        self._embedders = embedders

    @cached_property
    def _config(self) -> IngestionConfig:
        return self._given_config or load_config(self._settings.ingestion_config_path)

    @cached_property
    def _database(self) -> LiveDatabase:
        database = self._given_database or connect(self._settings)
        schema.prepare(database, upgrade_it=self._settings.database_url is None)
        return database

    def get_ingestors(self) -> list[IngestorInfo]:
        """The entries of `ingestion.yaml`."""
        return [
            {
                "name": entry.name,
                "source_type": entry.source_type,
                "registry": entry.registry,
                "feed_path": entry.feed_path,
                "schedule": entry.schedule,
            }
            for entry in self._config.ingestion
        ]

    def ingest(self, names: Sequence[str] = (), *, options: Options | None = None) -> IngestReport:
        """Ingests the named entries of `ingestion.yaml`, all of them when none is named."""
        entries = [self._config.entry(name) for name in names] or self._config.ingestion
        return self._ingest(entries, options or Options())

    def ingest_all(
        self, source_type: str, registry_path: str | None = None, feed_path: str | None = None, *,
        ingestor: str | None = None, organizations: Collection[str] | None = None, released: bytes | None = None,
        start: Start | None = None,
    ) -> IngestReport:  # fmt: skip
        """Reads a registry, the feeds of its organizations or the one that is named, and brings the search index in
        step. The held publication, or held retirements, of the fingerprint `released` are let through."""
        only = frozenset(organizations) if organizations is not None else None
        options = Options(organizations=only, released=released)
        if registry_path is None and feed_path is not None:
            return self._ingest_path(source_type, feed_path, ingestor, options, start)
        return self._ingest([self._entry(source_type, registry_path, feed_path, ingestor)], options, start)

    def ingest_registry(
        self, source_type: str, registry_path: str, *, ingestor: str | None = None, start: Start | None = None
    ) -> IngestReport:
        """Reads one registry: organizations, brands, categories."""
        entry = self._entry(source_type, registry_path, None, ingestor)
        return self._ingest([entry], Options(steps=("registry",)), start)

    def ingest_feed(
        self, source_type: str, feed_path: str, *, ingestor: str | None = None, steps: tuple[Step, ...] = ("feed",),
        start: Start | None = None,
    ) -> IngestReport:  # fmt: skip
        """Reads one feed; with the step `vector` the search index follows."""
        return self._ingest_path(source_type, feed_path, ingestor, Options(steps=steps), start)

    def ingest_vector(
        self, source_type: str, registry_path: str | None = None, *, ingestor: str | None = None,
        start: Start | None = None,
    ) -> IngestReport:  # fmt: skip
        """Brings the search index in step with the catalogue, for the organizations of a registry or for all."""
        if registry_path is None:
            return self.update_embeddings(start)
        return self._ingest(
            [self._entry(source_type, registry_path, None, ingestor)], Options(steps=("vector",)), start
        )

    def update_embeddings(self, start: Start | None = None) -> IngestReport:
        """Brings the search index in step with the catalogue, whichever organization is behind."""
        if start is None:
            return self._ingest(self._config.ingestion, Options(steps=("vector",)))
        vectors = self._vectors(Options(steps=("vector",)))
        assert vectors is not None  # noqa: S101 - the step is asked for
        with starts.kept(self._database, start):
            return _report([ingest_vectors(self._database, start, vectors)])

    def stage_shards(
        self, run_id: UUID, ingestor: str, source_type: str, path: str, organization_id: int, revision: int, *,
        full: bool = False,
    ) -> int:  # fmt: skip
        """Helps a run of another process with its shards until there are none left; returns how many were read. None
        when this process would read them in another way."""
        entry = self._by_name(ingestor, source_type) or self._entry(source_type, None, path, ingestor)
        with self._database.transaction() as connection:
            publisher = organizations.publisher(connection, organization_id)
            state = feeds.find_feed(connection, organization_id)
        if state is None or state.revision != revision:
            return 0
        limits = document_limits(self._settings)
        request = FeedRequest(ingestor, source_type, path, publisher, entry.options_hash(), full=full, limits=limits)
        with structlog.contextvars.bound_contextvars(run=str(run_id), ingestor=ingestor, organization=publisher.urn):
            return help_with(self._database, entry.source(self._settings), run_id, request, state)

    def has_feed_updates(self, source_type: str, feed_path: str) -> bool:
        """Whether the feed is another than the one in the catalogue, and than the one that was tried last; the same of
        the path of a registry. Raises `SourceError` when that cannot be known now."""
        leading = self._leading_to(source_type, feed_path)
        entry = leading[0] if leading else self._entry(source_type, None, feed_path)
        with self._database.transaction() as connection:
            known = feeds.read_at(connection, source_type, feed_path)
            registry = registries.find(connection, entry.name, feed_path)
        if registry is not None:
            return has_registry_updates(self._database, entry, feed_path, self._settings)
        if known is None:
            return True
        return has_updates(self._database, entry, known.organization_id, feed_path, self._settings)

    def check_feed_updates(self) -> list[EntryCheck]:
        """Looks at every registry and feed of the entries of `ingestion.yaml`."""
        return check_entries(self._database, self._config.ingestion, self._settings)

    def _ingest_path(
        self, source_type: str, feed_path: str, ingestor: str | None, options: Options, start: Start | None
    ) -> IngestReport:
        """Ingests a feed by its path: through the entry whose registry led to it, if that is the ingestor asked for."""
        leading = self._leading_to(source_type, feed_path)
        if leading is None or ingestor not in (None, leading[0].name):
            return self._ingest([self._entry(source_type, None, feed_path, ingestor)], options, start)
        entry, feed = leading
        return self._ingest([entry], replace(options, organizations=frozenset({feed.organization_urn})), start)

    def _leading_to(self, source_type: str, feed_path: str) -> tuple[IngestorEntry, KnownFeed] | None:
        """The entry whose registry led to a feed, if its path is not an entry's own. As it is: with the path among its
        own, the entry's credentials would be shown to whatever server a registry names."""
        if self._listed(source_type, None, feed_path) is not None:
            return None
        entries = {
            entry.name: entry
            for entry in self._entries()
            if entry.source_type == source_type and entry.registry is not None and entry.feed_path is None
        }
        with self._database.transaction() as connection:
            known = feeds.read_at(connection, source_type, feed_path)
            if known is None or known.ingestor not in entries:
                known = feeds.registered_at(connection, list(entries), feed_path)
        return None if known is None else (entries[known.ingestor], known)

    def _entries(self) -> Sequence[IngestorEntry]:
        """The entries of `ingestion.yaml`, if there is one."""
        is_there = self._given_config or self._settings.ingestion_config_path.exists()
        return self._config.ingestion if is_there else []

    def _by_name(self, name: str | None, source_type: str) -> IngestorEntry | None:
        named = (entry for entry in self._entries() if (entry.name, entry.source_type) == (name, source_type))
        return next(named, None)

    def _listed(
        self, source_type: str, registry: str | None, feed_path: str | None, name: str | None = None
    ) -> IngestorEntry | None:
        """The entry that has one of these paths, that of the name first."""
        for entry in sorted(self._entries(), key=lambda entry: entry.name != name):
            if entry.source_type == source_type and entry.reads(registry, feed_path):
                return entry
        return None

    def _entry(
        self, source_type: str, registry: str | None, feed_path: str | None, name: str | None = None
    ) -> IngestorEntry:
        """An entry that reads these paths: with the options of the one in `ingestion.yaml` that has one of them, that
        of the name first, else without options. A relative path is relative to the folder of `ingestion.yaml`, if it
        leads somewhere from there, else to the working folder."""
        if entry := self._listed(source_type, registry, feed_path, name):
            paths = {"registry": registry, "feed_path": feed_path}
            return entry.model_copy(update={"name": name or entry.name, **paths})
        root = None
        if self._given_config or self._settings.ingestion_config_path.exists():
            folder = self._settings.ingestion_config_path.resolve().parent
            is_local = source_type == "local"
            root = folder if is_local and (folder / (registry or feed_path or "")).exists() else None
        name = (name or f"{source_type}:{shown(registry or feed_path)}")[:100]
        return unlisted_entry(name, source_type, registry, feed_path, root)

    def _ingest(self, entries: Sequence[IngestorEntry], options: Options, start: Start | None = None) -> IngestReport:
        if options.dry_run:
            with dry_run(self._database) as database:
                return _report(self._run(database, entries, options))
        if start is not None:
            with starts.kept(self._database, start):
                return _report(self._run_task(entries[0], options, start))
        losses.drop_leftovers(self._database)
        return _report(self._run(self._database, entries, options))

    def _run(self, database: Database, entries: Sequence[IngestorEntry], options: Options) -> list[RunReport]:
        """A start for each entry, as of the command line; the search index is completed after the last one."""
        vectors = self._vectors(options, database)
        reports: list[RunReport] = []
        for entry in entries:
            with starts.opened(database, entry.name, self._settings.lease_seconds) as start:
                ingestion = self._ingestion(database, entry, options, start, vectors)
                own = ingestion.run()
                starts.finish(database, start, worst([report["status"] for report in own]))
            reports.extend(own)
        if vectors is not None and reports:
            ingestion.finish_vectors(reports)
        return reports

    def _run_task(self, entry: IngestorEntry, options: Options, start: Start) -> list[RunReport]:
        vectors = self._vectors(options)
        ingestion = self._ingestion(self._database, entry, options, start, vectors)
        reports = ingestion.run()
        if vectors is not None:
            ingestion.finish_vectors(reports)
        return reports

    def _ingestion(
        self, database: Database, entry: IngestorEntry, options: Options, start: Start, vectors: VectorHandler | None
    ) -> Ingestion:
        return Ingestion(database, self._settings, entry, options, start, self._progress, self._helpers, vectors)

    def _vectors(self, options: Options, database: Database | None = None) -> VectorHandler | None:
        if "vector" not in options.steps:
            return None
        return VectorHandler(
            database or self._database, self._settings, self._progress, self._helpers, dry_run=options.dry_run,
            retry_refused=options.full, create=self._embedders,
        )  # fmt: skip


def _report(reports: list[RunReport]) -> IngestReport:
    return {"status": worst([report["status"] for report in reports]), "runs": reports}

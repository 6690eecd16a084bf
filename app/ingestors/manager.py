"""The way in: every ingestion, from the command line or from a worker, is started here."""

from collections.abc import Sequence
from functools import cached_property
from uuid import uuid4

from app.core.config import Settings, get_settings
from app.db import schema
from app.db.session import Database, LiveDatabase, connect, dry_run
from app.db.staging import StagingTables
from app.ingestors.config import IngestionConfig, IngestorEntry, load_config
from app.ingestors.handlers.reading import FeedRequest, PublicationReader
from app.ingestors.handlers.vector import VectorHandler
from app.ingestors.ingestion import Ingestion, Options, finish_vectors
from app.ingestors.progress import NoProgress, Progress
from app.ingestors.reports import IngestorInfo, IngestReport, RunReport
from app.ingestors.sources.factory import SourceFactory
from app.services import feeds, organizations, runs


class IngestorManager:
    """Ingests what `ingestion.yaml` lists, or a path that is given."""

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        database: LiveDatabase | None = None,
        config: IngestionConfig | None = None,
        progress: Progress | None = None,
    ) -> None:
        self._settings = settings or get_settings()
        self._given_database = database
        self._given_config = config
        self._progress = progress or NoProgress()

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

    def ingest_registry(self, source_type: str, registry_path: str) -> IngestReport:
        """Reads one registry: organizations, brands, categories."""
        entry = self._entry(source_type, registry=registry_path)
        return self._ingest([entry], Options(steps=("registry",)))

    def ingest_feed(self, source_type: str, feed_path: str) -> IngestReport:
        """Reads one feed."""
        entry = self._entry(source_type, feed_path=feed_path)
        return self._ingest([entry], Options(steps=("feed",)))

    def ingest_vector(self, source_type: str, registry_path: str | None = None) -> IngestReport:
        """Brings the search index in step with the catalogue, for the organizations of a registry or for all."""
        entries = [self._entry(source_type, registry=registry_path)] if registry_path else self._config.ingestion
        return self._ingest(entries, Options(steps=("vector",)))

    def has_feed_updates(self, source_type: str, feed_path: str) -> bool:
        """Whether the feed is another than the one in the catalogue, and than the one that was tried last."""
        entry = self._entry(source_type, feed_path=feed_path)
        database = self._database
        with database.transaction() as connection:
            organization = feeds.organization_of_path(connection, source_type, feed_path)
            if organization is None:
                return True
            publisher = organizations.publisher(connection, organization)
            state = feeds.find_feed(connection, organization)
        assert state is not None  # noqa: S101 - the organization was found by it
        request = FeedRequest(entry.name, source_type, feed_path, publisher, entry.options_hash())
        source = SourceFactory.create(source_type, entry.source_config())
        reader = PublicationReader(database, source, StagingTables(uuid4()), self._progress)
        return reader.look(request, state).fingerprint not in (state.fingerprint, state.attempted_fingerprint)

    def _entry(self, source_type: str, *, registry: str | None = None, feed_path: str | None = None) -> IngestorEntry:
        """The entry with that path, else one made up for it, without options. A relative path is relative to the folder
        of `ingestion.yaml`, if it leads somewhere from there, else to the working folder."""
        root = None
        if self._given_config or self._settings.ingestion_config_path.exists():
            for entry in self._config.ingestion:
                if entry.source_type == source_type and (
                    entry.registry == registry if feed_path is None else entry.feed_path == feed_path
                ):
                    return entry
            folder = self._settings.ingestion_config_path.resolve().parent
            root = folder if (folder / (registry or feed_path or "")).exists() else None
        made_up = {
            "name": f"{source_type}:{registry or feed_path}"[:100],
            "source_type": source_type,
            "registry": registry,
            "feed_path": feed_path,
        }
        return IngestorEntry.model_validate(made_up, context={"root": root})

    def _ingest(self, entries: Sequence[IngestorEntry], options: Options) -> IngestReport:
        if options.dry_run:
            with dry_run(self._database) as database:
                reports = self._run(database, entries, options)
        else:
            runs.drop_leftovers(self._database)
            reports = self._run(self._database, entries, options)
        status = runs.worst([report["status"] for report in reports])
        return {"status": status, "runs": reports}

    def _run(self, database: Database, entries: Sequence[IngestorEntry], options: Options) -> list[RunReport]:
        vectors = None
        if "vector" in options.steps:
            vectors = VectorHandler(database, self._settings, self._progress, dry_run=options.dry_run)
        reports = [
            report
            for entry in entries
            for report in Ingestion(database, self._settings, entry, options, self._progress, vectors).run()
        ]
        if vectors is not None:
            finish_vectors(vectors, reports)
        return reports

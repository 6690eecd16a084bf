"""`doctor`: what is fine on this machine, and what is missing."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from rich.text import Text
from sqlalchemy import Connection

from app.cli.database import database_errors
from app.cli.findings import Finding, State, broken
from app.cli.output import console, counted, one_line
from app.core.config import Settings, get_settings
from app.core.errors import DiscoveryNodeError
from app.core.logging import configure_logging
from app.db import schema
from app.db.session import LiveDatabase, connect
from app.ingestors.config import IngestorEntry, load_config
from app.net.urls import shown
from app.services import generations, vectors
from app.services.refusals import CODE
from app.vectors.embedders import create_embedder
from app.vectors.indexes.pgvector import require_version
from app.vectors.indexes.pinecone import obsolete_settings

_MARKS: dict[State, tuple[str, str]] = {
    "ok": ("ok", "green"),
    "note": ("note", "yellow"),
    "broken": ("broken", "bold red"),
}
_PATIENCE = 10.0  # seconds for an embedding service
_GIB = 1024**3
_LEAST_DISK = _GIB
_LITTLE_DISK = 5 * _GIB


def doctor(config: Path | None) -> bool:
    """Prints what is found; False when something is broken."""
    out = console()
    to_mend = 0
    for finding in _examine(config):
        mark, style = _MARKS[finding.state]
        to_mend += finding.state == "broken"
        out.print(Text.assemble((f"{mark:<7}", style), (f"{finding.subject}: ", "bold"), one_line(finding.told)))
        if finding.remedy:
            out.print(f"       → {finding.remedy}")
    out.print(f"{counted(to_mend, 'thing')} to mend." if to_mend else "All is well.")
    return not to_mend


def _examine(config: Path | None) -> Iterator[Finding]:
    try:
        settings = get_settings()
    except DiscoveryNodeError as error:
        yield broken("settings", error)
        return
    configure_logging("error")
    if config is not None:
        settings = settings.model_copy(update={"ingestion_config_path": config})
    env_file = "the environment and .env" if Path(".env").is_file() else "the environment; there is no .env"
    yield Finding("ok", "settings", f"read from {env_file}")
    if obsolete := obsolete_settings(settings):
        yield Finding("note", "settings", obsolete, "Remove it.")
    yield from _ingestion(settings)
    model = _model(settings)
    yield model
    yield from _database(settings, indexing=model.state != "broken")
    from app.cli.worker_findings import worker_findings  # what it needs asks for the settings when it is imported

    yield from worker_findings(settings)
    yield from _disk(settings)


def _ingestion(settings: Settings) -> Iterator[Finding]:
    path = settings.ingestion_config_path
    try:
        entries = load_config(path).ingestion
    except DiscoveryNodeError as error:
        yield broken("ingestion", error)
        return
    if entries:
        yield Finding("ok", "ingestion", f"{path} lists {counted(len(entries), 'ingestor')}")
    else:
        yield Finding("note", "ingestion", f"{path} lists no ingestors", "Add the registry or feed of a brand.")
    for entry in entries:
        yield _sources(entry)


def _sources(entry: IngestorEntry) -> Finding:
    """Whether what an entry names can be read."""
    subject = f"ingestor {entry.name}"
    source = entry.source()
    named = {"registry": entry.registry, "feed_path": entry.feed_path}
    for field, path in named.items():
        try:
            if path is not None:
                source.open(path).close()
        except DiscoveryNodeError as error:
            return Finding("broken", subject, f"{field} cannot be read: {error}", error.remedy)
    told = " and ".join(field for field, path in named.items() if path)
    return Finding("ok", subject, f"{told} can be read")


def _database(settings: Settings, *, indexing: bool) -> Iterator[Finding]:
    place = f"embedded, in {settings.data_dir / 'postgres'}" if settings.database_url is None else "DATABASE_URL"
    try:
        database = connect(settings)
        with database_errors(), database.transaction() as connection:
            version = connection.exec_driver_sql("SHOW server_version").scalar_one()
    except DiscoveryNodeError as error:
        yield broken("database", error)
        return
    yield Finding("ok", "database", f"PostgreSQL {version} answers ({place})")
    checks: list[Callable[[], Finding]] = [partial(_schema, database, settings), partial(_pgvector, database)]
    if indexing:
        checks.append(partial(_index, database, settings))
    for check in checks:
        finding = check()
        yield finding
        if finding.state == "broken":
            return


def _schema(database: LiveDatabase, settings: Settings) -> Finding:
    with _reported("schema") as result:
        schema.prepare(database, upgrade_it=settings.database_url is None)
        result.append(Finding("ok", "schema", f"at revision {schema.REVISION}, which this version needs"))
    return result[0]


def _pgvector(database: LiveDatabase) -> Finding:
    with _reported("pgvector") as result, database.transaction() as connection:
        require_version(connection)
        result.append(Finding("ok", "pgvector", _pgvector_version(connection)))
    return result[0]


def _pgvector_version(connection: Connection) -> str:
    found = connection.exec_driver_sql("SELECT extversion FROM pg_extension WHERE extname = 'vector'")
    return f"version {found.scalar_one()}"


def _index(database: LiveDatabase, settings: Settings) -> Finding:
    """How far the search index is behind the catalogue."""
    with _reported("search index") as result:
        report = vectors.count_outdated(database, generations.configured(settings, patience=_PATIENCE), None)
        if report.pending:
            told = f"{counted(report.pending, 'product')} to be indexed"
            result.append(Finding("note", "search index", told, "Run `discovery-node ingest --only vector`."))
        elif report.refused:
            told = f"in step with the catalogue, but for {counted(report.refused, 'product')} whose text is refused"
            result.append(Finding("note", "search index", told, f"See `discovery-node issues --code {CODE}`."))
        else:
            result.append(Finding("ok", "search index", "in step with the catalogue"))
    return result[0]


def _model(settings: Settings) -> Finding:
    with _reported("embedding model") as result:
        embedder = create_embedder(settings, patience=_PATIENCE)
        embedder.embed(["a cup of coffee"])
        identity = embedder.identity
        place = shown(settings.embedding_base_url) if identity.provider == "openai" else identity.variant
        told = f"{identity.model} ({identity.provider}, {place}, {identity.dimensions} dimensions) works"
        result.append(Finding("ok", "embedding model", told))
    return result[0]


def _disk(settings: Settings) -> Iterator[Finding]:
    """Room for the database, and for documents while they are read."""
    folders = {"data": settings.data_dir.expanduser().resolve(), "temporary files": Path(tempfile.gettempdir())}
    for use, folder in folders.items():
        existing = next(each for each in (folder, *folder.parents) if each.exists())
        free = shutil.disk_usage(existing).free
        state: State = "broken" if free < _LEAST_DISK else "note" if free < _LITTLE_DISK else "ok"
        remedy = "" if state == "ok" else "Make room, or move it: DATA_DIR for data, TMPDIR for temporary files."
        yield Finding(state, f"disk for {use}", f"{free / _GIB:,.1f} GB free in {folder}", remedy)


@contextmanager
def _reported(subject: str) -> Iterator[list[Finding]]:
    """What the block finds; an error of the node or of the database is a finding too."""
    result: list[Finding] = []
    try:
        with database_errors():
            yield result
    except DiscoveryNodeError as error:
        result[:] = [broken(subject, error)]

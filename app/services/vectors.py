"""The search index in step with the catalogue: generations of vectors, and the step that writes them."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cache, partial
from hashlib import sha256
from typing import Any
from uuid import UUID

import numpy as np
import structlog
from numpy.typing import NDArray
from sqlalchemy import Connection, text

from app.cmp.text import search_text
from app.core.config import Settings
from app.core.errors import ConfigurationError, DiscoveryNodeError
from app.db.session import Database
from app.services import pieces
from app.services.pieces import PieceLostError
from app.vectors import embedders
from app.vectors.embedders import Embedder, EmbedderIdentity, Variant
from app.vectors.indexes.pgvector import PendingText, PgVectorIndex

log = structlog.get_logger()

TEXT_RECIPE = 1
"""Raise it whenever the search text or what is indexed of it changes: a new generation is then built."""

BATCH = 256
"""Texts embedded and written in one transaction: what a killed process loses at most."""

SHARED_FROM = 4
"""Batches from which on others are asked to help."""
_POLL = 0.05  # seconds between looks at what helpers are at

EmbedderFactory = Callable[[Variant | None], Embedder]
_LOCK = "SELECT pg_advisory_xact_lock{}(hashtextextended('index generations', 0))"


class GenerationReplacedError(DiscoveryNodeError):
    """The index that was written to is gone: another process, with another model, put its own in its place."""

    def __init__(self) -> None:
        super().__init__(
            "The search index was replaced by that of another embedding model",
            remedy="Restart this process with the settings of the others.",
        )


class OtherModelError(DiscoveryNodeError):
    """Vectors of the query's model cannot be compared with those of the index."""

    def __init__(self, wanted: EmbedderIdentity, live: dict[str, Any]) -> None:
        super().__init__(
            f"The search index holds vectors of {live['model']} ({live['provider']}, {live['variant']}), the query's "
            f"is of {wanted.model} ({wanted.provider}, {wanted.variant})",
            remedy="Run `discovery-node ingest --only vector`: it builds the index of the configured model.",
        )


@dataclass(frozen=True)
class Generation:
    """Vectors that may be compared, and their table."""

    id: int
    identity: dict[str, Any]
    is_live: bool

    @property
    def index(self) -> PgVectorIndex:
        return PgVectorIndex(self.id, self.identity["dimensions"])

    def is_of(self, embedder: Embedder) -> bool:
        return self.identity == generation_identity(embedder.identity)


@dataclass(frozen=True)
class OpenGeneration:
    """A generation and the embedder that makes its vectors."""

    generation: Generation
    embedder: Embedder


@dataclass
class VectorReport:
    """Texts that were pending, those indexed and those that no vector was found for; rows deleted."""

    pending: int = 0
    indexed: int = 0
    deleted: int = 0
    failed: int = 0

    def as_dict(self) -> dict[str, int]:
        return asdict(self)


@dataclass(frozen=True)
class Sharing:
    """Whose work it is, and how others are asked to take pieces of it."""

    owner: UUID
    invite: Callable[[UUID, int], None]


def configured(settings: Settings) -> EmbedderFactory:
    """What makes embedders of the configured model. Raises `ConfigurationError` for an index there is not."""
    if settings.vector_provider != "pgvector":
        raise ConfigurationError(
            f"VECTOR_PROVIDER={settings.vector_provider} is not supported by this version",
            remedy="Set VECTOR_PROVIDER=pgvector: the index is then kept in PostgreSQL.",
        )
    return cache(partial(embedders.create_embedder, settings))


def query_embedder(connection: Connection, settings: Settings) -> Embedder:
    """The configured model, in the variant of the live index."""
    live = live_generation(connection)
    return configured(settings)(live.identity["variant"] if live else None)


def generation_identity(embedder: EmbedderIdentity) -> dict[str, Any]:
    """What decides whether two vectors may be compared."""
    return asdict(embedder) | {"text_recipe": TEXT_RECIPE}


def live_generation(connection: Connection) -> Generation | None:
    """The generation that is searched. It stays until the transaction ends."""
    connection.exec_driver_sql(_LOCK.format("_shared"))
    return next((generation for generation in _generations(connection) if generation.is_live), None)


def hold_tables(connection: Connection) -> list[str]:
    """The tables of all generations, by name. Until the transaction ends they stay, and are written to without waiting:
    an index that is being built on one is waited for here, before the caller takes what others need."""
    connection.exec_driver_sql(_LOCK.format("_shared"))
    tables = [generation.index.table for generation in _generations(connection)]
    if tables:
        connection.exec_driver_sql(f"LOCK TABLE {', '.join(tables)} IN ROW EXCLUSIVE MODE")
    return tables


def require_same_model(generation: Generation, embedder: Embedder) -> None:
    """Raises `OtherModelError` unless the embedder's vectors can be compared with the generation's."""
    if not generation.is_of(embedder):
        raise OtherModelError(embedder.identity, generation.identity)


def find_generation(connection: Connection, create_embedder: EmbedderFactory) -> OpenGeneration | None:
    """The generation of the configured model, live or being built, whatever variant it was begun with."""
    for generation in _generations(connection):
        embedder = create_embedder(generation.identity["variant"])
        if generation.is_of(embedder):
            return OpenGeneration(generation, embedder)
    return None


def open_generation(database: Database, create_embedder: EmbedderFactory) -> OpenGeneration:
    """Like `find_generation`, but creates one when there is none: the first is live at once, any other is built beside
    the live one. Whoever comes second finds what the first created."""
    with database.transaction() as connection:
        found = find_generation(connection, create_embedder)
    if found is None:
        with database.transaction() as connection:
            connection.exec_driver_sql(_LOCK.format(""))
            found = find_generation(connection, create_embedder)
            if found is None:
                embedder = create_embedder(None)
                found = OpenGeneration(_create_generation(connection, embedder.identity), embedder)
    return found


def update(
    database: Database,
    create_embedder: EmbedderFactory,
    organization_ids: Sequence[int] | None,
    on_batch: Callable[[int, int], None],
    sharing: Sharing | None = None,
) -> VectorReport:
    """Embeds what is pending of the organizations (None: of all), with others when it is much, and deletes what
    vanished."""
    opened = open_generation(database, create_embedder)
    with database.transaction() as connection:
        outdated = opened.generation.index.outdated(connection, organization_ids)
    report = VectorReport(pending=sum(each.pending for each in outdated))
    if sharing is not None and report.pending >= SHARED_FROM * BATCH:
        _share(database, opened, organization_ids, report, on_batch, sharing)
    for each in outdated:
        if each.pending:
            _embed(database, opened, each.organization_id, report, on_batch)
    if vanished := [each.organization_id for each in outdated if each.vanished]:
        with database.transaction() as connection:
            _hold(connection, opened.generation)
            report.deleted = opened.generation.index.delete_vanished(connection, vanished)
    return report


def help_with(database: Database, create_embedder: EmbedderFactory, owner: UUID) -> int:
    """Embeds pieces of another process's work until there are none left; returns the number of texts indexed."""
    opened = open_generation(database, create_embedder)
    report = VectorReport()
    with structlog.contextvars.bound_contextvars(start=str(owner)):
        while _embed_piece(database, opened, owner, report):
            pass
        log.info("helped with texts", indexed=report.indexed)
    return report.indexed


def complete(database: Database, create_embedder: EmbedderFactory) -> None:
    """Ends a series of updates: builds the search structures that the index has grown to need, and makes a generation
    that was built beside the live one live itself, once no product of any organization is pending in it."""
    generation = open_generation(database, create_embedder).generation
    with database.transaction() as connection:
        _hold(connection, generation)
        if generation.index.ensure_search_structures(connection):
            log.info("search structures built", generation=generation.id)
    if not generation.is_live:
        with database.transaction() as connection:
            outdated = generation.index.outdated(connection, None)
        if not any(each.pending for each in outdated):
            _make_live(database, generation)


def count_outdated(
    database: Database, create_embedder: EmbedderFactory, organization_ids: Sequence[int] | None
) -> VectorReport:
    """What `update` would find to do. Writes nothing."""
    with database.transaction() as connection:
        opened = find_generation(connection, create_embedder)
        if opened is None:
            return VectorReport(pending=_count_live(connection, organization_ids))
        outdated = opened.generation.index.outdated(connection, organization_ids)
    return VectorReport(pending=sum(each.pending for each in outdated), deleted=sum(each.vanished for each in outdated))


def _share(
    database: Database,
    opened: OpenGeneration,
    organization_ids: Sequence[int] | None,
    report: VectorReport,
    on_batch: Callable[[int, int], None],
    sharing: Sharing,
) -> None:
    """Lays the work out in pieces and takes them one by one, as others may; what comes to be pending meanwhile is left
    to the caller."""
    with database.transaction() as connection:
        blocks = opened.generation.index.pending_blocks(connection, organization_ids, BATCH)
        work = {ordinal: {"block": list(block)} for ordinal, block in enumerate(blocks)}
        pieces.offer(connection, sharing.owner, work)
    sharing.invite(sharing.owner, len(blocks))
    own = VectorReport(pending=report.pending)
    while True:
        while _embed_piece(database, opened, sharing.owner, own):
            on_batch(min(own.indexed + own.failed, report.pending), report.pending)
        with database.transaction() as connection:
            results = pieces.results(connection, sharing.owner)
            done = [result for result in results.values() if result is not None]
            if len(done) == len(results):
                pieces.withdraw(connection, sharing.owner)
                break
        time.sleep(_POLL)
    report.indexed += sum(result["indexed"] for result in done)


def _embed_piece(database: Database, opened: OpenGeneration, owner: UUID, report: VectorReport) -> bool:
    """Embeds the next piece; False when none is free."""
    index = opened.generation.index
    with pieces.taken(database, owner) as piece:
        if piece is None:
            return False
        organization_id, first, last = piece.work["block"]
        with database.transaction() as connection:
            _hold(connection, opened.generation)
            texts = index.pending(connection, organization_id, first - 1, BATCH, last)
        vectors = _vectors(opened.embedder, texts)
        good = np.flatnonzero(np.isfinite(vectors).all(axis=1))
        try:
            with database.transaction() as connection:
                _hold(connection, opened.generation)
                indexed = index.write(connection, [texts[place] for place in good], vectors[good])
                piece.finish(connection, {"indexed": indexed})
        except PieceLostError:
            log.info("a batch was taken over by another worker", ordinal=piece.ordinal)
        else:
            report.indexed += indexed
    return True


def _embed(
    database: Database,
    opened: OpenGeneration,
    organization_id: int,
    report: VectorReport,
    on_batch: Callable[[int, int], None],
) -> None:
    """Embeds an organization's pending texts, a transaction for each batch."""
    index, after = opened.generation.index, 0
    while True:
        with database.transaction() as connection:
            _hold(connection, opened.generation)
            texts = index.pending(connection, organization_id, after, BATCH)
        if not texts:
            return
        vectors = _vectors(opened.embedder, texts)
        good = np.flatnonzero(np.isfinite(vectors).all(axis=1))
        with database.transaction() as connection:
            _hold(connection, opened.generation)
            report.indexed += index.write(connection, [texts[place] for place in good], vectors[good])
        report.failed += len(texts) - len(good)
        after = texts[-1].product_id
        on_batch(min(report.indexed + report.failed, report.pending), report.pending)


def _vectors(embedder: Embedder, texts: Sequence[PendingText]) -> NDArray[np.float32]:
    """A vector for each text; equal ones are embedded once."""
    distinct = {each.text_hash: search_text(each.name, each.brand_name, each.description) for each in texts}
    places = {text_hash: place for place, text_hash in enumerate(distinct)}
    return embedder.embed(list(distinct.values()))[[places[each.text_hash] for each in texts]]


def _generations(connection: Connection) -> list[Generation]:
    """The live one first."""
    rows = connection.execute(
        text("SELECT id, identity, status = 'live' AS is_live FROM index_generations ORDER BY status = 'live' DESC, id")
    )
    return [Generation(*row) for row in rows]


def _create_generation(connection: Connection, embedder: EmbedderIdentity) -> Generation:
    identity = json.dumps(generation_identity(embedder), sort_keys=True)
    row = connection.execute(
        text("""
            INSERT INTO index_generations (identity_hash, identity, dimensions, status, live_at)
            SELECT :hash, CAST(:identity AS jsonb), :dimensions, CASE WHEN first THEN 'live' ELSE 'building' END,
                CASE WHEN first THEN now() END
            FROM (SELECT NOT EXISTS (SELECT FROM index_generations WHERE status = 'live') AS first) AS state
            RETURNING id, identity, status = 'live'
            """),
        {
            "hash": sha256(identity.encode()).digest()[:16],
            "identity": identity,
            "dimensions": embedder.dimensions,
        },
    ).one()
    generation = Generation(*row)
    generation.index.create(connection)
    log.info("index generation created", generation=generation.id, live=generation.is_live, **generation.identity)
    return generation


def _make_live(database: Database, generation: Generation) -> None:
    """Puts the generation in the place of all others. Waits for the searches that run."""
    with database.transaction() as connection:
        connection.exec_driver_sql(_LOCK.format(""))
        for other in _generations(connection):
            if other.id != generation.id:
                other.index.drop(connection)
        connection.execute(text("DELETE FROM index_generations WHERE id <> :id"), {"id": generation.id})
        connection.execute(
            text("UPDATE index_generations SET status = 'live', live_at = now() WHERE id = :id"), {"id": generation.id}
        )
    log.info("index generation live", generation=generation.id)


def _hold(connection: Connection, generation: Generation) -> None:
    """Keeps the generation's table until the transaction ends. Raises `GenerationReplacedError` when it is gone."""
    connection.exec_driver_sql(_LOCK.format("_shared"))
    if generation.id not in (each.id for each in _generations(connection)):
        raise GenerationReplacedError


def _count_live(connection: Connection, organization_ids: Sequence[int] | None) -> int:
    count: int = connection.execute(
        text("""
            SELECT count(*) FROM products WHERE deleted_at IS NULL AND
                (CAST(:organizations AS bigint[]) IS NULL OR organization_id = ANY(:organizations))
            """),
        {"organizations": organization_ids},
    ).scalar_one()
    return count

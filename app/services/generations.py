"""Generations of the search index: which vectors may be compared, which of them are searched, and how one follows
another."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache, partial
from hashlib import sha256
from typing import Any

import structlog
from sqlalchemy import Connection, text

from app.core.config import Settings
from app.core.errors import ConfigurationError, DiscoveryNodeError
from app.db.session import Database
from app.vectors import embedders
from app.vectors.embedders import Embedder, EmbedderIdentity, Variant
from app.vectors.indexes.base import Index
from app.vectors.indexes.pgvector import PgVectorIndex

log = structlog.get_logger()

TEXT_RECIPE = 1
"""Raise it whenever the search text or what is indexed of it changes: a new generation is then built."""

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
    def index(self) -> Index:
        return PgVectorIndex(self.id, self.identity["dimensions"])

    def is_of(self, embedder: Embedder) -> bool:
        return self.identity == generation_identity(embedder.identity)


@dataclass(frozen=True)
class OpenGeneration:
    """A generation and the embedder that makes its vectors."""

    generation: Generation
    embedder: Embedder


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


def make_live(database: Database, generation: Generation) -> None:
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


def hold(connection: Connection, generation: Generation) -> None:
    """Keeps the generation's table until the transaction ends. Raises `GenerationReplacedError` when it is gone."""
    connection.exec_driver_sql(_LOCK.format("_shared"))
    if generation.id not in (each.id for each in _generations(connection)):
        raise GenerationReplacedError

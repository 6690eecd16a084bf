"""Generations of the search index: which vectors may be compared, which of them are searched, and how one follows
another.

One is live, the one that is searched. Another may be built beside it, and takes its place in one step when nothing is
pending in it. The one before is retired: it stays for a while, for who still searches with its model, until the
clean-up drops it. What it was of is kept, so that who still has its settings does not begin it anew.
"""

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, field
from functools import cache, lru_cache, partial
from hashlib import sha256
from typing import Any, Literal
from uuid import uuid4

import structlog
from sqlalchemy import Connection, text

from app.core.config import Settings, VectorProvider
from app.core.errors import ConfigurationError, DiscoveryNodeError
from app.db.session import Database
from app.services import dropped, generation_lock
from app.vectors import embedders, indexes
from app.vectors.embedders import PATIENCE, Embedder, EmbedderIdentity, HostedEmbedder, Variant
from app.vectors.embedders.probe import is_identity
from app.vectors.indexes.base import Index

log = structlog.get_logger()

TEXT_RECIPE = 2
"""Raise it whenever the search text or what is indexed of it changes: a new generation is then built."""

Status = Literal["live", "building", "retired", "dropping"]
_CURRENT: Collection[Status | None] = ("live", "building")
EmbedderFactory = Callable[[Variant | None], Embedder]


class GenerationReplacedError(DiscoveryNodeError):
    """The index that was written to is gone: another process, with another model, put its own in its place."""

    def __init__(self) -> None:
        super().__init__(
            "The search index was replaced by that of another embedding model",
            remedy="Restart this process with the settings of the others; or go back to its model with "
            "`discovery-node vectors rebuild`.",
        )


class OtherModelError(DiscoveryNodeError):
    """Vectors of the query's model cannot be compared with those of the index."""

    def __init__(self, wanted: EmbedderIdentity, live: Mapping[str, Any]) -> None:
        super().__init__(
            f"The search index holds vectors of {live['model']} ({live['provider']}, {live['variant']}), the query's "
            f"is of {wanted.model} ({wanted.provider}, {wanted.variant})",
            remedy="Run `discovery-node vectors rebuild`: it builds the index of the configured model. Or set the "
            "model of the index again, as `discovery-node vectors status` names it.",
        )


@dataclass(frozen=True)
class Recipe:
    """What the settings make generations of. The factory is asked for a variant, or for the one that suits this CPU.
    `place` tells what the identity has to say of where the index is, nothing when it is in the database; it may ask
    there. `made_with` are the settings by which another process makes the same embedder. `set_up` creates what has to
    be there first, and returns its names."""

    embedder: EmbedderFactory
    place: Callable[[], Mapping[str, str]] = dict
    made_with: Mapping[str, Any] = field(default_factory=dict)
    set_up: Callable[[], list[str]] = list

    def prepare(self) -> None:
        """Asks what has to be asked elsewhere, once; to be called before there are locks."""
        self.place()
        self.embedder(None).identity  # noqa: B018 - a service may have to be asked


@dataclass(frozen=True)
class Generation:
    """Vectors that may be compared, and their index."""

    id: int
    identity: dict[str, Any]
    status: Status
    made_with: dict[str, Any] | None
    namespace: str | None

    @property
    def is_live(self) -> bool:
        return self.status == "live"

    @property
    def index(self) -> Index:
        return indexes.open_index(self.id, self.identity, self.namespace)

    def is_of(self, embedder: Embedder, place: Mapping[str, str]) -> bool:
        """Whether it is the one that an embedder and a place make."""
        return _is_of(self.identity, embedder, place)

    def understands(self, embedder: Embedder) -> bool:
        """Whether the embedder's vectors can be compared with those in it."""
        return is_identity(self.identity, embedder.identity)


@dataclass(frozen=True)
class OpenGeneration:
    """A generation and the embedder that makes its vectors."""

    generation: Generation
    embedder: Embedder


def configured(settings: Settings, *, patience: float = PATIENCE) -> Recipe:
    """What generations of these settings are made of; a call of an embedder may take so many seconds."""
    return _RECIPES[settings.vector_provider](settings, patience)


def _in_database(settings: Settings, patience: float) -> Recipe:
    return Recipe(partial(_embedder, settings, patience=patience), made_with=embedders.made_with(settings))


def _at_pinecone(settings: Settings, patience: float) -> Recipe:
    """Pinecone is asked what its dense index takes when that is needed."""
    from app.vectors.indexes import pinecone_index as pinecone  # loads what few nodes need

    @cache
    def place() -> Mapping[str, str]:
        return pinecone.place_of(settings, _embedder(settings, None, patience=patience).identity.dimensions)

    def embedder(variant: Variant | None) -> Embedder:
        found = place()
        return (
            HostedEmbedder(found["dense"])
            if found["takes"] == "texts"
            else _embedder(settings, variant, patience=patience)
        )

    def set_up() -> list[str]:
        return pinecone.create_indexes(settings, _embedder(settings, None, patience=patience).identity.dimensions)

    return Recipe(embedder, place, embedders.made_with(settings), set_up)


_RECIPES: Mapping[VectorProvider, Callable[[Settings, float], Recipe]] = {
    "pgvector": _in_database,
    "pinecone": _at_pinecone,
}


@lru_cache(maxsize=8)
def _embedder(settings: Settings, variant: Variant | None, *, patience: float = PATIENCE) -> Embedder:
    """One embedder for all who ask with the same settings, since it keeps its model."""
    return embedders.create_embedder(settings, variant, patience=patience)


def _query_embedder(settings: Settings, variant: Variant | None) -> Embedder:
    """The same for somebody who waits. A model of this machine is not waited for, and is shared."""
    return embedders.service_for_queries(settings) if embedders.is_service(settings) else _embedder(settings, variant)


def query_embedder(connection: Connection, settings: Settings) -> Embedder:
    """The model of the live index, by the settings or by those that it was made with; else the configured one, for
    which `searched_generation` may still find an index."""
    live = live_generation(connection)
    if live is None:
        return _query_embedder(settings, None)
    if live.identity["provider"] == HostedEmbedder.PROVIDER:
        return HostedEmbedder(live.identity["model"])
    origin = {"embedding_provider": live.identity["provider"]} | (live.made_with or {})
    for attempt in dict.fromkeys(embedders.attempts(settings, origin)):
        try:
            embedder = _query_embedder(attempt, live.identity["variant"])
            if live.understands(embedder):
                return embedder
        except (embedders.EmbeddingError, ConfigurationError) as error:
            log.debug("not the live index's model", error=str(error))
    return _query_embedder(settings, None)


def generation_identity(embedder: EmbedderIdentity, place: Mapping[str, str]) -> dict[str, Any]:
    """What decides whether two vectors may be compared, and where they are."""
    return {**asdict(embedder), "text_recipe": TEXT_RECIPE, **place}


def _is_of(identity: Mapping[str, Any], embedder: Embedder, place: Mapping[str, str]) -> bool:
    """Whether an identity that was written down is the one that an embedder and a place make."""
    wanted = generation_identity(embedder.identity, place) | {"weights": identity.get("weights")}
    return wanted == identity and is_identity(identity, embedder.identity)


def live_generation(connection: Connection) -> Generation | None:
    """The generation that is searched. It stays until the transaction ends."""
    return next((generation for generation in generations(connection) if generation.is_live), None)


def searched_generation(connection: Connection, embedder: Embedder) -> Generation | None:
    """The live generation if it understands the embedder, else one that was live until lately; None before the first
    vector step. It stays until the transaction ends. Raises `OtherModelError` when there are only others."""
    found = [generation for generation in generations(connection) if generation.status in ("live", "retired")]
    if not found:
        return None
    for generation in found:
        if generation.understands(embedder):
            return generation
    raise OtherModelError(embedder.identity, found[0].identity)


def hold_tables(connection: Connection) -> list[str]:
    """The tables that hold a row for each product that is found, by name. Until the transaction ends they stay, and are
    written to without waiting: an index that is being built on one is waited for here, before the caller takes what
    others need."""
    tables = [each.index.table for each in generations(connection) if each.index.is_in_database]
    if tables:
        connection.exec_driver_sql(f"LOCK TABLE {', '.join(tables)} IN ROW EXCLUSIVE MODE")
    return tables


def find_generation(connection: Connection, recipe: Recipe) -> OpenGeneration | None:
    """The generation of that recipe, live, being built or retired, whatever variant it was begun with."""
    place = recipe.place()
    for generation in generations(connection):
        embedder = recipe.embedder(generation.identity["variant"])
        if generation.is_of(embedder, place):
            return OpenGeneration(generation, embedder)
    return None


def open_generation(database: Database, recipe: Recipe, *, revive: bool = False) -> OpenGeneration:
    """Like `find_generation`, but creates one when there is none: the first is live at once, any other is built beside
    the live one. Whoever comes second finds what the first created. A retired one is an error, or taken up again; one
    that was dropped since is an error too, or begun anew."""
    recipe.prepare()
    with database.transaction() as connection:
        found = find_generation(connection, recipe)
        if found is None and not revive and _dropped(connection, recipe):
            raise GenerationReplacedError
    if found is None or (revive and found.generation.status == "retired"):
        with database.transaction() as connection:
            generation_lock.take(connection)
            found = find_generation(connection, recipe)
            if found is None:
                dropped.forget(connection, _dropped(connection, recipe))
                embedder = recipe.embedder(None)
                found = OpenGeneration(_create(connection, embedder.identity, recipe), embedder)
            elif found.generation.status == "retired":
                found = OpenGeneration(_take_up(connection, found.generation), found.embedder)
    if found.generation.status not in _CURRENT:
        raise GenerationReplacedError
    return found


def _dropped(connection: Connection, recipe: Recipe) -> list[bytes]:
    """Hashes of generations of that recipe that were dropped."""
    place = recipe.place()
    return [
        identity_hash
        for identity_hash, identity in dropped.identities(connection).items()
        if _is_of(identity, recipe.embedder(identity["variant"]), place)
    ]


def make_live(database: Database, generation: Generation) -> None:
    """Puts the generation in the place of all others, which are retired. Waits for the searches that run."""
    with database.transaction() as connection:
        generation_lock.take(connection)
        connection.execute(
            text("""
                UPDATE index_generations SET status = 'retired', retired_at = now()
                WHERE id <> :id AND status IN ('live', 'building')
                """),
            {"id": generation.id},
        )
        connection.execute(
            text("UPDATE index_generations SET status = 'live', live_at = now() WHERE id = :id AND status <> 'live'"),
            {"id": generation.id},
        )
    log.info("index generation live", generation=generation.id)


def hold(connection: Connection, generation: Generation) -> None:
    """Keeps the generation until the transaction ends. Raises `GenerationReplacedError` when another took its place."""
    found = {each.id: each.status for each in generations(connection)}
    if found.get(generation.id) not in _CURRENT:
        raise GenerationReplacedError


def generations(connection: Connection) -> list[Generation]:
    """All there are, the live one first, then those being built, then those retired, the latest first. They stay until
    the transaction ends."""
    generation_lock.share(connection)
    rows = connection.execute(
        text(f"""
            SELECT {_COLUMNS} FROM index_generations
            ORDER BY array_position(ARRAY['live', 'building', 'retired', 'dropping'], status), retired_at DESC, id
            """)
    )
    return [Generation(*row) for row in rows]


def _create(connection: Connection, embedder: EmbedderIdentity, recipe: Recipe) -> Generation:
    identity = json.dumps(generation_identity(embedder, recipe.place()), sort_keys=True)
    row = connection.execute(
        text(f"""
            INSERT INTO index_generations (identity_hash, identity, dimensions, made_with, namespace, status, live_at)
            SELECT :hash, CAST(:identity AS jsonb), :dimensions, CAST(:made_with AS jsonb), :namespace,
                CASE WHEN first THEN 'live' ELSE 'building' END, CASE WHEN first THEN now() END
            FROM (SELECT NOT EXISTS (SELECT FROM index_generations WHERE status = 'live') AS first) AS state
            RETURNING {_COLUMNS}
            """),
        {
            "hash": sha256(identity.encode()).digest()[:16],
            "identity": identity,
            "dimensions": embedder.dimensions,
            "made_with": json.dumps(dict(recipe.made_with)),
            "namespace": f"node-{uuid4().hex}",
        },
    ).one()
    generation = Generation(*row)
    generation.index.create(connection)
    log.info("index generation created", generation=generation.id, live=generation.is_live, **generation.identity)
    return generation


def _take_up(connection: Connection, generation: Generation) -> Generation:
    """A retired generation is built on from where it was left."""
    row = connection.execute(
        text(f"""
            UPDATE index_generations SET status = 'building', retired_at = NULL WHERE id = :id RETURNING {_COLUMNS}
            """),
        {"id": generation.id},
    ).one()
    log.info("index generation taken up again", generation=generation.id)
    return Generation(*row)


_COLUMNS = "id, identity, status, made_with, namespace"

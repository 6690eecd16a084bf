"""What is told of the search index: its generations, and whether what is in it is what is in the catalogue."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from app.core.errors import DiscoveryNodeError
from app.db.session import Database
from app.services import refusals, vectors
from app.services.generations import (
    Generation,
    OtherModelError,
    Recipe,
    find_generation,
    generations,
    hold,
    live_generation,
)
from app.vectors.indexes.base import Differences


class NoIndexError(DiscoveryNodeError):
    """No vector step has been yet."""

    def __init__(self) -> None:
        super().__init__("There is no search index yet", remedy="Run `discovery-node ingest --only vector`.")


@dataclass(frozen=True)
class GenerationState:
    """A generation, how many products are in its index, how many are to be put in or taken out, seconds since the
    oldest of the first changed, and how many products' texts are refused."""

    id: int
    status: str
    identity: dict[str, Any]
    products: int
    pending: int
    vanished: int
    oldest: float
    refused: int

    @property
    def in_sync(self) -> bool:
        """Whether all that can be in the index is, and nothing else."""
        return not self.pending and not self.vanished


def states(connection: Connection) -> list[GenerationState]:
    """All generations, the live one first."""
    return [_state(connection, generation) for generation in generations(connection)]


def compare(database: Database) -> Differences:
    """What differs between the live index and the catalogue, by all that is in both, but for texts that are refused.
    Raises `NoIndexError`."""
    live = _live(database)
    differences = live.index.compare(database)
    with database.transaction() as connection:
        return refusals.without_missing(connection, live, differences)


def repair(
    database: Database, recipe: Recipe, differences: Differences, on_batch: Callable[[int, int], None]
) -> Differences:
    """Mends what differs; returns what still does. Raises `OtherModelError` when the live index is not the recipe's."""
    live = _live(database)
    recipe.prepare()
    with database.transaction() as connection:
        found = find_generation(connection, recipe)
        if found is None or found.generation.id != live.id:
            raise OtherModelError(recipe.embedder(None).identity, live.identity)
        hold(connection, live)
        live.index.doubt(connection, differences)
    vectors.update(database, recipe, None, on_batch)
    return compare(database)


def _live(database: Database) -> Generation:
    with database.transaction() as connection:
        live = live_generation(connection)
    if live is None:
        raise NoIndexError
    return live


def _state(connection: Connection, generation: Generation) -> GenerationState:
    index = generation.index
    refused = refusals.counts(connection, generation)
    outdated = refusals.without(index.outdated(connection, None), refused)
    return GenerationState(
        id=generation.id,
        status=generation.status,
        identity=generation.identity,
        products=index.count(connection),
        pending=sum(each.pending for each in outdated),
        vanished=sum(each.vanished for each in outdated),
        oldest=refusals.lag(connection, generation)[1],
        refused=sum(refused.values()),
    )

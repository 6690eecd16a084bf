"""`vectors`: the search index by its generations."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from app.cli.database import database_errors, opened, settings
from app.cli.output import console, counted, print_json, status, table
from app.cli.progress import shown_progress
from app.core.logging import configure_logging
from app.services import generations, index_state, vectors
from app.services.index_state import GenerationState
from app.vectors.indexes.base import Differences

_COLUMNS = ("generation", "status", "index", "model", "products", "in sync")


def show_status(*, as_json: bool) -> None:
    """Prints all generations."""
    database = opened(settings())
    with database_errors(), database.transaction() as connection:
        states = index_state.states(connection)
    if as_json:
        print_json({"generations": [asdict(state) for state in states]})
    elif states:
        _print_states(states)
    else:
        console().print("There is no search index yet. Run `discovery-node ingest --only vector`.")


def set_up() -> None:
    """Creates the indexes that are missing where the settings say, and looks whether all are fit."""
    recipe = generations.configured(settings())
    created = recipe.set_up()
    place = recipe.place()
    if not place:
        console().print("The index is kept in the database: there is nothing to set up.")
        return
    told = f"created {' and '.join(created)}" if created else "nothing had to be created"
    console().print(
        f"{place['dense']} and {place['sparse']} are ready: {told}. Fill them: discovery-node vectors rebuild"
    )


def rebuild(*, accept_refused: bool) -> bool:
    """Builds the index of the configured model until it is live; False when it is not."""
    found = settings()
    database = opened(found)
    with shown_progress() as progress, database_errors():
        configure_logging(found.log_level, form=found.log_format)  # again: bars take stderr over
        recipe = generations.configured(found)
        generation = vectors.rebuild(database, recipe, progress.embedding, accept_refused=accept_refused)
    if generation.is_live:
        console().print(f"Generation {generation.id} is live.")
    else:
        console().print(f"Generation {generation.id} is not live yet: products kept changing. Run it again.")
    return generation.is_live


def verify(*, repair: bool, as_json: bool) -> bool:
    """Compares the live index with the catalogue; False when they differ, and still do after a repair."""
    found = settings()
    database = opened(found)
    with shown_progress() as progress, database_errors():
        configure_logging(found.log_level, form=found.log_format)
        differences = index_state.compare(database)
        left = differences
        if repair and differences:
            left = index_state.repair(database, generations.configured(found), differences, progress.embedding)
    if as_json:
        print_json(_document(differences) | ({"left": _document(left)} if repair else {}))
    else:
        _print_differences(differences, left, repaired=repair)
    return not left


def _print_states(states: Sequence[GenerationState]) -> None:
    listed = table(*_COLUMNS, numbers=["products"])
    for state in states:
        identity = state.identity
        listed.add_row(
            str(state.id), status(state.status), identity.get("index", "pgvector"), _model(identity),
            f"{state.products:,}", _sync(state),
        )  # fmt: skip
    console().print(listed)


def _model(identity: dict[str, Any]) -> str:
    return f"{identity['model']} ({identity['provider']}, {identity['variant']}, {identity['dimensions']} dimensions)"


def _sync(state: GenerationState) -> str:
    if not (state.pending or state.vanished):
        return f"yes, but for {counted(state.refused, 'refused text')}" if state.refused else "yes"
    behind = [f"{state.pending:,} to put in"] if state.pending else []
    behind += [f"{state.vanished:,} to take out"] if state.vanished else []
    return ", ".join(behind) + (f"; behind for {state.oldest:,.0f} s" if state.pending else "")


def _document(differences: Differences) -> dict[str, int]:
    return {name: len(getattr(differences, name)) for name in ("missing", "stale", "surplus")}


def _print_differences(differences: Differences, left: Differences, *, repaired: bool) -> None:
    out = console()
    if not differences:
        out.print("The index is as the catalogue.")
        return
    told = ", ".join(f"{number:,} {name}" for name, number in _document(differences).items() if number)
    out.print(f"The index differs from the catalogue: {told}.")
    if not repaired:
        out.print("Mend it: discovery-node vectors verify --repair")
    elif left:
        still = counted(sum(_document(left).values()), "product")
        out.print(f"{still} could not be mended: see `discovery-node vectors status`, and run it again.")
    else:
        out.print("It is mended.")

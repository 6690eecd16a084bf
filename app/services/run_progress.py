"""How far a run is: what its worker writes down now and then, and what of it helpers are at."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal, get_args
from uuid import UUID

from psycopg.types.json import Jsonb
from sqlalchemy import Connection, Row, text

from app.services.products import without_none
from app.services.runs import Run

ShardState = Literal["waiting", "reading", "read", "unchanged", "failed"]
STATES: tuple[ShardState, ...] = get_args(ShardState)

MAX_SHARDS = 500
"""Shards of a run that are told one by one."""


def write(connection: Connection, run: Run, progress: dict[str, Any]) -> None:
    """Writes down how far a run is, if it is still this process's."""
    connection.execute(
        text("""
            UPDATE runs SET progress = :progress WHERE id = :id AND status = 'running'
                AND EXISTS (SELECT FROM starts WHERE id = runs.start_id AND attempt = :attempt)
            """),
        {"id": run.id, "attempt": run.start.attempt, "progress": Jsonb(progress)},
    )


def of_run(connection: Connection, run: Mapping[str, Any]) -> dict[str, Any]:
    """How far a run is that `runs.find` found: `counts` of its shards by state, the first of its `shards` with their
    items, and the `embedding` with its rate. Of what was not begun nothing is told."""
    noted = run["progress"] or {}
    states: list[ShardState] = [STATES[int(each)] for each in noted.get("states", "")]
    shards = [{"shard": url, "state": "", "items": items, "of": of} for url, items, of in noted.get("shards", ())]
    if run["status"] == "running":
        _note_pieces(states, shards, _pieces(connection, run["id"]))
        embedding = _under_way(connection, run, noted.get("embedding"))
    else:
        embedding = _embedded(run["report"])
        if run["status"] != "waiting":  # what was not read is not going to be
            states = ["failed" if state in ("waiting", "reading") else state for state in states]
    for shard, state in zip(shards, states, strict=False):
        shard["state"] = state
    counts = {state: states.count(state) for state in STATES} if states else None
    return without_none({"counts": counts, "shards": shards or None, "embedding": embedding})


def _pieces(connection: Connection, owner: UUID) -> Sequence[Row[Any]]:
    """Which shards of a run others may be reading, and what became of them."""
    return connection.execute(
        text("""
            SELECT ordinal, result ? 'problem' AS has_failed, CAST(result -> 'staged' AS bool) AS is_staged,
                coalesce(CAST(result #> '{counts,items}' AS int), 0) AS items
            FROM pieces WHERE owner = :owner AND (worker IS NOT NULL OR result IS NOT NULL)
            """),
        {"owner": owner},
    ).all()


def _note_pieces(states: list[ShardState], shards: Sequence[dict[str, Any]], pieces: Sequence[Row[Any]]) -> None:
    """Brings what is not noted as done in line with the pieces that are taken or done."""
    for piece in pieces:
        if piece.ordinal >= len(states) or states[piece.ordinal] not in ("waiting", "reading"):
            continue
        states[piece.ordinal] = state = _state(piece)
        if piece.ordinal < len(shards) and state != "reading":
            shards[piece.ordinal].update(items=piece.items, of=piece.items)


def _state(piece: Row[Any]) -> ShardState:
    if piece.has_failed is None:
        return "reading"
    if piece.has_failed:
        return "failed"
    return "read" if piece.is_staged else "unchanged"


def _under_way(
    connection: Connection, run: Mapping[str, Any], noted: Mapping[str, Any] | None
) -> dict[str, Any] | None:
    """The embedding of a run that goes on: what its own process did, or with others, whichever is more."""
    if noted is None:
        return None
    shared: int = connection.execute(
        text("""
            SELECT coalesce(sum(CAST(result -> 'indexed' AS int) + coalesce(CAST(result -> 'failed' AS int), 0)), 0)
            FROM pieces WHERE owner = :start AND result IS NOT NULL
            """),
        {"start": run["start_id"]},
    ).scalar_one()
    seconds = datetime.now(UTC).timestamp() - noted["began_at"]
    return _rated(min(max(noted["done"], shared), noted["pending"]), noted["pending"], seconds)


def _embedded(report: Mapping[str, Any]) -> dict[str, Any] | None:
    """The embedding of a run that is over."""
    vector = report.get("vector") or {}
    if not vector.get("pending"):
        return None
    done = vector["indexed"] + vector.get("failed", 0)
    return _rated(done, vector["pending"], report.get("timings", {}).get("vector", 0.0))


def _rated(done: int, pending: int, seconds: float) -> dict[str, Any]:
    rate = round(done / seconds, 1) if seconds > 0 else None
    return without_none({"done": done, "pending": pending, "perSecond": rate})

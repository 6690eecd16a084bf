"""How far a run is: what its worker writes down now and then, and what of it helpers are at."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal, get_args
from uuid import UUID

from psycopg.types.json import Jsonb
from sqlalchemy import Connection, text

from app.services.products import without_none
from app.services.runs import Run

ShardState = Literal["waiting", "reading", "read", "unchanged", "failed"]

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
    shards = [_Shard(*each) for each in noted.get("shards", ())]
    counts = Counter(noted.get("counts", ()))
    if run["status"] == "running":
        counts.update(_note_pieces(shards, _pieces(connection, run["id"])))
        embedding = _under_way(connection, run, noted.get("embedding"))
    else:
        embedding = _embedded(run["report"])
    return without_none(
        {
            "counts": {state: counts[state] for state in get_args(ShardState)} if shards else None,
            "shards": [each.as_document() for each in shards] or None,
            "embedding": embedding,
        }
    )


class _Shard:
    """A shard as it was noted last; pieces of a run's work know better."""

    def __init__(self, url: str, state: str, items: int, of: int) -> None:
        self.url, self.state, self.items, self.of = url, state, items, of

    def as_document(self) -> dict[str, Any]:
        return {"shard": self.url, "state": self.state, "items": self.items, "of": self.of}


def _pieces(connection: Connection, owner: UUID) -> Sequence[Any]:
    """Which shards of a run others may be reading, and what became of them."""
    return connection.execute(
        text("""
            SELECT ordinal, worker IS NOT NULL AS is_taken, result ? 'problem' AS has_failed,
                CAST(result -> 'staged' AS bool) AS is_staged, CAST(result #> '{counts,items}' AS int) AS items
            FROM pieces WHERE owner = :owner AND (worker IS NOT NULL OR result IS NOT NULL)
            """),
        {"owner": owner},
    ).all()


def _note_pieces(shards: Sequence[_Shard], pieces: Sequence[Any]) -> Counter[str]:
    """Brings the shards in line with the pieces that are taken or done; returns what that changes of the counts."""
    changes: Counter[str] = Counter()
    for piece in pieces:
        before = shards[piece.ordinal].state if piece.ordinal < len(shards) else "waiting"
        state = _state(piece)
        if before not in ("waiting", "reading") or before == state:
            continue
        changes.update({before: -1, state: 1})
        if piece.ordinal < len(shards):
            shard = shards[piece.ordinal]
            shard.state = state
            shard.items = shard.of = piece.items or 0
    return changes


def _state(piece: Any) -> str:
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

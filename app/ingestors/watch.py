"""How far a run is, kept in the ledger while it goes on.

Noting costs the work nothing: a thread writes down what changed, now and then. A run that takes no longer than a moment
writes only when it ends, with all else of it.
"""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import structlog
from sqlalchemy.exc import SQLAlchemyError

from app.core.errors import DiscoveryNodeError
from app.core.logging import in_this_context
from app.db.session import Database
from app.ingestors.progress import Progress
from app.net.urls import shown
from app.services import run_progress
from app.services.run_progress import MAX_SHARDS, STATES, ShardState
from app.services.runs import Run

log = structlog.get_logger()

INTERVAL = 1.0  # seconds between two looks at what changed


class RunWatch:
    """Notes how far a run is, and passes it on to `shown`. Threads note, another reads: what is noted of a shard is
    replaced as one."""

    def __init__(self, shown: Progress) -> None:
        self._shown = shown
        self._shards: dict[str, tuple[ShardState, int, int]] = {}
        self._embedding: dict[str, Any] | None = None

    def staging(self, done: int, total: int) -> None:
        self._shown.staging(done, total)

    def embedding(self, done: int, total: int) -> None:
        began_at = self._embedding["began_at"] if self._embedding else time.time()
        self._embedding = {"done": done, "pending": total, "began_at": began_at}
        self._shown.embedding(done, total)

    def listed(self, urls: Sequence[str]) -> None:
        self._shards = dict.fromkeys(urls, ("waiting", 0, 0))

    def reading(self, url: str, done: int = 0, total: int = 0) -> None:
        self._shards[url] = ("reading", done, total)

    def read(self, url: str, state: ShardState, items: int) -> None:
        self._shards[url] = (state, items, items)

    def document(self) -> dict[str, Any]:
        """As the ledger keeps it, in the feed's order: the states of all shards as digits, and names and items of up to
        `MAX_SHARDS`."""
        noted = list(self._shards.items())
        return {
            "states": "".join(str(STATES.index(state)) for _, (state, _, _) in noted),
            "shards": [[shown(url), items, of] for url, (_, items, of) in noted[:MAX_SHARDS]],
            "embedding": self._embedding,
        }


@contextmanager
def watched(database: Database, run: Run, shown: Progress) -> Iterator[RunWatch]:
    """Keeps what is noted of the run in the ledger while the block runs; the end of it is left to the run's own."""
    watch = RunWatch(shown)
    stop = threading.Event()
    thread = None
    if run.start.is_recorded:
        keep = in_this_context(_keep)
        thread = threading.Thread(target=keep, args=(database, run, watch, stop), name="run progress", daemon=True)
        thread.start()
    try:
        yield watch
    finally:
        stop.set()
        if thread is not None:
            thread.join()
        run.progress = watch.document()


def _keep(database: Database, run: Run, watch: RunWatch, stop: threading.Event) -> None:
    written: dict[str, Any] | None = None
    while not stop.wait(INTERVAL):
        if (document := watch.document()) == written:
            continue
        try:
            with database.transaction(durable=False) as connection:
                run_progress.write(connection, run, document)
        except (SQLAlchemyError, DiscoveryNodeError) as error:
            log.info("progress not written", error=type(error).__name__)
        else:
            written = document

"""Ingestions in processes of their own: `crash POINT DATABASE_URL ROOT` dies where it is told to, and
`together NUMBER DATABASE_URL ROOT` is so many at once."""

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from app.core.config import Settings
from app.core.logging import configure_logging
from app.db.session import LiveDatabase
from app.db.staging import StagingTables
from app.ingestors import ingestion
from app.ingestors.handlers import feed, staging
from app.services import runs, unlisted
from tests.support.nodes import Node

ENTRY = {"name": "acme", "registry": "publisher/registry.json"}


def die(*_: Any, **__: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def before(owner: Any, name: str) -> Callable[[], None]:
    """Dies instead of doing it."""
    return lambda: setattr(owner, name, die)


def after(owner: Any, name: str, times: int = 1) -> Callable[[], None]:
    """Dies when it was done, the last of so many times."""
    function, left = getattr(owner, name), [times]

    def done(*arguments: Any, **options: Any) -> Any:
        result = function(*arguments, **options)
        left[0] -= 1
        if not left[0]:
            die()
        return result

    return lambda: setattr(owner, name, done)


POINTS: dict[str, Callable[[], None]] = {
    "before the registry": before(ingestion.RegistryHandler, "ingest"),
    "after the registry": after(ingestion.RegistryHandler, "ingest"),
    "after the run was claimed": before(ingestion.Ingestion, "_ingest_feed"),
    "before a shard is staged": before(staging.ShardStager, "stage"),
    "while a shard is staged": before(StagingTables, "mark"),
    "after a shard was staged": after(staging.ShardReader, "stage"),
    "after the last shard was staged": after(staging.PublicationStager, "read"),
    "before the merge": before(feed, "merge"),
    "in the merge, before it commits": before(runs.Run, "fence"),
    "after the merge, before the run ends": before(runs, "finish"),
    "after the run ended": after(runs, "finish"),
}
RETIREMENT_POINTS: dict[str, Callable[[], None]] = {
    "before it is retired": before(ingestion.Ingestion, "_retire"),
    "while it is retired": before(unlisted, "_retired_issue"),
    "after it was retired": after(ingestion.Ingestion, "_retire"),
}


def main(mode: str, what: str, url: str, root: str) -> None:
    configure_logging("error")
    if mode == "crash":
        (POINTS | RETIREMENT_POINTS)[what]()
        ingest(url, Path(root))
        return
    children = [fork(url, Path(root)) for _ in range(int(what))]
    sys.exit(any(os.waitpid(child, 0)[1] for child in children))


def fork(url: str, root: Path) -> int:
    """A child that ingests, before anything of this process is connected."""
    child = os.fork()
    if child:
        return child
    try:
        ingest(url, root)
        os._exit(0)
    finally:
        os._exit(1)


def ingest(url: str, root: Path) -> None:
    """Writes the report as one line."""
    settings = Settings(_env_file=None, database_url=url, log_level="error")
    report = Node(LiveDatabase(url), settings, root, [ENTRY]).start()
    os.write(sys.stdout.fileno(), (json.dumps(report) + "\n").encode())


if __name__ == "__main__":
    main(*sys.argv[1:])

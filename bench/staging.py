"""The feed step as a task does it, in a process of its own, without the vectors: helpers are invited.

`python -m bench.staging FOLDER` ingests the feed in FOLDER into `DATABASE_URL` and prints the run as JSON.
"""

import json
import sys
from pathlib import Path
from typing import cast
from uuid import uuid4

from app.core.logging import configure_logging
from app.services import starts
from app.services.messages import Wanted
from app.services.starts import Start
from app.worker.node import node
from app.worker.tasks.ingest import Invitations


def main() -> None:
    folder = Path(sys.argv[1])
    configure_logging("warning")
    manager = node().manager(Invitations())
    manager.ingest_registry("local", str(folder / "registry.json"), ingestor="bench")
    wanted = Wanted(uuid4(), "ingest:feed", "bench", {})
    start = cast(Start, starts.claim(node().database, wanted, lease=60, max_failures=0))
    report = manager.ingest_feed("local", str(folder / "feed.json"), ingestor="bench", start=start)
    starts.finish(node().database, start, report["status"])
    print(json.dumps(report["runs"][0]))


if __name__ == "__main__":
    main()

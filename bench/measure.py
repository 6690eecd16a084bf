"""One ingestion in a process of its own: seconds, SQL statements, bytes of anonymous memory at the peak.

`python -m bench.measure PLACE STEP[,STEP] [--full]` ingests the feed in PLACE, a folder or a URL,
into `DATABASE_URL` and prints JSON.
"""

import json
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import event

from app.core.config import get_settings
from app.core.logging import configure_logging
from app.db.session import connect
from app.ingestors.config import IngestionConfig, IngestorEntry
from app.ingestors.ingestion import Options
from app.ingestors.manager import IngestorManager

statements = 0


class CountingCursor(psycopg.Cursor[Any]):
    """Counts what is sent: each statement once, each COPY once."""

    def execute(self, *args: Any, **kwargs: Any) -> "CountingCursor":
        _count()
        return super().execute(*args, **kwargs)

    def executemany(self, query: Any, params_seq: Any, **kwargs: Any) -> None:
        _count(len(params_seq))
        super().executemany(query, params_seq, **kwargs)

    def copy(self, *args: Any, **kwargs: Any) -> Any:
        _count()
        return super().copy(*args, **kwargs)


def _count(number: int = 1) -> None:
    global statements
    statements += number


def anonymous_bytes() -> int:
    """Anonymous memory of this process, from the kernel; mapped files do not count."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("this kernel does not tell RssAnon")


class PeakMemory(threading.Thread):
    """Samples anonymous memory until it is told to stop."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak = anonymous_bytes()
        self._stopping = threading.Event()

    def run(self) -> None:
        while not self._stopping.wait(0.02):
            self.peak = max(self.peak, anonymous_bytes())

    def stop(self) -> int:
        self._stopping.set()
        self.join()
        return max(self.peak, anonymous_bytes())


def main() -> None:
    place, steps = sys.argv[1], tuple(sys.argv[2].split(","))
    configure_logging("warning")
    database = connect(get_settings())

    @event.listens_for(database.engine, "do_connect")
    def _use_counter(_dialect: Any, _record: Any, _args: Any, parameters: dict[str, Any]) -> None:
        parameters["cursor_factory"] = CountingCursor

    source_type = "remote" if "://" in place else "local"
    entry = IngestorEntry(name="bench", source_type=source_type, registry=f"{place}/registry.json")
    manager = IngestorManager(database=database, config=IngestionConfig(ingestion=[entry]))
    manager.get_ingestors()
    memory = PeakMemory()
    memory.start()
    began = time.perf_counter()
    report = manager.ingest(options=Options(steps=steps, full="--full" in sys.argv))  # type: ignore[arg-type]
    seconds, peak = time.perf_counter() - began, memory.stop()
    print(json.dumps({"run": report["runs"][0], "seconds": seconds, "peak": peak, "statements": statements}))


if __name__ == "__main__":
    main()

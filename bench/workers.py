"""Workers: what several of them make of a large feed, how soon a start begins, and what it costs to share."""

import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import text

from app.core.config import Settings
from app.db.session import LiveDatabase
from app.worker.child import Child
from app.worker.redis_server import find_broker

_READY = 60.0  # seconds
_PORT = 16_399


@contextmanager
def redis_running(folder: Path) -> Iterator[dict[str, str]]:
    """The variables that name a Redis of this block's own."""
    url = f"redis://127.0.0.1:{_PORT}"
    broker = find_broker(Settings(celery_broker_url=f"{url}/0", celery_result_backend=f"{url}/1", data_dir=folder))
    if broker.server is None:
        raise RuntimeError(f"Something answers at port {_PORT} already")
    broker.server.start()
    try:
        yield {"CELERY_BROKER_URL": f"{url}/0", "CELERY_RESULT_BACKEND": f"{url}/1"}
    finally:
        broker.server.send(signal.SIGTERM)
        broker.server.bury()


@contextmanager
def worker_running(environment: dict[str, str], concurrency: int) -> Iterator[None]:
    """A worker that is ready; none for a concurrency of 0."""
    if not concurrency:
        yield
        return
    command = [sys.executable, "-m", "celery", "-A", "app.worker.celery_app", "worker", f"--concurrency={concurrency}"]
    child = Child("worker", command, environment)
    child.start()
    database = LiveDatabase(environment["DATABASE_URL"])
    try:
        _wait_for(database, "SELECT count(*) FROM workers")
        yield
    finally:
        child.send(signal.SIGTERM)
        child.bury()
        with database.transaction() as connection:
            connection.execute(text("DELETE FROM workers"))
        database.engine.dispose()


def staged_and_merged(environment: dict[str, str], folder: Path) -> dict[str, float]:
    """Seconds of the parts of one feed step that invites helpers."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.staging", str(folder)],
        env=os.environ | environment, check=True, capture_output=True, text=True,
    )  # fmt: skip
    run: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    if run["status"] != "success":
        raise RuntimeError(f"The ingestion ended {run['status']}: {run['error']}")
    timings: dict[str, float] = run["timings"]
    return timings


def latency(environment: dict[str, str], folder: Path, repeats: int) -> float:
    """The median of the seconds from `.delay()` to the first staged row, with an idle worker."""
    script = (
        "import sys, time\nfrom app.worker.tasks.ingest import ingest_feed\nfrom app.worker.node import node\n"
        "from app.worker.celery_app import celery_app\n"
        "celery_app.connection_for_write().ensure_connection()\nnode()\n"
        "began = time.time(); ingest_feed.delay('bench', 'local', sys.argv[1]); print(began)\n"
    )
    database = LiveDatabase(environment["DATABASE_URL"])
    seconds = []
    for _ in range(repeats):
        with database.transaction() as connection:
            connection.exec_driver_sql("DELETE FROM starts")
            connection.exec_driver_sql(
                "TRUNCATE feeds, feed_shards, occurrences, issues, products, product_groups, offers"
            )
        client = subprocess.Popen(
            [sys.executable, "-c", script, str(folder / "feed.json")],
            env=os.environ | environment, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        staged = _first_row(database)
        seconds.append(staged - float(client.communicate()[0]))
        _wait_for(database, "SELECT count(*) FROM starts WHERE status IN ('success', 'held', 'failed')")
    database.engine.dispose()
    return statistics.median(seconds)


def _first_row(database: LiveDatabase) -> float:
    """When the first staged shard was seen; looked for every few milliseconds."""
    names = "SELECT tablename FROM pg_tables WHERE schemaname = 'staging' AND tablename LIKE 'shards\\_%'"
    deadline = time.monotonic() + _READY
    while time.monotonic() < deadline:
        with database.transaction() as connection:
            name = connection.execute(text(names)).scalar()
            if name and connection.execute(text(f"SELECT count(*) FROM staging.{name}")).scalar():
                return time.time()
        time.sleep(0.002)
    raise RuntimeError("nothing was staged")


def _wait_for(database: LiveDatabase, count: str) -> None:
    deadline = time.monotonic() + _READY
    while time.monotonic() < deadline:
        with database.transaction() as connection:
            if connection.execute(text(count)).scalar():
                return
        time.sleep(0.05)
    raise RuntimeError(f"waited in vain for: {count}")

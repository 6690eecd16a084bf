"""A system of processes under test: Redis, a database, workers, and a client in a process of its own."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from celery import Celery

from app.db.session import LiveDatabase
from tests.support.nodes import rows
from tests.support.redis import redis_server

ROOT = Path(__file__).parents[2]
_READY = 30.0  # seconds


class TaskFailedError(Exception):
    """What `.get()` raised, by the name of its type."""


class Client:
    """Does what a user does in a Python shell: `delay` and `get`."""

    def __init__(self, environment: dict[str, str], folder: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.workers"],
            cwd=folder, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def delay(self, task: str, *args: Any, **options: Any) -> str:
        """Sends a task; returns its id. `options` are those of `apply_async`."""
        sent: str = self._ask("delay", task, list(args), options)
        return sent

    def get(self, task_id: str, timeout: float = 30.0) -> Any:
        return self._ask("get", task_id, timeout)

    def call(self, task: str, *args: Any, timeout: float = 30.0, **options: Any) -> Any:
        return self.get(self.delay(task, *args, **options), timeout)

    def state(self, task_id: str) -> str:
        found: str = self._ask("state", task_id)
        return found

    def close(self) -> None:
        self._process.communicate(timeout=20)

    def _ask(self, *question: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        if "error" in answer:
            raise TaskFailedError(answer["error"])
        return answer["result"]


@dataclass
class System:
    """Starts workers and asks what became of their work."""

    folder: Path
    database: LiveDatabase
    environment: dict[str, str]
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start_worker(self, *options: str, concurrency: int = 2, **environment: str) -> subprocess.Popen[bytes]:
        """A worker that is ready."""
        [process] = self.start_workers(1, *options, concurrency=concurrency, **environment)
        return process

    def start_workers(
        self, number: int, *options: str, concurrency: int = 2, **environment: str
    ) -> list[subprocess.Popen[bytes]]:
        """So many at once; returns when all are ready."""
        first = len(self.running)
        for place in range(first, first + number):
            with (self.folder / f"worker-{place}.log").open("wb") as log:
                self.running.append(subprocess.Popen(
                    [sys.executable, "-m", "celery", "-A", "app.worker.celery_app", "worker", "--loglevel=info",
                     f"--concurrency={concurrency}", "-n", f"worker-{place}@%h", *options],
                    cwd=self.folder, env=self.environment | environment, stdout=log, stderr=log,
                ))  # fmt: skip
        started = self.running[first:]
        for place, process in enumerate(started, first):
            wait_until(lambda place=place: "worker ready" in self.log(place) or self.has_ended(place), _READY)  # type: ignore[misc]
            assert process.poll() is None, self.log(place)
        return started

    def has_ended(self, number: int) -> bool:
        return self.running[number].poll() is not None

    def control(self, number: int, command: str, **arguments: str) -> None:
        """Tells a worker something; returns when it has done it."""
        told = [f"worker-{number}@{socket.gethostname()}"]
        with Celery(broker=self.environment["CELERY_BROKER_URL"]) as app:
            answers = app.control.broadcast(
                command, destination=told, arguments=arguments, reply=True, timeout=10, limit=1
            )
        assert answers

    def log(self, number: int = 0) -> str:
        return (self.folder / f"worker-{number}.log").read_text()

    def children(self, worker: subprocess.Popen[bytes]) -> list[psutil.Process]:
        return psutil.Process(worker.pid).children()

    def busy_child(self, ingestor: str) -> psutil.Process:
        """The child that holds a start of the ingestor, as soon as one does."""
        found: list[psutil.Process] = []

        def look() -> bool:
            held = self.rows("SELECT worker FROM starts WHERE status = 'running' AND ingestor = :name", name=ingestor)
            found.extend(psutil.Process(int(row["worker"].rsplit(":", 2)[1])) for row in held)
            return bool(found)

        wait_until(look)
        return found[0]

    def rows(self, query: str, **parameters: Any) -> list[dict[str, Any]]:
        with self.database.transaction() as connection:
            return rows(connection, query, **parameters)

    def start_of(self, task_id: str) -> dict[str, Any]:
        return self.rows("SELECT * FROM starts WHERE id = :id", id=task_id)[0]

    def starts(self, ingestor: str) -> list[dict[str, Any]]:
        return self.rows("SELECT * FROM starts WHERE ingestor = :name ORDER BY created_at", name=ingestor)

    def stop(self) -> None:
        for process in self.running:
            if process.poll() is None:
                everyone = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
                for each in everyone:
                    each.send_signal(signal.SIGKILL)
                process.wait(timeout=20)


@contextmanager
def system(folder: Path, database_url: str, **environment: str) -> Iterator[System]:
    """Redis and a database; workers are started by the test, and ended after it."""
    (folder / "redis").mkdir()
    with redis_server(folder / "redis") as url:
        variables = os.environ | {
            "DATABASE_URL": database_url, "DATA_DIR": str(folder), "CELERY_BROKER_URL": f"{url}/0",
            "CELERY_RESULT_BACKEND": f"{url}/1", "PYTHONPATH": str(ROOT), "LOG_LEVEL": "info", **environment,
        }  # fmt: skip
        database = LiveDatabase(database_url)
        running = System(folder, database, variables)
        try:
            yield running
        finally:
            running.stop()
            database.engine.dispose()


def wait_until(is_so: Callable[[], bool], timeout: float = 20.0) -> None:
    deadline = time.monotonic() + timeout
    while not is_so():
        assert time.monotonic() < deadline, "it did not come to pass in time"
        time.sleep(0.02)


def _answer(question: list[Any]) -> Any:
    from app.worker.celery_app import celery_app

    celery_app.loader.import_default_modules()
    match question:
        case ["delay", str(task), list(args), dict(options)]:
            return celery_app.tasks[task].apply_async(args, **options).id
        case ["get", str(task_id), timeout]:
            return celery_app.AsyncResult(task_id).get(timeout=timeout)
        case ["state", str(task_id)]:
            return celery_app.AsyncResult(task_id).state
    raise ValueError(question)


def _serve() -> None:
    for line in sys.stdin:
        try:
            answer = {"result": _answer(json.loads(line))}
        except Exception as error:  # noqa: BLE001 - the test is told
            answer = {"error": f"{type(error).__name__}: {error}"}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _serve()

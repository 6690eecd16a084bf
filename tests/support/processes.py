"""Celery's commands as processes of their own."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from tests.acceptance.conftest import ROOT
from tests.support.redis import redis_server

T = TypeVar("T")
CELERY = Path(sys.executable).with_name("celery")


@dataclass
class Processes:
    """Starts Celery's commands in `folder`, with these variables as their environment."""

    folder: Path
    environment: dict[str, str]
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, *arguments: str, app: str = "app.worker.celery_app", **variables: str) -> "Process":
        log = self.folder / f"process-{len(self.running)}.log"
        with log.open("wb") as stderr:
            process = subprocess.Popen(
                [CELERY, "-A", app, *arguments],
                cwd=self.folder, env=self.environment | variables, stdout=subprocess.DEVNULL, stderr=stderr,
            )  # fmt: skip
        self.running.append(process)
        return Process(process, log)

    def stop(self) -> None:
        for process in self.running:
            process.send_signal(signal.SIGTERM)
        for process in self.running:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def call(self, task: str, *arguments: Any, app: str = "app.worker.celery_app") -> str:
        """Sends a task's message; returns the task's id."""
        command = [CELERY, "-A", app, "call", task, "--args", json.dumps(arguments)]
        done = subprocess.run(command, cwd=self.folder, env=self.environment, capture_output=True, check=True)
        return done.stdout.decode().strip()

    def worker(self, *options: str, app: str = "app.worker.celery_app", **variables: str) -> "Process":
        """A worker with one child that is ready."""
        process = self.start("worker", "--loglevel=info", "--concurrency=1", *options, app=app, **variables)
        until(lambda: "worker ready" in process.said() or process.ended())
        return process


@dataclass(frozen=True)
class Process:
    """One that was started, and what it says on stderr."""

    process: subprocess.Popen[bytes]
    log: Path

    def said(self) -> str:
        return self.log.read_text()

    def events(self, name: str | None = None) -> list[dict[str, Any]]:
        """What it logged; every line is an event."""
        found = [json.loads(line) for line in self.said().splitlines()]
        return [event for event in found if name in (None, event["event"])]

    def ended(self) -> bool:
        return self.process.poll() is not None

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)


@contextmanager
def processes(folder: Path, database_url: str) -> Iterator[Processes]:
    """Everything that was started is stopped when the block ends."""
    with redis_server(folder) as broker:
        environment = {
            "PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONPATH": str(ROOT), "DATABASE_URL": database_url,
            "CELERY_BROKER_URL": f"{broker}/0", "CELERY_RESULT_BACKEND": f"{broker}/1",
            "INGESTION_CONFIG_PATH": str(folder / "ingestion.yaml"), "DATA_DIR": str(folder / "data"),
        }  # fmt: skip
        (folder / "ingestion.yaml").write_text("ingestion: []")
        started = Processes(folder, environment)
        try:
            yield started
        finally:
            started.stop()


def until(found: Callable[[], T], seconds: float = 20) -> T:
    """What `found` finds, as soon as it finds something."""
    deadline = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)
    return value

"""The node's processes as an operator runs them, against servers of the test's own."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from tests.support.redis import redis_server

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
WORKER = ("celery", "-A", "app.worker.celery_app", "worker", "--loglevel=info", "--concurrency=1")
T = TypeVar("T")


def until(found: Callable[[], T], seconds: float = 30) -> T:
    """What `found` finds, as soon as it finds something."""
    deadline = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)
    return value


@dataclass
class Service:
    """A process that runs until it is told to end, in a session of its own; what it says goes to `log`."""

    process: subprocess.Popen[bytes]
    log: Path

    def said(self) -> str:
        return self.log.read_text()

    def says(self, told: str, seconds: float = 60) -> None:
        """Returns when it has said so."""
        until(lambda: told in self.said() or self.process.poll() is not None, seconds)
        assert told in self.said(), self.said()

    def end(self, signum: signal.Signals = signal.SIGTERM, seconds: float = 40) -> int:
        """Tells it to end; returns its exit code."""
        self.process.send_signal(signum)
        return self.process.wait(seconds)

    def kill(self) -> None:
        """Ends it with all it started."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(20)


@dataclass
class Services:
    """A folder to run things in, and what they find in their environment."""

    folder: Path
    environment: dict[str, str]
    running: list[Service] = field(default_factory=list)

    def start(self, *command: str) -> Service:
        log = self.folder / f"service-{len(self.running)}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                command, cwd=self.folder, env=self.environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                start_new_session=True,
            )  # fmt: skip
        self.running.append(Service(process, log))
        return self.running[-1]

    def worker(self, *options: str) -> Service:
        """A worker that is ready."""
        worker = self.start(*WORKER, *options)
        worker.says('"worker ready"')
        return worker

    def run(self, *command: str, seconds: float = 60) -> str:
        """What a command prints that has to succeed."""
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=seconds, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def python(self, program: str) -> str:
        return self.run("python", "-c", program)

    def end(self) -> None:
        for service in self.running:
            service.kill()


def environment(folder: Path, **variables: str) -> dict[str, str]:
    """What a process finds that has nothing of this one's settings."""
    own = {"PATH": f"{BIN}:{os.environ['PATH']}", "HOME": str(folder), "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    return own | variables


@contextmanager
def services(folder: Path, **variables: str) -> Iterator[Services]:
    """Services with a Redis of their own, and with nothing of this process's settings."""
    with redis_server(folder) as broker:
        urls = {"CELERY_BROKER_URL": f"{broker}/0", "CELERY_RESULT_BACKEND": f"{broker}/1"}
        found = Services(folder, environment(folder, **urls | variables))
        try:
            yield found
        finally:
            found.end()


def entries(*named: Sequence[str]) -> str:
    """An `ingestion.yaml` of local registries, each with a name."""
    return "ingestion:\n" + "".join(
        f"  - {{name: {name}, source_type: local, registry: {registry}}}\n" for name, registry in named
    )

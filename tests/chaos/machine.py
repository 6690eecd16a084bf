"""The processes of a node under fire: Redis, PostgreSQL, workers, beats; each can be killed and comes back."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import psutil

from app.db import embedded
from app.worker.child import _tie
from tests.support.redis import RedisServer

ROOT = Path(__file__).parents[2]
WORKERS, CONCURRENCY, BEATS = 3, 2, 2
LEASE = 5
SETTINGS = {
    "LEASE_SECONDS": str(LEASE), "RECOVERY_INTERVAL": "2", "FEED_CHECK_INTERVAL": "3", "RETRY_DELAY": "1",
    "EMBEDDING_UPDATE_INTERVAL": "15", "CLEANUP_INTERVAL": "20", "MAX_DELETE_FRACTION": "1", "LOG_LEVEL": "info",
}  # fmt: skip
_CELERY = [sys.executable, "-m", "celery", "-A", "app.worker.celery_app"]
_SCHEDULER = "--scheduler=app.worker.schedulers:DatabaseScheduler"


@dataclass
class Service:
    """A process that is to run, in a group of its own with its children; what it says goes to a file."""

    command: list[str]
    log: Path
    environment: dict[str, str]
    groups: list[int] = field(default_factory=list)  # all there ever were
    starts: int = 0
    process: subprocess.Popen[bytes] | None = None

    def keep_up(self) -> None:
        if self.process is None or self.process.poll() is not None:
            self.start()

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command, cwd=self.log.parent, env=self.environment, stdin=subprocess.DEVNULL, stdout=log,
                stderr=log, start_new_session=True, preexec_fn=_tie(os.getpid()),
            )  # fmt: skip
        self.groups.append(self.process.pid)
        self.starts += 1

    def kill(self, *, children: bool = True) -> None:
        """At once; without its children they are orphans."""
        if self.process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL) if children else self.process.kill()
            self.process.wait()

    def children(self) -> list[psutil.Process]:
        with suppress(psutil.NoSuchProcess):
            if self.process is not None and self.process.poll() is None:
                return psutil.Process(self.process.pid).children()
        return []

    def end(self, grace: float) -> None:
        """Asks it to end, and kills whatever is left of all its groups."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(grace)
        for group in self.groups:
            with suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)
        if self.process is not None:
            self.process.wait()


class Machine:
    """All of it, in a folder that the user PostgreSQL runs as can enter."""

    def __init__(self, folder: Path, config: Path) -> None:
        self.folder = folder
        self.redis = RedisServer(folder)
        self.data = folder / "data"
        self.url = ""
        self.workers: list[Service] = []
        self.beats: list[Service] = []
        self.stopped: list[tuple[float, psutil.Process]] = []
        self._config = config

    def start_servers(self) -> None:
        self.redis.start()
        self.url = embedded.start(self.data)

    @property
    def environment(self) -> dict[str, str]:
        """The settings of every process of the node."""
        return {
            **SETTINGS, "DATABASE_URL": self.url, "DATA_DIR": str(self.data),
            "INGESTION_CONFIG_PATH": str(self._config),
            "CELERY_BROKER_URL": f"{self.redis.url}/0", "CELERY_RESULT_BACKEND": f"{self.redis.url}/1",
        }  # fmt: skip

    def start_node(self) -> None:
        environment = {
            "PATH": os.environ["PATH"], "HOME": str(self.folder), "PYTHONPATH": str(ROOT), **self.environment,
        }  # fmt: skip
        for number in range(WORKERS):
            command = [*_CELERY, "worker", f"--concurrency={CONCURRENCY}", "-n", f"w{number}@%h", "--loglevel=info"]
            self.workers.append(Service(command, self.folder / f"worker-{number}.log", environment))
        for number in range(BEATS):
            command = [*_CELERY, "beat", _SCHEDULER, "--loglevel=info", f"--pidfile={self.folder / f'beat-{number}'}"]
            self.beats.append(Service(command, self.folder / f"beat-{number}.log", environment))
        self.keep_up()

    @property
    def services(self) -> list[Service]:
        return [*self.workers, *self.beats]

    def keep_up(self) -> None:
        """Starts what died again, and lets those go on that were stopped long enough."""
        for service in self.services:
            service.keep_up()
        now = time.monotonic()
        for due, process in self.stopped[:]:
            if due <= now:
                self.stopped.remove((due, process))
                with suppress(psutil.NoSuchProcess):
                    process.resume()

    def stop(self, process: psutil.Process, seconds: float) -> None:
        with suppress(psutil.NoSuchProcess):
            process.suspend()
            self.stopped.append((time.monotonic() + seconds, process))

    def child(self, random: Random, busy: set[int]) -> psutil.Process | None:
        """A child of a worker; rather one of those that are at work."""
        found = [child for worker in self.workers for child in worker.children()]
        working = [child for child in found if child.pid in busy]
        chosen = working if working and random.random() < 0.8 else found
        return random.choice(chosen) if chosen else None

    def kill_database(self) -> None:
        """As a power cut would: the postmaster and all of its children."""
        with suppress(FileNotFoundError, psutil.NoSuchProcess):
            pid = int((self.data / "postgres" / "postmaster.pid").read_text().split()[0])
            postmaster = psutil.Process(pid)
            postmaster.suspend()  # or it would start new ones
            everyone = [postmaster, *postmaster.children()]
            for process in everyone:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            psutil.wait_procs(everyone, timeout=10)

    def start_database(self) -> None:
        self.url = embedded.start(self.data)

    def end_beats(self) -> None:
        for beat in self.beats:
            beat.end(5.0)
        self.beats.clear()

    def end_node(self, grace: float = 15.0) -> None:
        self.keep_awake()
        for service in self.services:
            if service.process is not None and service.process.poll() is None:
                service.process.terminate()
        for service in self.services:
            service.end(grace)

    def keep_awake(self) -> None:
        """Lets all go on that are stopped."""
        for _, process in self.stopped:
            with suppress(psutil.NoSuchProcess):
                process.resume()
        self.stopped.clear()

    def end(self) -> None:
        """Nothing of it runs afterwards."""
        self.end_node(grace=0.0)
        self.redis.kill()
        self.kill_database()

    def left(self) -> list[str]:
        """What still runs of it, by command line."""
        found = []
        for process in psutil.process_iter(["pid", "cmdline", "environ", "status"]):
            words = [*(process.info["cmdline"] or []), *(process.info["environ"] or {}).values()]
            is_alive = process.pid != os.getpid() and process.info["status"] != psutil.STATUS_ZOMBIE
            if is_alive and any(str(self.folder) in word for word in words):
                found.append(f"{process.pid} {' '.join(process.info['cmdline'] or [])}")
        return found

"""`up` as a user runs it: real processes, killed for real."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TypeVar
from urllib.request import urlopen

import psutil
import pytest
import redis
from celery import Celery
from kombu.exceptions import OperationalError

from app.worker.child import Child
from app.worker.redis_server import executable
from app.worker.supervisor import ChildFailedError, Supervisor
from tests.acceptance.conftest import COMMAND, ROOT

T = TypeVar("T")
PASSWORD = "open/sesame #1"  # noqa: S105 - of a Redis that lives for seconds
QUOTED = "open%2Fsesame%20%231"


def until(found: Callable[[], T], seconds: float = 20) -> T:
    """What `found` finds, as soon as it finds something."""
    deadline = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)
    return value


def lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def listens(port: int) -> bool:
    with socket.socket() as asking:
        return asking.connect_ex(("127.0.0.1", port)) == 0


def free_ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]


class Machine:
    """A folder with an `ingestion.yaml`, free ports, and the `up` that runs there."""

    def __init__(self, folder: Path) -> None:
        self.port, self.api_port = free_ports()
        self.folder = folder
        (folder / "ingestion.yaml").write_text(
            "ingestion: [{name: brand, source_type: local, registry: registry.json}]", encoding="utf-8"
        )
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "PYTHONPATH": str(ROOT),
            "CELERY_BROKER_URL": f"redis://127.0.0.1:{self.port}/0",
            "CELERY_RESULT_BACKEND": f"redis://127.0.0.1:{self.port}/1",
            "API_PORT": str(self.api_port),
            "API_WORKERS": "2",
        }
        self.processes: list[subprocess.Popen[bytes]] = []

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The `up` that was started last."""
        return self.processes[-1]

    def protect(self) -> None:
        """Gives its Redis a password."""
        for variable in ("CELERY_BROKER_URL", "CELERY_RESULT_BACKEND"):
            self.environment[variable] = self.environment[variable].replace("127", f":{QUOTED}@127", 1)

    def up(self) -> None:
        """Starts it; returns when its worker says that it is ready."""
        self._start()
        until(lambda: self.is_ready(1), 60)

    def is_ready(self, times: int) -> bool:
        """Whether workers said so, one after the other, so many times."""
        return self.said().count("worker ready") == times

    def refused(self) -> str:
        """What a further `up` says that must not come up."""
        self._start()
        code, said = self.process.wait(60), self.said()
        self.processes.pop()
        assert code in {1, 2}, said
        assert "Traceback" not in said
        return said

    def end(self, signum: signal.Signals) -> int:
        """Tells it to end; returns its exit code."""
        self.process.send_signal(signum)
        return self.process.wait(60)

    def said(self) -> str:
        """All that it printed."""
        return self._output().read_text()

    def worker(self) -> int | None:
        """The process that answers when Celery asks from outside."""
        if not listens(self.port):
            return None
        try:
            with Celery(broker=self.environment["CELERY_BROKER_URL"]) as asking:
                answers = asking.control.inspect(timeout=0.5).stats() or {}
        except (redis.RedisError, OperationalError):  # its Redis is just starting
            return None
        return next((answer["pid"] for answer in answers.values()), None)

    def child(self, what: str) -> psutil.Process | None:
        """The one of its children whose command line has this word."""
        return next((each for each in self._itself().children() if what in " ".join(each.cmdline())), None)

    def family(self) -> list[psutil.Process]:
        """Itself and all it started."""
        return [self._itself(), *self._itself().children(recursive=True)]

    def postgres(self) -> psutil.Process | None:
        try:
            mark = (self.folder / "data/postgres/postmaster.pid").read_text()
            found = psutil.Process(int(mark.split()[0]))
        except (FileNotFoundError, IndexError, psutil.NoSuchProcess):
            return None
        return found if lives(found) else None

    def _itself(self) -> psutil.Process:
        return psutil.Process(self.process.pid)

    def _output(self) -> Path:
        return self.folder / f"output-{len(self.processes)}"

    def _start(self) -> None:
        with (self.folder / f"output-{len(self.processes) + 1}").open("w") as output:
            self.processes.append(
                subprocess.Popen(
                    [COMMAND, "up", "--concurrency", "1"],
                    cwd=self.folder, env=self.environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                )
            )  # fmt: skip


@pytest.fixture
def machine() -> Iterator[Machine]:
    """One in an empty folder that the user PostgreSQL runs as can enter; when the test is over nothing runs there."""
    folder = Path(tempfile.mkdtemp(prefix="node-up-"))
    machine = Machine(folder)
    yield machine
    for process in machine.processes:
        process.kill()
        process.wait()
    for process in psutil.process_iter(["cwd", "cmdline"]):
        if str(folder) in [process.info["cwd"], *(process.info["cmdline"] or [])]:
            with suppress(psutil.NoSuchProcess):
                process.kill()
    shutil.rmtree(folder, ignore_errors=True)


def test_what_dies_comes_back_and_nothing_outlives_a_killed_one(machine: Machine) -> None:
    machine.protect()
    machine.up()
    first, server, database = until(machine.worker), machine.child("redis-server"), machine.postgres()
    assert first
    assert server
    assert database
    printed = machine.said()
    assert "Ctrl-C" in printed
    assert "embedded PostgreSQL" in printed
    until(lambda: listens(machine.api_port))
    with redis.Redis(port=machine.port) as stranger, pytest.raises(redis.AuthenticationError):
        stranger.ping()
    assert f"as process {machine.process.pid}" in machine.refused()  # a second one

    os.kill(first, signal.SIGKILL)
    until(lambda: machine.is_ready(2))
    second = until(machine.worker)
    assert second != first
    database.kill()
    until(lambda: (running := machine.postgres()) and running != database)
    server.kill()
    until(lambda: not listens(machine.port))
    until(lambda: listens(machine.port))
    assert until(machine.worker) == second
    said = machine.said()
    assert "SIGKILL" in said
    assert "Traceback" not in said.partition("child.died")[0]
    assert PASSWORD not in said
    assert QUOTED not in said

    family = machine.family()
    assert not [each for each in family if PASSWORD in (line := " ".join(each.cmdline())) or QUOTED in line]
    with urlopen(f"http://127.0.0.1:{machine.api_port}/readyz", timeout=20) as answer:
        assert answer.status == 200
    assert len([each for each in family if "celery" in each.cmdline()]) >= 3  # the worker, its child, beat
    machine.end(signal.SIGKILL)
    until(lambda: not [each for each in family if lives(each)], 10)
    assert not listens(machine.port)
    assert not listens(machine.api_port)

    machine.up()
    family = machine.family()
    assert machine.end(signal.SIGINT) == 0
    assert not [each for each in family if lives(each)]
    assert not listens(machine.port)
    assert machine.postgres() is None  # though the killed one never left it


def test_a_place_of_the_api_that_is_taken_is_named(machine: Machine) -> None:
    with socket.create_server(("127.0.0.1", machine.api_port)):
        assert f"127.0.0.1:{machine.api_port}" in machine.refused()
    assert not (machine.folder / "data/postgres").exists()


def test_a_redis_that_runs_is_joined_and_left_alone(machine: Machine, database_url: str) -> None:
    machine.environment["DATABASE_URL"] = database_url
    options = f"--port {machine.port} --bind 127.0.0.1 --dir {machine.folder} --appendonly no"
    with subprocess.Popen([executable(), *options.split()], stdout=subprocess.DEVNULL) as other:
        until(lambda: listens(machine.port))
        machine.up()
        assert machine.child("redis-server") is None
        assert "left alone" in machine.said()
        assert machine.end(signal.SIGTERM) == 0
        assert listens(machine.port)
        other.terminate()


def test_what_listens_and_is_no_redis_is_named(machine: Machine) -> None:
    machine.protect()
    with socket.create_server(("127.0.0.1", machine.port)):
        said = machine.refused()
    assert f"127.0.0.1:{machine.port}" in said
    assert "no Redis" in said
    assert QUOTED not in said
    assert not (machine.folder / "data/postgres").exists()


@pytest.mark.parametrize(
    ("variable", "url", "told"),
    [
        ("CELERY_BROKER_URL", "amqp://me:secret@127.0.0.1:1//", "does not answer"),
        ("CELERY_BROKER_URL", "redis://:secret@127.0.0.1:port/0", "is not the URL of a Redis"),
        ("CELERY_BROKER_URL", "carrier://pigeon:secret@127.0.0.1", "no broker that is known"),
        ("CELERY_RESULT_BACKEND", "redis://:secret@127.0.0.1:1/1", "Nothing answers at 127.0.0.1:1"),
    ],
)
def test_a_broker_that_cannot_be_started_is_an_error(machine: Machine, variable: str, url: str, told: str) -> None:
    machine.environment[variable] = url
    said = machine.refused()
    assert told in said
    assert "secret" not in said


def test_one_that_never_runs_ends_all() -> None:
    """With what it said, and with those that did run."""
    steady = Child("steady", [sys.executable, "-c", "import time; time.sleep(600)"])
    broken = Child("broken", [sys.executable, "-c", "print('no such thing'); raise SystemExit(3)"])
    with pytest.raises(ChildFailedError, match="broken ended 5 times within a minute, last with exit 3") as caught:
        Supervisor([broken], [steady], first_pause=0.01).run()
    assert caught.value.last_words == ["no such thing"]
    assert not steady.runs()

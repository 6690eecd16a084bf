"""Beats as a user runs them: processes of their own, with a real Redis, one database between them."""

import json
import os
import signal
import subprocess
import sys
import time
from base64 import b64decode
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
from sqlalchemy import create_engine

from app.db.session import LiveDatabase
from tests.acceptance.conftest import ROOT
from tests.support.nodes import rows
from tests.support.redis import redis_server

CELERY = Path(sys.executable).with_name("celery")
DATABASE = "--scheduler=app.worker.schedulers:DatabaseScheduler"
QUEUES = ("control", "ingest", "embed")
ENTRY = "ingestion: [{{name: acme, source_type: local, feed_path: {feed}, schedule: '0 4 29 2 *'}}]"
PERIOD = timedelta(seconds=2)  # of the schedule that the tests watch
SOON = 5.0  # seconds in which a change takes effect


@dataclass
class Beats:
    """Starts beats, changes what they follow, and reads what they sent."""

    folder: Path
    broker: str
    database: LiveDatabase
    environment: dict[str, str]
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, *options: str, app: str = "tests.support.beat_app") -> subprocess.Popen[bytes]:
        with (self.folder / f"beat-{len(self.running)}.log").open("wb") as log:
            process = subprocess.Popen(
                [CELERY, "-A", app, "beat", "--loglevel=INFO", *options],
                cwd=self.folder, env=self.environment, stdout=log, stderr=log,
            )  # fmt: skip
        self.running.append(process)
        return process

    def log(self, number: int) -> str:
        return (self.folder / f"beat-{number}.log").read_text()

    def asked(self, number: int) -> int:
        """How often that beat found the schedule `recover` due."""
        path = self.folder / f"asked-{self.running[number].pid}"
        return path.read_text().splitlines().count("recover") if path.exists() else 0

    def stop(self) -> None:
        for process in self.running:
            process.terminate()
        for process in self.running:
            process.wait(timeout=20)

    def ingestion(self, text: str) -> None:
        (self.folder / "ingestion.yaml").write_text(text)

    def execute(self, statement: str) -> None:
        with self.database.transaction() as connection:
            connection.exec_driver_sql(statement)

    @contextmanager
    def no_database(self) -> Iterator[None]:
        """Ends all connections, and refuses new ones until the block ends."""
        url = self.database.engine.url
        server = create_engine(url.set(database="postgres"), isolation_level="AUTOCOMMIT")
        with server.connect() as connection:
            connection.exec_driver_sql(f"ALTER DATABASE {url.database} ALLOW_CONNECTIONS false")
            connection.exec_driver_sql(
                f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{url.database}'"
            )
            yield
            connection.exec_driver_sql(f"ALTER DATABASE {url.database} ALLOW_CONNECTIONS true")
        server.dispose()

    def schedule(self, name: str) -> dict[str, Any]:
        """The row of that name."""
        with self.database.transaction() as connection:
            found = rows(connection, "SELECT * FROM schedules WHERE name = :name", name=name)
        return found[0] if found else {}

    def messages(self, name: str) -> list[tuple[datetime, list[Any]]]:
        """Slot and arguments of what was sent for that schedule."""
        with redis.Redis.from_url(self.broker) as client:
            sent = [json.loads(raw) for queue in QUEUES for raw in client.lrange(queue, 0, -1)]
        return sorted(
            (datetime.fromisoformat(message["headers"]["due"]), json.loads(b64decode(message["body"]))[0])
            for message in sent
            if message["headers"]["slot"]["name"] == name
        )

    def slots(self, name: str) -> list[datetime]:
        return [due for due, _ in self.messages(name)]


@pytest.fixture
def beats(tmp_path: Path, database: LiveDatabase, database_url: str) -> Iterator[Beats]:
    with redis_server(tmp_path) as broker:
        environment = {
            "PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(ROOT), "DATABASE_URL": database_url,
            "CELERY_BROKER_URL": f"{broker}/0", "CELERY_RESULT_BACKEND": f"{broker}/1",
            "RECOVERY_INTERVAL": str(int(PERIOD.total_seconds())),
        }  # fmt: skip
        beats = Beats(tmp_path, broker, database, environment)
        beats.ingestion(ENTRY.format(feed="one.json"))
        yield beats
        beats.stop()


def eventually(condition: Callable[[], object], within: float = SOON) -> None:
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def mid_period() -> None:
    """Waits until no beat has anything to do."""
    into = time.time() % PERIOD.total_seconds()
    time.sleep((PERIOD.total_seconds() * 1.5 - into) % PERIOD.total_seconds())


def is_each_once(slots: list[datetime]) -> bool:
    return max(Counter(slots).values()) == 1


def test_two_beats_start_each_run_once_and_follow_every_change(beats: Beats) -> None:
    first, second = beats.start(DATABASE), beats.start(DATABASE)
    eventually(lambda: beats.asked(0) and beats.asked(1), within=20)

    # An operator's change, and then one of the file that seeded the row.
    beats.execute("UPDATE schedules SET cron = NULL, every = 1, args = '[\"other\"]' WHERE name = 'ingest-all-acme'")
    eventually(lambda: beats.messages("ingest-all-acme"))
    assert beats.messages("ingest-all-acme")[-1][1] == ["other"]
    beats.ingestion(ENTRY.format(feed="two.json"))
    eventually(lambda: beats.schedule("ingest-all-acme")["cron"] == "0 4 29 2 *")
    assert beats.schedule("ingest-all-acme")["args"] == ["acme", "local", None, "two.json"]

    # Wrong changes harm none but themselves.
    beats.ingestion("ingestion: [{name: acme, colour: red}]")
    beats.execute("INSERT INTO schedules (name, task, cron) VALUES ('odd', 'ingest:recover', '61 * * * *')")
    beats.execute("INSERT INTO schedules (name, task, every) VALUES ('odder', 'ingest:nothing', 1)")
    for told in ("field colour", "minute field '61'", "no task 'ingest:nothing'"):
        eventually(lambda told=told: told in beats.log(0) and told in beats.log(1))
    changed = beats.slots("ingest-all-acme")

    mid_period()
    first.send_signal(signal.SIGKILL)
    killed = datetime.now(UTC)
    eventually(lambda: beats.slots("recover")[-1] > killed + PERIOD, within=10)
    assert second.poll() is None
    slots = beats.slots("recover")
    assert slots == [slots[0] + number * PERIOD for number in range(len(slots))]
    assert is_each_once(changed)
    assert beats.slots("ingest-all-acme") == changed
    assert beats.slots("odd") == beats.slots("odder") == []


def test_beats_of_both_kinds_start_each_run_once(beats: Beats) -> None:
    beats.environment["RECOVERY_INTERVAL"] = "1"
    plain, _ = beats.start(), beats.start(DATABASE)
    eventually(lambda: beats.asked(0) >= 3 and beats.asked(1) >= 3, within=20)
    plain.terminate()
    assert plain.wait(timeout=20) == 0
    assert list((beats.folder / "data").glob("celerybeat-schedule*"))
    assert is_each_once(beats.slots("recover"))


def test_a_missed_run_is_started_once_and_a_lost_database_is_waited_for(beats: Beats) -> None:
    missed = (datetime.now(UTC) - timedelta(minutes=30)).replace(second=0, microsecond=0)
    beats.execute("INSERT INTO schedules (name, task, cron, updated_at) VALUES "
                  f"('missed', 'ingest:recover', '{missed.minute} * * * *', now() - interval '3 hours')")  # fmt: skip
    beats.start(DATABASE)
    eventually(lambda: beats.slots("missed"), within=20)

    with beats.no_database():
        for told in ("due run not sent", "schedule kept as it was"):
            eventually(lambda told=told: told in beats.log(0))
    eventually(lambda: "followed again" in beats.log(0))

    beats.stop()
    assert beats.running[0].returncode == 0
    again = datetime.now(UTC)
    beats.start(DATABASE)
    eventually(lambda: beats.slots("recover")[-1] > again, within=20)
    assert is_each_once(beats.slots("recover"))
    assert beats.slots("missed") == [missed]


@pytest.mark.parametrize(
    "text", [None, "ingestion: [{name: acme, source_type: local, feed_path: f, schedule: 0 0 30 2 *}]"]
)
def test_plain_beat_says_shortly_what_is_wrong_with_its_file(beats: Beats, text: str | None) -> None:
    (beats.folder / "ingestion.yaml").unlink()
    if text is not None:
        beats.ingestion(text)
    assert beats.start(app="app.worker.celery_app").wait(timeout=30) == 1
    assert "error: ingestion.yaml" in beats.log(0)
    assert "Traceback" not in beats.log(0)

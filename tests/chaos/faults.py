"""Does what the plan says, to a node that must bear it."""

import logging
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from uuid import uuid4

import redis
from celery.exceptions import TimeoutError as NoAnswerError
from kombu.exceptions import OperationalError

from app.core.errors import DiscoveryNodeError
from tests.chaos.callers import Callers
from tests.chaos.ledger import Ledger
from tests.chaos.machine import LEASE, Machine
from tests.chaos.publishers import ENTRIES, Publishers

_MERGE_WAIT = 3.0  # seconds that a merge is waited for, to kill the database in the middle of it

log = logging.getLogger("chaos")


@dataclass
class Chaos:
    """What was done so far, and who waits for the end of something."""

    machine: Machine
    ledger: Ledger
    publishers: Publishers
    done: Counter[str] = field(default_factory=Counter)
    missed: Counter[str] = field(default_factory=Counter)
    callers: Callers = field(default_factory=Callers)
    in_mid_merge: int = 0

    def do(self, kind: str, random: Random) -> None:
        """Does one thing; one that finds nobody to do it to is missed."""
        done = _ACTIONS[kind](self, random)
        (self.done if done else self.missed)[kind] += 1

    def start(self, random: Random, entry: dict[str, str] | None = None) -> None:
        """Starts an ingestor as any program would that uses the node's tasks."""
        from app.worker.tasks.ingest import ingest_all

        try:
            result = ingest_all.delay(*_arguments(entry or random.choice(ENTRIES)))
        except (DiscoveryNodeError, OperationalError, redis.RedisError) as error:
            log.info("refused: %r", error)
            self.done["refused starts"] += 1
            return
        self.callers.accept(result.id, is_written=self._is_known(result.id))

    def answer(self, random: Random) -> str | None:
        """Asks for an ingestion and waits for its end, as if nothing had been; what was wrong with it."""
        from app.worker.tasks.ingest import ingest_all

        result = ingest_all.delay(*_arguments(random.choice(ENTRIES)))
        self.callers.accept(result.id, is_written=self._is_known(result.id))
        try:
            report = result.get(timeout=30)
        except NoAnswerError:
            return "an ingestion after the end gave no answer"
        return None if report["status"] == "success" else f"an ingestion after the end: {report}"

    def _is_known(self, start_id: str) -> bool:
        return bool(self.ledger.seen("SELECT 1 FROM starts WHERE id = %s::uuid", start_id))


def _arguments(entry: dict[str, str]) -> list[str | None]:
    return [entry["name"], "local", entry.get("registry"), entry.get("feed_path")]


def _kill_child(chaos: Chaos, random: Random) -> bool:
    child = chaos.machine.child(random, chaos.ledger.busy())
    if child is not None:
        child.kill()
    return child is not None


def _kill_worker(chaos: Chaos, random: Random) -> bool:
    random.choice(chaos.machine.workers).kill()
    return True


def _orphan_children(chaos: Chaos, random: Random) -> bool:
    """What the children of a killed worker are at, they end or not."""
    random.choice(chaos.machine.workers).kill(children=False)
    return True


def _kill_beat(chaos: Chaos, random: Random) -> bool:
    random.choice(chaos.machine.beats).kill()
    return True


def _stop_child(chaos: Chaos, random: Random) -> bool:
    """For longer than its lease: it goes on as if nothing had happened."""
    child = chaos.machine.child(random, chaos.ledger.busy())
    if child is not None:
        chaos.machine.stop(child, LEASE + random.uniform(0.5, 3.0))
    return child is not None


def _flush_redis(chaos: Chaos, random: Random) -> bool:
    with chaos.callers.losing(), redis.Redis(port=chaos.machine.redis.port, socket_timeout=5) as client:
        client.flushall()
    return True


def _restart_redis(chaos: Chaos, random: Random) -> bool:
    with chaos.callers.losing():
        chaos.machine.redis.kill()
    if random.random() < 0.5:
        chaos.start(random)
    time.sleep(random.uniform(0.0, 1.0))
    chaos.machine.redis.start()
    return True


def _restart_database(chaos: Chaos, random: Random) -> bool:
    """In the middle of a merge, when there is one soon after a publication."""
    chaos.publishers.publish(random)
    chaos.start(random)
    deadline = time.monotonic() + _MERGE_WAIT
    while not (merging := chaos.ledger.is_merging()) and time.monotonic() < deadline:
        time.sleep(0.002)
    chaos.machine.kill_database()
    chaos.in_mid_merge += merging
    chaos.ledger.close()
    if random.random() < 0.5:
        chaos.start(random)
    time.sleep(random.uniform(0.0, 1.5))
    chaos.machine.start_database()
    return True


def _duplicate_messages(chaos: Chaos, random: Random) -> bool:
    """Old messages again, out of order, those of starts that are over among them; the same message twice; and one of a
    start that the ledger does not know."""
    from app.worker.celery_app import celery_app

    old = random.sample(list(chaos.callers.accepted), min(3, len(chaos.callers.accepted)))
    new = str(uuid4())
    arguments = _arguments(random.choice(ENTRIES))
    found = chaos.ledger.seen("SELECT id::text, task, arguments FROM starts WHERE id = ANY(%s::uuid[])", old)
    known = {row["id"]: row for row in found}
    try:
        for start_id in old:
            if start_id in known:
                row = known[start_id]
                celery_app.send_task(row["task"], kwargs=row["arguments"], task_id=start_id)
        for _ in range(2):
            celery_app.send_task("ingest:all", args=arguments, task_id=new)
    except (OperationalError, redis.RedisError) as error:
        log.info("not sent: %r", error)
        return False
    return True


def _publish(chaos: Chaos, random: Random) -> bool:
    log.info("published %s", chaos.publishers.publish(random))
    return True


def _publish_at_large(chaos: Chaos, random: Random) -> bool:
    chaos.publishers.publish_at_large(random)
    return True


def _register(chaos: Chaos, random: Random) -> bool:
    """Nobody looks at registries but the schedules, and whoever is told."""
    chaos.publishers.write_registries(random.randrange(1000))
    for entry in ENTRIES:
        chaos.start(random, entry)
    return True


def _start(chaos: Chaos, random: Random) -> bool:
    chaos.start(random)
    return True


_ACTIONS: dict[str, Callable[[Chaos, Random], bool]] = {
    "kill child": _kill_child,
    "kill worker": _kill_worker,
    "orphan children": _orphan_children,
    "kill beat": _kill_beat,
    "stop child": _stop_child,
    "flush redis": _flush_redis,
    "restart redis": _restart_redis,
    "restart database": _restart_database,
    "duplicate messages": _duplicate_messages,
    "publish": _publish,
    "publish at large": _publish_at_large,
    "publish registries": _register,
    "start": _start,
}

"""`python -m tests.chaos --seed N --kills N`: exit code 1 when anything was lost, done twice, or is not as it would be
without the faults."""

import argparse
import logging
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import structlog

from app.db import schema
from app.db.session import LiveDatabase
from tests.chaos import accounts, plan, verdict
from tests.chaos.faults import Chaos
from tests.chaos.ledger import AUDIT, Ledger
from tests.chaos.machine import Machine
from tests.chaos.plan import Event
from tests.chaos.publishers import Publishers

_MARGIN = 420  # seconds beside those of the plan, after which all is given up

log = logging.getLogger("chaos")


def main() -> int:
    arguments = _arguments()
    logging.basicConfig(format="%(asctime)s %(message)s", level="WARNING")
    logging.getLogger("chaos").setLevel("INFO" if arguments.verbose else "WARNING")
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    events = plan.make(arguments.seed, arguments.kills, arguments.pace, arguments.minutes)
    signal.signal(signal.SIGTERM, _interrupted)
    signal.signal(signal.SIGALRM, _interrupted)
    signal.alarm(int(events[-1].at * 2) + _MARGIN)
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    publishers = Publishers(folder / "publishers")
    machine = Machine(folder, publishers.config)
    wrong = ["it did not come to an end"]
    try:
        machine.start_servers()
        # The tasks that this process sends are those of a program with the node's settings.
        os.environ.update(machine.environment)
        wrong = _play(machine, publishers, events, arguments.seed)
    finally:
        signal.alarm(0)
        _within(30, machine.end)
        if left := machine.left():
            wrong.append(f"still running: {left}")
        if wrong:
            print("\n".join(["", *wrong[:40], f"FAILED; what everyone said is in {folder}"]))
        else:
            shutil.rmtree(folder, ignore_errors=True)
    return 1 if wrong else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kills", type=int, default=200, help="processes of workers and beats that are killed")
    parser.add_argument("--pace", type=float, default=1.0, help="seconds from one fault to the next")
    parser.add_argument("--minutes", type=float, help="how long it takes, in place of --pace")
    parser.add_argument("--verbose", action="store_true", help="tell of each fault")
    return parser.parse_args()


def _play(machine: Machine, publishers: Publishers, events: list[Event], seed: int) -> list[str]:
    """The whole play; returns what is wrong in the end."""
    ledger = _prepared(machine)
    chaos = Chaos(machine, ledger, publishers)
    publishers.publish_first(events[0].random)
    machine.start_node()
    _wait_until_ready(ledger)
    seconds = _do_all(chaos, events)
    began = time.monotonic()
    machine.keep_awake()
    clean = verdict.ingest_clean(machine, publishers)
    rested, missing = verdict.rest(chaos, Ledger(str(clean.engine.url)), began)
    missing = missing or chaos.answer(events[0].random)
    verdict.settle(machine, ledger)
    account = accounts.account(ledger, chaos.callers)
    wrong = ([missing] if missing else []) + account.wrong + list(verdict.faults(chaos, clean))
    clean.engine.dispose()
    told = {
        "starts that callers asked for": verdict.told(account.ends),
        "their callers": verdict.told(account.answers),
        "seed": str(seed), "seconds under fire": f"{seconds:.0f}", "seconds to rest": f"{rested:.1f}",
        "verdict": "FAILED" if wrong else "as a clean ingestion",
    }  # fmt: skip
    _print(chaos, verdict.figures(ledger) | told)
    for line, number in verdict.errors(machine.folder).most_common(15):
        log.info("traceback, %d times: %s", number, line)
    ledger.close()
    return wrong


def _prepared(machine: Machine) -> Ledger:
    database = LiveDatabase(machine.url)
    schema.upgrade(database)
    database.engine.dispose()
    ledger = Ledger(machine.url)
    ledger.rows(AUDIT)
    return ledger


def _wait_until_ready(ledger: Ledger) -> None:
    """Until the first check has started the first ingestion."""
    deadline = time.monotonic() + 60
    while not ledger.seen("SELECT 1 FROM starts") and time.monotonic() < deadline:
        time.sleep(0.1)


def _do_all(chaos: Chaos, events: list[Event]) -> float:
    """Each event when it is due, or as soon after that as those before it are done."""
    began, late = time.monotonic(), 0.0
    for event in events:
        while (wait := event.at + late - (time.monotonic() - began)) > 0:
            chaos.machine.keep_up()
            chaos.callers.ask()
            time.sleep(min(wait, 0.1))
        late = max(late, time.monotonic() - began - event.at)
        log.info("%s", event.kind)
        chaos.do(event.kind, event.random)
        chaos.machine.keep_up()
    return time.monotonic() - began


def _print(chaos: Chaos, figures: dict[str, str]) -> None:
    missed = {kind: f" ({number} found nobody)" for kind, number in chaos.missed.items()}
    rows = {kind: f"{chaos.done[kind]}{missed.get(kind, '')}" for kind in (*plan.FAULTS, *plan.NO_FAULTS)}
    kills = sum(chaos.done[kind] for kind in plan.KILLS)
    rows |= {
        "killed in all": str(kills),
        "databases restarted in mid-merge": str(chaos.in_mid_merge),
        "starts refused for want of broker and ledger": str(chaos.done["refused starts"]),
        "starts sent without a ledger": str(len(chaos.callers.unwritten)),
    }
    rows |= figures
    width = max(len(name) for name in rows)
    print("\n".join(f"{name:<{width}}  {value}" for name, value in rows.items()), flush=True)


def _interrupted(signum: int, _frame: FrameType | None) -> None:
    raise SystemExit(f"ended by {signal.Signals(signum).name}")


def _within(seconds: int, end: Callable[[], None]) -> None:
    """Not disturbed by a second Ctrl-C, and not for ever."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.alarm(seconds)
    end()
    signal.alarm(0)


if __name__ == "__main__":
    sys.exit(main())

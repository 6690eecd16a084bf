"""The ledger: one run of an organization at a time, leases, fencing, and what lost workers leave behind."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from app.core import process
from app.db.session import DatabaseUnavailableError, LiveDatabase
from app.db.staging import StagingTables, leftovers
from app.ingestors.handlers.registry import RegistryHandler
from app.ingestors.sources.local import LocalSource
from app.services import counters, losses, messages, runs, starts
from app.services.messages import Wanted
from app.services.runs import OrganizationBusyError, Run
from app.services.starts import Ended, LeaseLostError, Start
from tests.support.feeds import FeedFolder

LEASE = 60.0


@pytest.fixture
def organization(database: LiveDatabase) -> int:
    return add_organization(database, "urn:cmp:org:a")


def add_organization(database: LiveDatabase, urn: str) -> int:
    with database.transaction() as connection:
        identity: int = connection.execute(
            text("INSERT INTO organizations (urn, ingestor, is_stub) VALUES (:urn, 'a', true) RETURNING id"),
            {"urn": urn},
        ).scalar_one()
    return identity


@pytest.fixture
def start(database: LiveDatabase) -> Iterator[Start]:
    """A start of the command line."""
    with starts.opened(database, "a", LEASE) as start:
        yield start


@pytest.fixture
def held(database: LiveDatabase, start: Start, organization: int) -> Iterator[Run]:
    with runs.claimed(database, start, organization) as run:
        yield run


def wanted(*arguments: str, task: str = "ingest:all", **changes: object) -> Wanted:
    return Wanted(uuid4(), task, "a", {"args": list(arguments), "kwargs": {}}, **changes)  # type: ignore[arg-type]


def record(database: LiveDatabase, wanted: Wanted) -> bool:
    with database.transaction() as connection:
        return messages.record(connection, wanted)


def claim(database: LiveDatabase, wanted: Wanted) -> Start | Ended | None:
    return starts.claim(database, wanted, lease=LEASE, max_failures=3)


def claimed(database: LiveDatabase, wanted: Wanted) -> Start:
    start = claim(database, wanted)
    assert isinstance(start, Start)
    return start


def row(database: LiveDatabase, start_id: UUID) -> dict[str, object]:
    with database.transaction() as connection:
        found = connection.execute(text("SELECT * FROM starts WHERE id = :id"), {"id": start_id}).one()
    return dict(found._mapping)


def change(database: LiveDatabase, start_id: UUID, values: str) -> None:
    """As if time had passed, or the worker were another."""
    with database.transaction() as connection:
        connection.execute(text(f"UPDATE starts SET {values} WHERE id = :id"), {"id": start_id})


def lose(database: LiveDatabase, start_id: UUID) -> None:
    change(database, start_id, "worker = 'elsewhere:1:1', lease_expires_at = now() - interval '1 second'")


def due(database: LiveDatabase, *, idle: bool = True) -> list[UUID]:
    with database.transaction() as connection:
        return [each.id for each in messages.due(connection, idle=idle)]


def interrupted(database: LiveDatabase, start: Start, organization: int) -> Run:
    """A run that staged something before it was interrupted."""
    with suppress(KeyboardInterrupt), runs.claimed(database, start, organization) as run:
        with database.transaction() as connection:
            StagingTables(run.id).create(connection)
            runs.mark_staged_for(connection, run, b"this")
        raise KeyboardInterrupt
    return run


def _status(database: LiveDatabase, run: Run) -> tuple[str, str | None]:
    with database.transaction() as connection:
        found = connection.execute(text("SELECT status, error FROM runs WHERE id = :id"), {"id": run.id}).one()
    return found.status, found.error


# --- runs ----------------------------------------------------------------------------------------------------------


def test_a_start_is_as_bad_as_its_worst_run() -> None:
    assert runs.worst(["success", "degraded"]) == "degraded"
    assert runs.worst(["held", "success", "degraded"]) == "held"
    assert runs.worst(["held", "failed", "waiting"]) == "failed"
    assert runs.worst([]) == "success"


def test_the_next_run_waits_for_the_one_that_runs(database: LiveDatabase, start: Start, organization: int) -> None:
    order = []

    def second() -> None:
        with starts.opened(database, "b", LEASE) as other, runs.claimed(database, other, organization) as run:
            order.append("second began")
            runs.finish(database, run, "success", None)
            starts.finish(database, other, "success")

    with runs.claimed(database, start, organization) as run:
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(0.5)
        order.append("first ends")
        runs.finish(database, run, "success", None)
    thread.join(10)
    assert order == ["first ends", "second began"]


def test_runs_of_different_organizations_do_not_wait(database: LiveDatabase, held: Run) -> None:
    other = add_organization(database, "urn:cmp:org:b")
    with starts.opened(database, "b", LEASE) as start, runs.claimed(database, start, other) as run:
        runs.finish(database, run, "success", None)
    assert _status(database, held) == ("running", None)


def test_a_task_does_not_wait_for_an_organization_and_goes_on_when_it_is_free(
    database: LiveDatabase, held: Run, organization: int
) -> None:
    start = claimed(database, wanted("x"))
    with pytest.raises(OrganizationBusyError), runs.claimed(database, start, organization):
        pass
    start.busy.add(organization)
    starts.give_back(database, start, after=600)
    assert due(database) == []

    runs.finish(database, held, "success", None)
    assert due(database) == [start.id]
    assert [each.id for each in starts.finish(database, held.start, "success")] == [start.id]


def test_a_run_that_raises_is_failed(database: LiveDatabase, start: Start, organization: int) -> None:
    with pytest.raises(KeyboardInterrupt), runs.claimed(database, start, organization) as run:
        raise KeyboardInterrupt
    assert _status(database, run) == ("failed", "Interrupted by KeyboardInterrupt")


def test_a_task_whose_database_was_away_comes_back_to_its_run(database: LiveDatabase, organization: int) -> None:
    asked = wanted("x")
    start = claimed(database, asked)
    away = DatabaseUnavailableError("It does not answer")
    with pytest.raises(DatabaseUnavailableError), runs.claimed(database, start, organization):
        raise away
    starts.give_back(database, start)
    again = claimed(database, asked)
    with database.transaction() as connection:
        assert runs.ended(connection, again) == {}
    with runs.claimed(database, again, organization) as run:
        starts.give_back(database, again)  # as if the end of the run could not be written down
        assert _status(database, run)[0] == "waiting"


def test_a_task_that_is_interrupted_goes_on_where_it_was(database: LiveDatabase, organization: int) -> None:
    asked = wanted("x")
    start = starts.claim(database, asked, lease=LEASE, max_failures=3, interruptions=(KeyboardInterrupt,))
    assert isinstance(start, Start)
    run = interrupted(database, start, organization)
    assert _status(database, run)[0] == "waiting"
    starts.give_back(database, start)

    again = claimed(database, asked)
    assert (again.attempt, again.failures) == (2, 0)
    with runs.claimed(database, again, organization) as going_on:
        assert (going_on.id, going_on.staged_for) == (run.id, b"this")
        with database.transaction() as connection:
            assert leftovers(connection) == [run.id]
        runs.finish(database, going_on, "success", None)
    with database.transaction() as connection:
        assert leftovers(connection) == []
        assert runs.ended(connection, again)[organization].id == run.id


# --- lost workers --------------------------------------------------------------------------------------------------


def test_the_run_of_a_dead_process_is_ended_at_once(database: LiveDatabase, start: Start, organization: int) -> None:
    dead = subprocess.run(
        [sys.executable, "-c", "from app.core import process; print(process.own_name())"],
        capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    with starts.opened(database, "b", LEASE) as other:
        with suppress(LeaseLostError), runs.claimed(database, other, organization) as lost:
            with database.transaction() as connection:
                StagingTables(lost.id).create(connection)
            change(database, other.id, f"worker = '{dead}'")
            with runs.claimed(database, start, organization) as next_run:
                assert _status(database, lost) == ("failed", "The worker was lost")
                with database.transaction() as connection:
                    assert leftovers(connection) == []
                with pytest.raises(LeaseLostError), database.transaction() as connection:
                    lost.fence(connection)
                runs.finish(database, next_run, "success", None)
            with pytest.raises(LeaseLostError):
                runs.finish(database, lost, "success", None)
        with pytest.raises(LeaseLostError):
            starts.finish(database, other, "success")
    assert row(database, other.id)["status"] == "failed"


def test_a_run_whose_lease_ran_out_is_ended(database: LiveDatabase, held: Run) -> None:
    lose(database, held.start.id)
    with pytest.raises(LeaseLostError), database.transaction() as connection:
        held.fence(connection)
    with starts.opened(database, "b", LEASE) as other, runs.claimed(database, other, held.organization_id) as run:
        runs.finish(database, run, "success", None)
    assert _status(database, held) == ("failed", "The worker was lost")


def test_a_worker_elsewhere_keeps_its_run_while_its_lease_lasts(database: LiveDatabase, held: Run) -> None:
    change(database, held.start.id, "worker = 'elsewhere:1:1'")
    assert losses.release_lost(database) == 0
    assert _status(database, held) == ("running", None)


def test_the_heartbeat_extends_the_lease(database: LiveDatabase) -> None:
    left = text("SELECT extract(epoch FROM lease_expires_at - clock_timestamp()) FROM starts")
    with starts.opened(database, "a", 0.4) as start:
        threading.Event().wait(1.2)
        with database.transaction() as connection:
            assert connection.execute(left).scalar_one() > 0
            start.fence(connection)


_STOPPED = """
import sys
from uuid import UUID
from sqlalchemy import text
from app.db.session import DatabaseUnavailableError, LiveDatabase
from app.services import starts
database = LiveDatabase(sys.argv[1])
wanted = starts.Wanted(UUID(sys.argv[2]), "ingest:all", "a", {"args": [], "kwargs": {}})
start = starts.claim(database, wanted, lease=0.5, max_failures=3)
with database.transaction() as connection:
    connection.execute(text("SELECT pg_advisory_xact_lock(7)"))
    start.fence(connection)
    print("fenced", flush=True)
    sys.stdin.read()
"""


def test_a_worker_that_was_stopped_in_a_transaction_keeps_nobody_waiting(database: LiveDatabase) -> None:
    """Its lease runs out while it holds locks, of its start's row too; it spends no attempt."""
    asked = wanted()
    url = database.engine.url.render_as_string(hide_password=False)
    with subprocess.Popen(
        [sys.executable, "-c", _STOPPED, url, str(asked.id)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as stopped:
        assert stopped.stdout is not None
        assert stopped.stdout.readline() == "fenced\n"
        os.kill(stopped.pid, signal.SIGSTOP)
        time.sleep(0.6)
        assert losses.release_lost(database) == 1
        with database.transaction() as connection:
            assert connection.execute(text("SELECT pg_try_advisory_xact_lock(7)")).scalar_one()
        assert due(database) == [asked.id]
        again = claimed(database, asked)
        assert (again.attempt, again.failures, row(database, asked.id)["lost"]) == (2, 0, 1)
        os.kill(stopped.pid, signal.SIGKILL)


def test_a_start_that_keeps_losing_its_workers_fails(database: LiveDatabase, organization: int) -> None:
    asked = wanted("x")
    start = claimed(database, asked)
    with runs.claimed(database, start, organization) as run:
        change(database, start.id, f"lost = {losses.MAX_LOST}")
        lose(database, start.id)
        assert losses.release_lost(database) == 1
        with pytest.raises(LeaseLostError):
            runs.finish(database, run, "success", None)
    ended = claim(database, asked)
    assert isinstance(ended, Ended)
    assert (ended.status, ended.error) == ("failed", "The worker was lost")
    assert ended_as(database) == {"failed": 1}
    assert _status(database, run) == ("failed", "The worker was lost")


def test_staging_of_runs_that_are_over_is_dropped_and_that_of_running_ones_stays(
    database: LiveDatabase, held: Run
) -> None:
    over = Run(UUID(int=1), held.start, None)
    with database.transaction() as connection:
        StagingTables(held.id).create(connection)
        StagingTables(over.id).create(connection)
    assert losses.drop_leftovers(database) == 1
    with database.transaction() as connection:
        assert leftovers(connection) == [held.id]


def test_the_start_of_a_dead_process_is_ended_and_that_of_a_live_one_is_not(
    database: LiveDatabase, start: Start
) -> None:
    with starts.opened(database, "b", LEASE) as lost:
        change(database, lost.id, f"worker = '{process.own_name().rpartition(':')[0]}:0'")
        losses.drop_leftovers(database)
        assert row(database, start.id)["status"] == "running"
        assert row(database, lost.id)["status"] == "failed"


# --- starts of tasks -----------------------------------------------------------------------------------------------


def test_a_start_is_claimed_once(database: LiveDatabase) -> None:
    asked = wanted("x")
    assert record(database, asked)
    assert record(database, asked)
    start = claimed(database, asked)
    assert claim(database, asked) is None
    starts.finish(database, start, "success", result={"status": "success"})
    assert claim(database, asked) == Ended("success", {"status": "success"}, None)


def test_a_message_without_a_row_is_as_good_as_any(database: LiveDatabase) -> None:
    assert isinstance(claim(database, wanted("x")), Start)


def test_many_workers_with_one_message_each_claim_it_once(database: LiveDatabase) -> None:
    asked = wanted("x")
    record(database, asked)
    found: list[object] = []
    threads = [threading.Thread(target=lambda: found.append(claim(database, asked))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(isinstance(each, Start) for each in found) == 1
    assert found.count(None) == 7


def test_what_is_queued_takes_in_what_asks_for_the_same(database: LiveDatabase) -> None:
    first, second, other = wanted("x"), wanted("x"), wanted("y")
    assert record(database, first)
    assert not record(database, second)
    assert record(database, other)
    assert row(database, second.id)["into_id"] == first.id
    assert claim(database, second) is None
    start = claimed(database, first)
    with database.transaction() as connection:
        assert messages.taken_in(connection, first.id) == []  # it is not over
    starts.finish(database, start, "success")
    with database.transaction() as connection:
        assert messages.taken_in(connection, first.id) == [second.id]


def test_what_is_running_does_not_take_in_but_is_followed(database: LiveDatabase) -> None:
    first, second, third = wanted("x"), wanted("x"), wanted("x")
    record(database, first)
    start = claimed(database, first)
    assert record(database, second)
    assert not record(database, third)
    assert claim(database, second) is None
    assert [each.id for each in starts.finish(database, start, "success")] == [second.id]
    assert isinstance(claim(database, second), Start)


def test_a_message_without_a_row_is_remembered_while_the_same_runs(database: LiveDatabase) -> None:
    claimed(database, wanted("x"))
    unknown = wanted("x")
    assert claim(database, unknown) is None
    assert row(database, unknown.id)["status"] == "queued"


def test_what_takes_in_is_due_no_later_and_lasts_no_shorter_than_what_it_takes_in(database: LiveDatabase) -> None:
    soon, late = datetime.now(UTC) + timedelta(minutes=1), datetime.now(UTC) + timedelta(hours=1)
    from_beat = wanted("x", expires_at=soon, due_at=late)
    record(database, from_beat)
    assert not record(database, wanted("x", expires_at=late))
    assert row(database, from_beat.id)["expires_at"] == late
    assert due(database) == [from_beat.id]
    assert not record(database, wanted("x"))
    assert row(database, from_beat.id)["expires_at"] is None


def test_what_the_same_work_keeps_waiting_does_not_expire(database: LiveDatabase) -> None:
    first, second = wanted("x"), wanted("x")
    start = claimed(database, first)
    record(database, second)
    change(database, second.id, "expires_at = now() - interval '1 second'")
    assert messages.expire(database) == 0
    starts.finish(database, start, "success")
    assert messages.expire(database) == 1
    assert ended_as(database) == {"success": 1, "failed": 1}


def test_what_is_revoked_ends_with_all_that_it_took_in(database: LiveDatabase) -> None:
    first, second = wanted("x"), wanted("x")
    record(database, first)
    record(database, second)
    with database.transaction() as connection:
        messages.revoke(connection, first.id)
        assert messages.taken_in(connection, first.id) == [second.id]
    assert row(database, first.id)["status"] == "failed"
    assert ended_as(database) == {"failed": 1}


def test_what_goes_on_is_not_taken_for_told(database: LiveDatabase) -> None:
    asked = wanted("x")
    claimed(database, asked)
    with database.transaction() as connection:
        messages.announced(connection, asked.id)
    assert row(database, asked.id)["announced"] is False


def ended_as(database: LiveDatabase) -> dict[str, float]:
    """What the counters say of starts."""
    with database.transaction() as connection:
        return {labels["status"]: value for name, labels, value in counters.read(connection) if name == "starts"}


def test_a_worker_that_lost_its_start_changes_no_organization(database: LiveDatabase, tmp_path: Path) -> None:
    folder = FeedFolder(tmp_path / "publisher")
    folder.publish([])
    start = claimed(database, wanted("x"))
    lose(database, start.id)
    losses.release_lost(database)
    with pytest.raises(LeaseLostError):
        RegistryHandler(database, LocalSource()).ingest(start, str(folder.registry))
    with database.transaction() as connection:
        assert connection.execute(text("SELECT count(*) FROM organizations")).scalar_one() == 0


def test_simultaneous_starts_become_one(database: LiveDatabase) -> None:
    asked = [wanted("x") for _ in range(8)]
    sent: list[bool] = []
    threads = [threading.Thread(target=lambda each=each: sent.append(record(database, each))) for each in asked]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(sent) == [False] * 7 + [True]


def test_a_start_that_waits_for_its_next_try_takes_nothing_in(database: LiveDatabase) -> None:
    first, second = wanted("x"), wanted("x")
    start = claimed(database, first)
    starts.give_back(database, start, after=300, failures=1, error="unreachable")
    assert claim(database, first) is None
    assert record(database, second)
    assert isinstance(claim(database, second), Start)
    assert row(database, first.id)["failures"] == 1


def test_what_is_due_is_sent_again_only_when_its_message_is_not_there_any_more(database: LiveDatabase) -> None:
    asked = wanted("x")
    record(database, asked)
    assert due(database) == [asked.id]
    with database.transaction() as connection:
        messages.mark_sent(connection, [asked.id])
    assert due(database) == []
    change(database, asked.id, "sent_at = now() - interval '1 minute', due_at = now() - interval '2 hours'")
    assert due(database, idle=False) == []
    assert due(database, idle=True) == [asked.id]
    change(database, asked.id, "sent_at = now() - interval '1 hour'")
    assert due(database, idle=False) == [asked.id]


def test_what_was_overtaken_is_sent_again_though_others_are_queued(database: LiveDatabase) -> None:
    lost, taken, later, other = wanted("x"), wanted("y"), wanted("z"), wanted("w", task="ingest:vector")
    for seconds, asked in ((60, lost), (60, other), (30, taken), (20, later)):
        record(database, asked)
        change(database, asked.id, f"due_at = now() - interval '1 hour', sent_at = now() - interval '{seconds} s'")
    assert due(database, idle=False) == []
    claimed(database, taken)
    assert due(database, idle=False) == [lost.id]
    with database.transaction() as connection:
        messages.mark_sent(connection, [lost.id])
    assert due(database, idle=False) == []


def test_an_end_that_nobody_was_told_is_told_again(database: LiveDatabase) -> None:
    start = claimed(database, wanted("x"))
    starts.finish(database, start, "success")
    assert due(database) == []
    change(database, start.id, "finished_at = now() - interval '1 minute'")
    assert due(database) == [start.id]
    with database.transaction() as connection:
        messages.announced(connection, start.id)
    assert due(database) == []


def test_a_start_that_nobody_began_in_time_is_failed(database: LiveDatabase) -> None:
    late, timely = wanted("x"), wanted("y")
    record(database, late)
    record(database, timely)
    change(database, late.id, "expires_at = now() - interval '1 second'")
    change(database, timely.id, "expires_at = now() + interval '1 hour'")
    assert messages.expire(database) == 1
    assert row(database, late.id)["status"] == "failed"
    assert row(database, timely.id)["status"] == "queued"


def test_runs_that_end_are_counted(database: LiveDatabase, held: Run) -> None:
    held.report = {"timings": {"feed": 2.0}, "feed": {"products": {"inserted": 3, "deleted": 0}}}
    runs.finish(database, held, "success", None)
    with database.transaction() as connection:
        found = {row.name: (row.labels, row.value) for row in connection.execute(text("SELECT * FROM counters"))}
    assert found == {
        "runs": ('{"ingestor": "a", "status": "success"}', 1),
        "step_seconds": ('{"step": "feed"}', 2),
        "steps": ('{"step": "feed"}', 1),
        "items": ('{"kind": "products", "verdict": "inserted"}', 3),
    }

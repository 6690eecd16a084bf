"""The ledger: one run of an organization at a time, leases, fencing, and what lost workers leave behind."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from uuid import UUID

import pytest
from sqlalchemy import text

from app.db.session import LiveDatabase
from app.db.staging import StagingTables, leftovers
from app.services import runs
from app.services.runs import LeaseLostError, Run


@pytest.fixture
def organization(database: LiveDatabase) -> int:
    with database.transaction() as connection:
        identity: int = connection.execute(
            text("INSERT INTO organizations (urn, ingestor, is_stub) VALUES ('urn:cmp:org:a', 'a', true) RETURNING id")
        ).scalar_one()
    return identity


@pytest.fixture
def start_id(database: LiveDatabase) -> UUID:
    return runs.open_start(database, "a")


@pytest.fixture
def held(database: LiveDatabase, start_id: UUID, organization: int) -> Iterator[Run]:
    with runs.claimed(database, start_id, "a", organization) as run:
        yield run


def _status(database: LiveDatabase, run: Run) -> tuple[str, str | None]:
    with database.transaction() as connection:
        row = connection.execute(text("SELECT status, error FROM runs WHERE id = :id"), {"id": run.id}).one()
    return row.status, row.error


def test_a_start_is_as_bad_as_its_worst_run() -> None:
    assert runs.worst(["success", "degraded"]) == "degraded"
    assert runs.worst(["held", "success", "degraded"]) == "held"
    assert runs.worst(["held", "failed"]) == "failed"
    assert runs.worst([]) == "success"


def test_the_next_run_waits_for_the_one_that_runs(database: LiveDatabase, start_id: UUID, organization: int) -> None:
    order = []

    def second() -> None:
        with runs.claimed(database, start_id, "a", organization) as run:
            order.append("second began")
            runs.finish(database, run, "success", None)

    with runs.claimed(database, start_id, "a", organization) as run:
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(0.5)
        order.append("first ends")
        runs.finish(database, run, "success", None)
    thread.join(10)
    assert order == ["first ends", "second began"]


def test_runs_of_different_organizations_do_not_wait(database: LiveDatabase, start_id: UUID, held: Run) -> None:
    with database.transaction() as connection:
        other = connection.execute(
            text("INSERT INTO organizations (urn, ingestor, is_stub) VALUES ('urn:cmp:org:b', 'a', true) RETURNING id")
        ).scalar_one()
    with runs.claimed(database, start_id, "a", other) as run:
        runs.finish(database, run, "success", None)
    assert _status(database, held) == ("running", None)


def test_a_run_that_raises_is_failed(database: LiveDatabase, start_id: UUID, organization: int) -> None:
    with pytest.raises(KeyboardInterrupt), runs.claimed(database, start_id, "a", organization) as run:
        raise KeyboardInterrupt
    assert _status(database, run) == ("failed", "Interrupted by KeyboardInterrupt")


def test_the_run_of_a_dead_process_is_ended_at_once(database: LiveDatabase, start_id: UUID, organization: int) -> None:
    dead = subprocess.run(
        [sys.executable, "-c", "import os; from app.services import runs; print(runs._worker(os.getpid()))"],
        capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    with runs.claimed(database, start_id, "a", organization) as lost:
        with database.transaction() as connection:
            connection.execute(text("UPDATE runs SET worker = :worker"), {"worker": dead})
            StagingTables(lost.id).create(connection)
        with runs.claimed(database, start_id, "a", organization) as next_run:
            assert _status(database, lost) == ("failed", "The worker was lost")
            with database.transaction() as connection:
                assert leftovers(connection) == []
            with pytest.raises(LeaseLostError), database.transaction() as connection:
                lost.fence(connection)
            with pytest.raises(LeaseLostError):
                runs.finish(database, lost, "success", None)
            runs.finish(database, next_run, "success", None)


def test_a_run_whose_lease_ran_out_is_ended(database: LiveDatabase, start_id: UUID, held: Run) -> None:
    with database.transaction() as connection:
        connection.execute(
            text("UPDATE runs SET worker = 'elsewhere:1:1', lease_expires_at = now() - interval '1 second'")
        )
    with pytest.raises(LeaseLostError), database.transaction() as connection:
        held.fence(connection)
    with runs.claimed(database, start_id, "a", held.organization_id) as run:
        runs.finish(database, run, "success", None)
    assert _status(database, held) == ("failed", "The worker was lost")


def test_a_worker_elsewhere_keeps_its_run_while_its_lease_lasts(
    database: LiveDatabase, start_id: UUID, held: Run
) -> None:
    with database.transaction() as connection:
        connection.execute(text("UPDATE runs SET worker = 'elsewhere:1:1'"))
    assert not runs._end_dead_holder(database, held.organization_id)
    assert _status(database, held) == ("running", None)


def test_the_heartbeat_extends_the_lease(
    database: LiveDatabase, start_id: UUID, organization: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "HEARTBEAT", 0.05)
    left = text("SELECT extract(epoch FROM lease_expires_at - clock_timestamp()) FROM runs")
    with runs.claimed(database, start_id, "a", organization) as run:
        with database.transaction() as connection:
            connection.execute(text("UPDATE runs SET lease_expires_at = clock_timestamp() + interval '5 seconds'"))
        threading.Event().wait(0.5)
        with database.transaction() as connection:
            assert connection.execute(left).scalar_one() > 50
        runs.finish(database, run, "success", None)


def test_staging_of_runs_that_are_over_is_dropped_and_that_of_running_ones_stays(
    database: LiveDatabase, start_id: UUID, held: Run
) -> None:
    over = Run(UUID(int=1), start_id, None)
    with database.transaction() as connection:
        StagingTables(held.id).create(connection)
        StagingTables(over.id).create(connection)
    assert runs.drop_leftovers(database) == 1
    with database.transaction() as connection:
        assert leftovers(connection) == [held.id]


def test_the_start_of_a_dead_process_is_ended_and_that_of_a_live_one_is_not(
    database: LiveDatabase, start_id: UUID
) -> None:
    lost = runs.open_start(database, "b")
    with database.transaction() as connection:
        connection.execute(
            text("UPDATE starts SET worker = :worker WHERE id = :id"),
            {"worker": runs._worker(os.getpid()).rpartition(":")[0] + ":0", "id": lost},
        )
    runs.drop_leftovers(database)
    with database.transaction() as connection:
        statuses = {row.id: row.status for row in connection.execute(text("SELECT id, status FROM starts"))}
    assert statuses == {start_id: "running", lost: "failed"}

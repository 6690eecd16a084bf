"""The table of schedules, and who may start what is due."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Barrier
from typing import Any

import pytest

from app.db.session import LiveDatabase
from app.services.schedules import Planned, last_slots, listed, seed, take_slot
from tests.support.nodes import rows

DUE = datetime(2025, 3, 9, 12, 30, tzinfo=UTC)
ACME = Planned("ingest-all-acme", "ingest:all", ["acme", "local", None, "feed.json"], cron="0 4 * * *")
RECOVER = Planned("recover", "ingest:recover", every=30)


def _seed(database: LiveDatabase, *entries: Planned) -> None:
    with database.transaction() as connection:
        seed(connection, entries)


def _execute(database: LiveDatabase, statement: str) -> None:
    with database.transaction() as connection:
        connection.exec_driver_sql(statement)


def _table(database: LiveDatabase) -> dict[str, tuple[Any, ...]]:
    with database.transaction() as connection:
        return {row.name: (row.task, row.args, row.cron, row.every, row.enabled) for row in listed(connection)}


ACME_ROW = ("ingest:all", ["acme", "local", None, "feed.json"], "0 4 * * *", None, True)
RECOVER_ROW = ("ingest:recover", [], None, 30.0, True)


def test_what_is_planned_is_listed(database: LiveDatabase) -> None:
    _seed(database, RECOVER, ACME)
    assert _table(database) == {"ingest-all-acme": ACME_ROW, "recover": RECOVER_ROW}


def test_what_is_planned_no_more_is_gone(database: LiveDatabase) -> None:
    _seed(database, RECOVER, ACME)
    _seed(database, RECOVER)
    assert _table(database) == {"recover": RECOVER_ROW}
    _seed(database)
    assert _table(database) == {}


@pytest.mark.parametrize(
    ("change", "row"),
    [
        ("cron = '5 5 * * *'", (*ACME_ROW[:2], "5 5 * * *", None, True)),
        ("cron = NULL, every = 90", (*ACME_ROW[:2], None, 90.0, True)),
        ("enabled = false", (*ACME_ROW[:4], False)),
        ("args = '[1]'", (ACME_ROW[0], [1], *ACME_ROW[2:])),
    ],
)
def test_an_operators_change_stays_until_the_seed_changes(
    database: LiveDatabase, change: str, row: tuple[Any, ...]
) -> None:
    _seed(database, RECOVER, ACME)
    _execute(database, f"UPDATE schedules SET {change} WHERE name = 'ingest-all-acme'")
    _seed(database, RECOVER, ACME)
    assert _table(database) == {"ingest-all-acme": row, "recover": RECOVER_ROW}
    _seed(database, Planned("recover", "ingest:recover", every=31), ACME)
    assert _table(database)["ingest-all-acme"] == row
    _seed(database, Planned(ACME.name, ACME.task, ["acme"], cron=ACME.cron))
    assert _table(database) == {"ingest-all-acme": ("ingest:all", ["acme"], "0 4 * * *", None, True)}


def test_an_operators_own_schedule_stays(database: LiveDatabase) -> None:
    _execute(database, "INSERT INTO schedules (name, task, every) VALUES ('mine', 'ingest:recover', 7)")
    _execute(database, "INSERT INTO schedules (name, task, every) VALUES ('recover', 'ingest:recover', 8)")
    _seed(database, RECOVER, ACME)
    _seed(database)
    mine = ("ingest:recover", [], None, 7.0, True)
    assert _table(database) == {"mine": mine, "recover": (*mine[:3], 8.0, True)}


def test_seeding_the_same_touches_nothing(database: LiveDatabase) -> None:
    def versions() -> list[dict[str, Any]]:
        with database.transaction() as connection:
            return rows(connection, "SELECT name, xmin::text, updated_at FROM schedules ORDER BY name")

    _seed(database, RECOVER, ACME)
    before = versions()
    _seed(database, ACME, RECOVER)
    assert versions() == before


def test_two_may_seed_at_once(database: LiveDatabase) -> None:
    entries = [Planned(f"schedule {number}", "ingest:recover", every=60) for number in range(200)]

    def one(turn: int) -> None:
        _seed(database, *(reversed(entries) if turn % 2 else entries))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(one, range(12)))
    assert len(_table(database)) == 200


def test_a_slot_is_taken_once(database: LiveDatabase) -> None:
    barrier = Barrier(8)

    def one(turn: int) -> list[bool]:
        taken = []
        for number in range(10):
            barrier.wait(timeout=60)
            with database.transaction() as connection:
                taken.append(take_slot(connection, "mine", DUE + timedelta(minutes=number)))
        return taken

    with ThreadPoolExecutor(8) as pool:
        by_slot = zip(*pool.map(one, range(8)), strict=True)
    assert [sum(taken) for taken in by_slot] == [1] * 10
    with database.transaction() as connection:
        assert last_slots(connection) == {"mine": DUE + timedelta(minutes=9)}


def test_an_earlier_slot_is_gone_with_a_later_one(database: LiveDatabase) -> None:
    with database.transaction() as connection:
        assert take_slot(connection, "mine", DUE)
        assert take_slot(connection, "other", DUE)
        assert not take_slot(connection, "mine", DUE)
        assert not take_slot(connection, "mine", DUE - timedelta(seconds=1))
        assert take_slot(connection, "mine", DUE + timedelta(seconds=1))
        assert last_slots(connection) == {"mine": DUE + timedelta(seconds=1), "other": DUE}


def test_a_slot_that_was_rolled_back_is_free(database: LiveDatabase) -> None:
    with database.engine.connect() as connection:
        assert take_slot(connection, "mine", DUE)
        connection.rollback()
    with database.transaction() as connection:
        assert take_slot(connection, "mine", DUE)

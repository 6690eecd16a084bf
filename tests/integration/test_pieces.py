"""Work in pieces: each done once, whoever dies or stands still."""

import os
import signal
import subprocess
import sys
import threading
import time
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from app.db.session import LiveDatabase
from app.services import pieces
from app.services.pieces import PieceLostError

# Takes a piece, holds a lock that others need, and waits.
_HOLDER = """
import sys
from uuid import UUID
from sqlalchemy import text
from app.db.session import LiveDatabase
from app.services import pieces
pieces.LEASE = float(sys.argv[3])
database = LiveDatabase(sys.argv[1])
with pieces.taken(database, UUID(sys.argv[2])) as piece, database.transaction() as connection:
    connection.execute(text("SELECT pg_advisory_xact_lock(11)"))
    print(piece.ordinal, flush=True)
    sys.stdin.read()
"""


def offered(database: LiveDatabase, number: int) -> UUID:
    owner = uuid4()
    with database.transaction() as connection:
        pieces.offer(connection, owner, {ordinal: {"n": ordinal} for ordinal in range(number)})
    return owner


def work_through(database: LiveDatabase, owner: UUID) -> list[int]:
    done = []
    while True:
        with pieces.taken(database, owner) as piece:
            if piece is None:
                return done
            with database.transaction() as connection:
                piece.finish(connection, {"of": piece.work["n"]})
            done.append(piece.ordinal)


def holder(database: LiveDatabase, owner: UUID, lease: float) -> "subprocess.Popen[str]":
    url = database.engine.url.render_as_string(hide_password=False)
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLDER, url, str(owner), str(lease)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "0\n"
    return process


def test_every_piece_is_done_by_one(database: LiveDatabase) -> None:
    owner = offered(database, 40)
    done: list[int] = []
    threads = [threading.Thread(target=lambda: done.extend(work_through(database, owner))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(done) == list(range(40))
    with database.transaction() as connection:
        assert pieces.results(connection, owner) == {ordinal: {"of": ordinal} for ordinal in range(40)}


def test_what_a_worker_holds_is_left_alone(database: LiveDatabase) -> None:
    owner = offered(database, 2)
    with holder(database, owner, 30) as process:
        assert work_through(database, owner) == [1]
        process.kill()


def test_the_piece_of_a_killed_worker_is_free_at_once(database: LiveDatabase) -> None:
    owner = offered(database, 2)
    with holder(database, owner, 30) as process:
        process.kill()
        process.wait()
        assert work_through(database, owner) == [1, 0]


def test_a_worker_that_was_stopped_keeps_neither_its_piece_nor_its_locks(database: LiveDatabase) -> None:
    owner = offered(database, 1)
    with holder(database, owner, 0.5) as process:
        os.kill(process.pid, signal.SIGSTOP)
        time.sleep(0.7)
        assert work_through(database, owner) == [0]
        with database.transaction() as connection:
            assert connection.execute(text("SELECT pg_try_advisory_xact_lock(11)")).scalar_one()
        process.kill()


def test_what_somebody_works_on_is_waited_for_and_nothing_more_is_taken(database: LiveDatabase) -> None:
    owner = offered(database, 3)
    with holder(database, owner, 30) as process:
        with pieces.taken(database, owner) as piece:  # by this process, which gives up
            assert piece is not None
        with database.transaction() as connection:
            assert not pieces.end(connection, owner)
            assert list(pieces.results(connection, owner)) == [0]
        process.kill()
        process.wait()
        with database.transaction() as connection:
            assert pieces.end(connection, owner)
            assert not pieces.results(connection, owner)


def test_a_piece_that_was_taken_back_cannot_be_finished(database: LiveDatabase) -> None:
    owner = offered(database, 1)
    with pieces.taken(database, owner) as piece:
        assert piece is not None
        with database.transaction() as connection:
            pieces.withdraw(connection, owner)
        with pytest.raises(PieceLostError), database.transaction() as connection:
            piece.finish(connection, {})

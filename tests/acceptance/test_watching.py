"""`runs`: what is under way, in words; and `runs --watch`, which follows it."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from app.db.session import LiveDatabase
from app.services import messages, organizations, runs, starts
from app.services.messages import Wanted
from app.services.starts import Start
from tests.acceptance.conftest import COMMAND, ROOT, CommandLine
from tests.support.feeds import ORGANIZATION
from tests.support.processes import until


def wanted(ingestor: str) -> Wanted:
    return Wanted(uuid4(), "ingest:all", ingestor, {"ingestor_name": ingestor})


def change(database: LiveDatabase, start_id: UUID, values: str) -> None:
    with database.transaction() as connection:
        connection.execute(text(f"UPDATE starts SET {values} WHERE id = :id"), {"id": start_id})


@pytest.fixture
def ledger(database: LiveDatabase) -> Iterator[dict[str, UUID]]:
    """Starts of every kind by ingestor: one is at work on an organization, which another waits for; one is tried again
    later, and one waits for a worker."""
    asked = {name: wanted(name) for name in ("acme", "brand", "crafts", "deals")}
    with database.transaction() as connection:
        organization = organizations.ensure_stub(connection, "acme", ORGANIZATION)
        for each in asked.values():
            messages.record(connection, each)
    held = starts.claim(database, asked["acme"], lease=60, max_failures=3)
    assert isinstance(held, Start)
    with runs.claimed(database, held, organization):
        waiting = starts.claim(database, asked["brand"], lease=60, max_failures=3)
        assert isinstance(waiting, Start)
        waiting.busy.add(organization)
        starts.give_back(database, waiting, after=30)
        later = "due_at = now() + interval '2 days', failures = 2, attempt = 3, error = 'The shop\n is closed'"
        change(database, asked["crafts"].id, later)
        yield {name: each.id for name, each in asked.items()}


def test_what_is_under_way_is_told_in_words(command: CommandLine, ledger: dict[str, UUID], database_url: str) -> None:
    told = " ".join(command.done("runs", DATABASE_URL=database_url).split())
    assert "running ingest:all acme: since " in told
    assert f"queued ingest:all brand: waits for {ORGANIZATION}, at which acme is at work" in told
    assert "queued ingest:all crafts: due at 20" in told
    assert ", attempt 3, failed 2 times The shop is closed" in told
    assert "queued ingest:all deals: waits for a worker since " in told
    document = command.json("runs", DATABASE_URL=database_url)
    by_ingestor = {start["ingestor"]: start for start in document["starts"]}
    assert {name: UUID(start["id"]) for name, start in by_ingestor.items()} == ledger
    assert by_ingestor["brand"]["held_by"] == str(ledger["acme"])
    assert [run["status"] for run in document["runs"]] == ["running"]
    assert "--watch" in command.refused("runs", "--watch", "--json")


@contextmanager
def watching(folder: Path, database_url: str, output: int) -> Iterator[subprocess.Popen[bytes]]:
    environment = {
        "PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONPATH": str(ROOT), "TERM": "xterm",
        "DATABASE_URL": database_url,
    }  # fmt: skip
    process = subprocess.Popen([COMMAND, "runs", "--watch"], cwd=folder, env=environment, stdout=output)
    try:
        yield process
        process.send_signal(signal.SIGINT)
        assert process.wait(5) == 0
    finally:
        process.kill()
        process.wait()


def test_changes_are_told_and_nothing_else(
    tmp_path: Path, database: LiveDatabase, ledger: dict[str, UUID], database_url: str
) -> None:
    file = tmp_path / "told"
    with file.open("wb") as output, watching(tmp_path, database_url, output.fileno()):
        until(lambda: "deals" in file.read_text())
        once = file.read_text()
        with pytest.raises(AssertionError):
            until(lambda: file.read_text() != once, 2.5)
        change(database, ledger["deals"], "status = 'failed', finished_at = now()")
        until(lambda: file.read_text() != once)
        assert "deals" not in file.read_text().removeprefix(once)


def test_a_terminal_shows_it_in_place(
    tmp_path: Path, database: LiveDatabase, ledger: dict[str, UUID], database_url: str
) -> None:
    screen, terminal = os.openpty()
    os.set_blocking(screen, False)
    shown = b""

    def shows(what: bytes) -> bool:
        nonlocal shown
        try:
            shown += os.read(screen, 100_000)
        except BlockingIOError:
            return False
        return what in shown

    with watching(tmp_path, database_url, terminal):
        until(lambda: shows(b"deals"))
        change(database, ledger["deals"], "failures = 7")
        until(lambda: shows(b"failed 7 times"))
    os.close(terminal)
    os.close(screen)
    assert b"\x1b[1A" in shown  # what was there is overwritten

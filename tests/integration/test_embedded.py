"""The PostgreSQL the node brings along."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from sqlalchemy import create_engine, text

from app.db import embedded

_ASK = (
    "import sys; from pathlib import Path; from app.db import embedded; from sqlalchemy import create_engine, text;"
    "engine = create_engine(embedded.start(Path(sys.argv[1])));"
    "print(engine.connect().execute(text(sys.argv[2])).scalar())"
)


def _ask(data_dir: Path, statement: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", _ASK, str(data_dir), statement], stdout=subprocess.PIPE, text=True)


def test_processes_share_one_server_and_the_last_one_stops_it(tmp_path: Path) -> None:
    asking = [_ask(tmp_path, "SELECT pg_sleep(1) IS NOT NULL") for _ in range(4)]
    assert [process.communicate(timeout=60)[0].strip() for process in asking] == ["True"] * 4
    assert not (tmp_path / "postgres" / "postmaster.pid").exists()


def test_it_has_vectors_and_memory_settings_of_its_own(tmp_path: Path) -> None:
    process = _ask(
        tmp_path,
        "SELECT current_setting('shared_buffers') || ' ' || current_setting('jit') || ' ' || "
        "(SELECT default_version FROM pg_available_extensions WHERE name = 'vector')",
    )
    shared_buffers, jit, vector = process.communicate(timeout=60)[0].split()
    assert shared_buffers != "128MB"
    assert jit == "off"
    assert tuple(map(int, vector.split("."))) >= (0, 8, 2)


def test_a_killed_server_comes_back_with_what_was_committed(tmp_path: Path) -> None:
    url = embedded.start(tmp_path)
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE kept AS SELECT 42 AS answer"))
    engine.dispose()
    postmaster = int((tmp_path / "postgres" / "postmaster.pid").read_text().splitlines()[0])
    os.kill(postmaster, signal.SIGKILL)
    assert _ask(tmp_path, "SELECT answer FROM kept").communicate(timeout=60)[0].strip() == "42"


def test_a_first_start_that_was_killed_leaves_nothing_in_the_way(tmp_path: Path) -> None:
    killed = _ask(tmp_path, "SELECT 1")
    while not list(tmp_path.glob("postgres.*.new/PG_VERSION")):
        assert killed.poll() is None
        time.sleep(0.01)
    killed.kill()
    killed.communicate()
    assert _ask(tmp_path, "SELECT 1").communicate(timeout=60)[0].strip() == "1"


def test_a_user_that_was_killed_does_not_keep_it_up(tmp_path: Path) -> None:
    killed = _ask(tmp_path, "SELECT pg_sleep(60)")
    while "pg_sleep" not in _ask(tmp_path, "SELECT string_agg(query, ' ') FROM pg_stat_activity").communicate()[0]:
        assert killed.poll() is None
    assert embedded.is_running(tmp_path)
    killed.kill()
    killed.communicate()
    assert _ask(tmp_path, "SELECT 1").communicate(timeout=60)[0].strip() == "1"
    assert not embedded.is_running(tmp_path)

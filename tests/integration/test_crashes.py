"""Whatever dies, and wherever: readers see whole publications, and the next run converges."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil
import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from app.core import unforeseen
from app.core.config import Settings
from app.db import embedded, schema
from app.db.session import DatabaseUnavailableError, LiveDatabase
from app.db.staging import StagingTables
from app.ingestors.handlers import feed, staging
from app.services import starts
from app.services.messages import Wanted
from app.services.starts import Start
from tests.support import crashing
from tests.support.feeds import FeedFolder, encode, group, organization_entry, product, variant
from tests.support.nodes import Node, counters

PROJECT = Path(__file__).parents[2]
NEW_NAMES = {"1": "Renamed", "2": "Lamp 2", "5": "Lamp 5", "6": "Lamp 6"}
OLD_NAMES = {"1": "Lamp 1", "2": "Lamp 2", "3": "Lamp 3", "4": "Lamp 4"}


def publish_old(folder: FeedFolder) -> None:
    folder.publish([product(1), group(7), variant(2, 7)], [product(3), product(1, name="Lamp 1")], [product(4)])


def publish_new(folder: FeedFolder) -> None:
    """Something of everything: changed, moved, removed, added, in every shard."""
    folder.publish([product(1, name="Renamed"), variant(2, 8)], [product(5), group(8)], [product(6)])


def assert_converged(node: Node) -> None:
    """The catalogue is what a clean ingestion gives, and nothing is left of those that died."""
    assert node.products() == NEW_NAMES
    found = node.snapshot()
    with node.database.transaction() as connection:
        said, counted = counters(connection)
    assert said == counted
    assert node.staging_tables() == []
    assert node.rows("SELECT id FROM runs WHERE status = 'running'") == []
    node.empty()
    assert node.run()["status"] == "success"
    assert node.snapshot() == found


def start_crash(point: str, url: str, root: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "tests.support.crashing", "crash", point, url, str(root)],
        cwd=PROJECT, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.mark.parametrize("point", crashing.POINTS)
def test_a_process_that_is_killed_leaves_nothing_the_next_run_does_not_mend(
    node: Node, folder: FeedFolder, shared_url: str, point: str
) -> None:
    publish_old(folder)
    node.run()
    publish_new(folder)
    with start_crash(point, shared_url, node.root) as process:
        assert process.stdout is not None
        assert process.stdout.read() == ""
    assert process.returncode == -signal.SIGKILL

    merged = point in ("after the merge, before the run ends", "after the run ended")
    assert node.products() == (NEW_NAMES if merged else OLD_NAMES)

    began = time.monotonic()
    run = node.run()
    assert time.monotonic() - began < 10  # a dead worker's lease is not waited for
    assert run["status"] == "success"
    assert run["feed"]["shards"]["unchanged"] == (3 if merged else 0)
    ended = [row["status"] for row in node.rows("SELECT status FROM runs ORDER BY created_at")]
    if point in ("before the registry", "after the registry"):
        assert ended == ["success", "success"]
    else:
        assert ended == ["success", "success" if point == "after the run ended" else "failed", "success"]
    assert_converged(node)


def test_a_killed_process_that_nobody_buried_is_dead_all_the_same(
    node: Node, folder: FeedFolder, shared_url: str
) -> None:
    publish_new(folder)
    with start_crash("before the merge", shared_url, node.root) as process:
        psutil_process = psutil.Process(process.pid)
        while psutil_process.status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.05)
        began = time.monotonic()
        assert node.run()["status"] == "success"
        assert time.monotonic() - began < 10
    assert_converged(node)


def test_staging_tables_of_a_dead_run_go_with_the_next_start_of_any_ingestor(
    node: Node, folder: FeedFolder, shared_url: str
) -> None:
    publish_new(folder)
    with start_crash("before the merge", shared_url, node.root):
        pass
    assert len(node.staging_tables()) == 5
    other = "urn:cmp:org:other.example"
    FeedFolder(node.root / "other", other).publish([product(1, other)])
    node.configure({"name": "other", "registry": "other/registry.json"})
    assert node.run()["status"] == "success"
    assert node.staging_tables() == []


def test_ten_simultaneous_ingestions_of_one_feed(node: Node, folder: FeedFolder, shared_url: str) -> None:
    publish_new(folder)
    finished = subprocess.run(
        [sys.executable, "-m", "tests.support.crashing", "together", "10", shared_url, str(node.root)],
        cwd=PROJECT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert finished.returncode == 0, finished.stderr
    reports = [json.loads(line) for line in finished.stdout.splitlines()]
    assert [report["status"] for report in reports] == ["success"] * 10
    read = [report["runs"][0]["feed"]["products"] for report in reports]
    assert sorted((each["inserted"], each["unchanged"]) for each in read) == [(0, 4)] * 9 + [(4, 0)]
    assert node.value("SELECT revision FROM feeds") == 1
    assert node.value("SELECT count(*) FROM organizations") == 1
    assert node.value("SELECT count(*) FROM runs WHERE status = 'success'") == 10
    assert_converged(node)


# --- the database dies ---------------------------------------------------------------------------------------------


class Once:
    """Does something the first time a method is done, after it or before it; the method goes on as ever."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, action: Callable[..., None], *, first: bool
    ) -> None:
        function = getattr(owner, name)

        def changed(*arguments: Any, **options: Any) -> Any:
            if not first:
                result = function(*arguments, **options)
                self._act(action, arguments)
                return result
            self._act(action, arguments)
            return function(*arguments, **options)

        self.done = False
        monkeypatch.setattr(owner, name, changed)

    def _act(self, action: Callable[..., None], arguments: tuple[Any, ...]) -> None:
        if not self.done:
            self.done = True
            action(*arguments)


def test_staged_rows_that_are_gone_are_staged_again(
    node: Node, folder: FeedFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_old(folder)
    node.run()
    publish_new(folder)

    def lose(*_: Any) -> None:
        with node.database.transaction() as connection:
            for table in node.staging_tables():
                connection.exec_driver_sql(f"TRUNCATE staging.{table}")

    lost = Once(monkeypatch, staging.PublicationStager, "read", lose, first=False)
    staged = []
    Once(monkeypatch, StagingTables, "mark", lambda *_: None, first=True)
    mark = StagingTables.mark
    monkeypatch.setattr(StagingTables, "mark", lambda *parts: staged.append(parts[2]) or mark(*parts))
    run = node.run()
    assert lost.done
    assert sorted(staged) == [0, 0, 1, 1, 2, 2]
    assert run["status"] == "success"
    assert run["feed"]["shards"] == {"read": 3, "unchanged": 0, "failed": 0}
    assert_converged(node)


@pytest.mark.parametrize("table", ["items", "offers", "occurrences", "shards"])
def test_a_shard_that_lost_some_rows_is_staged_again(
    node: Node, folder: FeedFolder, monkeypatch: pytest.MonkeyPatch, table: str
) -> None:
    publish_new(folder)

    def lose(*_: Any) -> None:
        [name] = [name for name in node.staging_tables() if name.startswith(f"{table}_")]
        with node.database.transaction() as connection:
            assert connection.exec_driver_sql(f"DELETE FROM staging.{name} WHERE shard = 0").rowcount > 0

    assert not Once(monkeypatch, staging.PublicationStager, "read", lose, first=False).done
    assert node.run()["status"] == "success"
    assert_converged(node)


def terminate_others(database: LiveDatabase) -> None:
    """Ends every other connection of this database, as an administrator or a failover would."""
    with database.engine.connect() as connection:
        connection.execute(
            text("""
                SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
                WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
                """)
        )


@pytest.mark.parametrize(
    ("owner", "name", "first"),
    [
        pytest.param(feed, "merge", True, id="before the merge"),
        pytest.param(feed, "merge", False, id="in the merge"),
        pytest.param(staging.ShardStager, "stage", True, id="before a shard is staged"),
        pytest.param(StagingTables, "write", True, id="while a shard is staged"),
        pytest.param(StagingTables, "mark", False, id="before a staged shard is committed"),
        pytest.param(feed, "record_attempt", False, id="while a failure is written down"),
    ],
)
def test_a_connection_that_is_lost_fails_the_run_and_nothing_else(
    node: Node, folder: FeedFolder, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, first: bool
) -> None:
    publish_old(folder)
    node.run()
    publish_new(folder)
    if name == "record_attempt":
        folder.shard("c.json").write_bytes(b"{")
    lost = Once(monkeypatch, owner, name, lambda *_: terminate_others(node.database), first=first)

    run = node.run()

    assert lost.done
    assert run["status"] == "failed"
    assert "The database failed: " in run["error"]
    assert node.products() == OLD_NAMES
    assert node.staging_tables() == []
    assert node.rows("SELECT status FROM runs ORDER BY created_at DESC LIMIT 1") == [{"status": "failed"}]
    publish_new(folder)
    assert node.run()["status"] == "success"
    assert_converged(node)


@pytest.fixture(scope="module")
def own_data() -> Iterator[Path]:
    """Where a server lives that may be killed."""
    path = Path(tempfile.mkdtemp(prefix="node-"))
    yield path
    kill_server(path)
    shutil.rmtree(path)


@pytest.fixture
def mortal(own_data: Path, tmp_path: Path, folder: FeedFolder) -> Iterator[Node]:
    """A node whose server may be killed."""
    database = LiveDatabase(embedded.start(own_data))
    schema.prepare(database, upgrade_it=True)
    settings = Settings(_env_file=None, data_dir=own_data, log_level="error")
    node = Node(database, settings, tmp_path, [crashing.ENTRY])
    node.empty()
    publish_old(folder)
    assert node.run()["status"] == "success"
    publish_new(folder)
    yield node
    database.engine.dispose()


def kill_server(data_dir: Path) -> None:
    """Kills PostgreSQL as a power cut would: the postmaster and all of its children."""
    pid = int((data_dir / "postgres" / "postmaster.pid").read_text().splitlines()[0])
    try:
        postmaster = psutil.Process(pid)
        everyone = [postmaster, *postmaster.children()]
    except psutil.NoSuchProcess:
        return
    for process in everyone:
        process.kill()
    psutil.wait_procs(everyone, timeout=10)


def test_a_killed_server_that_is_back_for_the_merge(
    mortal: Node, own_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    emptied = []

    def crash(*_: Any) -> None:
        kill_server(own_data)
        embedded.start(own_data)
        emptied.extend(mortal.value(f"SELECT count(*) FROM staging.{name}") for name in mortal.staging_tables())

    Once(monkeypatch, staging.PublicationStager, "read", crash, first=False)
    run = mortal.run()
    assert emptied == [0] * 5
    assert run["status"] == "success", run["error"]
    assert_converged(mortal)


def test_a_killed_server_that_is_gone_for_the_merge(
    mortal: Node, own_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Once(monkeypatch, staging.PublicationStager, "read", lambda *_: kill_server(own_data), first=False)
    with pytest.raises(DatabaseUnavailableError, match="does not answer"):
        mortal.run()
    embedded.start(own_data)
    assert mortal.products() == OLD_NAMES
    # The process lives, and only its lease tells that its run is over.
    with mortal.database.transaction() as connection:
        connection.execute(text("UPDATE starts SET lease_expires_at = now() WHERE status = 'running'"))
    assert mortal.run()["status"] == "success"
    assert_converged(mortal)


def test_a_killed_backend_restarts_the_server_and_the_next_run_converges(
    mortal: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(connection: Any, *_: Any) -> None:
        os.kill(connection.connection.driver_connection.info.backend_pid, signal.SIGKILL)

    Once(monkeypatch, feed, "merge", crash, first=True)
    with suppress(DatabaseUnavailableError):  # while it recovers it does not answer
        assert mortal.run()["status"] == "failed"
    wait_for(mortal)
    with mortal.database.transaction() as connection:
        connection.execute(text("UPDATE starts SET lease_expires_at = now() WHERE status = 'running'"))
    assert mortal.products() == OLD_NAMES
    assert mortal.run()["status"] == "success"
    assert_converged(mortal)


def wait_for(node: Node) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            node.value("SELECT 1")
        except DatabaseUnavailableError:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        else:
            return


def test_a_database_that_refuses_rows_fails_the_run_and_no_other(
    node: Node, folder: FeedFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the disk is full: the connection lives, and the copying alone fails."""
    publish_new(folder)
    other = "urn:cmp:org:other.example"
    FeedFolder(node.root / "other", other).publish([product(1, other)])
    node.configure(crashing.ENTRY, {"name": "other", "registry": "other/registry.json"})

    def refuse(tables: StagingTables, connection: Any, *_: Any) -> None:
        connection.exec_driver_sql(f"ALTER TABLE {tables.name('items')} ADD CONSTRAINT full_disk CHECK (false)")

    Once(monkeypatch, StagingTables, "write", refuse, first=True)
    report = node.start()
    assert [run["status"] for run in report["runs"]] == ["failed", "success"]
    assert "The database failed: " in report["runs"][0]["error"]
    assert "full_disk" in report["runs"][0]["error"]
    assert node.run("acme")["status"] == "success"


# --- the catalogue or the feed changes meanwhile -------------------------------------------------------------------


def move_on(node: Node) -> None:
    """As another merge of the same organization would."""
    with node.database.transaction() as connection:
        connection.exec_driver_sql("UPDATE feeds SET revision = revision + 1")


def test_a_feed_is_read_again_when_the_catalogue_moved_and_nothing_of_the_first_reading_is_left(
    node: Node, folder: FeedFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.publish([product(1), product(9)], [product(2)])
    node.run()
    folder.publish([product(1, name="Withdrawn"), product(3, name=None)], [product(2)])

    def withdraw(*_: Any) -> None:
        folder.publish([product(1), product(9)], [product(2, name="Renamed")])
        move_on(node)

    Once(monkeypatch, staging.PublicationStager, "read", withdraw, first=False)
    run = node.run()
    assert run["status"] == "success"
    assert run["feed"]["shards"] == {"read": 1, "unchanged": 1, "failed": 0}
    assert node.products() == {"1": "Lamp 1", "2": "Renamed", "9": "Lamp 9"}
    found = node.snapshot()
    node.empty()
    node.run()
    assert node.snapshot() == found


def test_a_catalogue_that_moves_all_the_time_is_given_up(
    node: Node, folder: FeedFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.publish([product(1)])
    read = staging.PublicationStager.read

    def changed(*arguments: Any) -> Any:
        result = read(*arguments)
        move_on(node)
        return result

    monkeypatch.setattr(staging.PublicationStager, "read", changed)
    run = node.run()
    assert run["status"] == "failed"
    assert "the catalogue changed 5 times while the feed was read" in run["error"]
    assert node.products() == {}


@pytest.mark.parametrize("content", [b"{", None])
def test_a_shard_that_breaks_before_it_is_read_again_fails_the_run(
    node: Node, folder: FeedFolder, monkeypatch: pytest.MonkeyPatch, content: bytes | None
) -> None:
    folder.publish([product(1, name="First")], [product(1, name="Second"), product(2)])
    node.run()
    folder.publish([product(1, name="First")], [product(2)])

    def breaks(*_: Any) -> None:
        folder.shard("a.json").unlink()
        if content is not None:
            folder.shard("a.json").write_bytes(content)

    broken = Once(monkeypatch, staging.PublicationStager, "read_again", breaks, first=True)
    run = node.run()
    assert broken.done
    assert run["status"] == "failed"
    assert "a.json" in run["error"]
    assert node.products() == {"1": "Second", "2": "Lamp 2"}
    folder.publish([product(1, name="First")], [product(2)])
    assert node.run()["status"] == "success"
    assert node.products() == {"1": "First", "2": "Lamp 2"}


def test_an_error_of_the_nodes_own_making_ends_the_run(
    node: Node, folder: FeedFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bug, or Ctrl-C: the next run does not wait for a lease that nobody holds."""
    publish_new(folder)

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    Once(monkeypatch, feed, "merge", interrupt, first=True)
    with pytest.raises(KeyboardInterrupt):
        node.run()
    assert node.rows("SELECT status, error FROM runs") == [
        {"status": "failed", "error": "Interrupted by KeyboardInterrupt"}
    ]
    assert node.rows("SELECT status FROM starts WHERE status = 'running'") == []
    assert node.run()["status"] == "success"
    assert_converged(node)


class SaidError(RuntimeError):
    """What nobody foresaw, in words that PostgreSQL cannot store."""

    def __init__(self) -> None:
        super().__init__("no \x00 idea\nwhat this is")


def test_an_error_that_nobody_foresaw_ends_one_brands_run_and_no_other(
    node: Node, folder: FeedFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    brands = [f"urn:cmp:org:{name}.example" for name in ("a", "b", "c")]
    entries = []
    for urn in brands:
        name = urn.removeprefix("urn:cmp:org:")
        FeedFolder(node.root / "mall" / name, urn).publish([product(1, urn)])
        feed_of = {"@type": "DataFeed", "url": f"{name}/feed/index.json"}
        entries.append(organization_entry(urn, name=name, productFeed=feed_of))
    (node.root / "mall" / "registry.json").write_bytes(encode(entries))
    publish_new(folder)
    node.configure({"name": "mall", "registry": "mall/registry.json"}, crashing.ENTRY)
    heard: list[BaseException] = []
    monkeypatch.setattr(unforeseen, "_listeners", [heard.append])

    def fail(*_: Any) -> None:
        raise SaidError

    Once(monkeypatch, feed, "merge", fail, first=True)
    with capture_logs() as logs:
        report = node.start()
    assert [run["status"] for run in report["runs"]] == ["failed", "success", "success", "success"]
    assert report["runs"][0]["error"].startswith("SaidError: no  idea. ")
    assert [row["error"] for row in node.rows("SELECT error FROM runs WHERE status = 'failed'")] == [
        report["runs"][0]["error"]
    ]
    assert [type(error) for error in heard] == [SaidError]
    assert [type(event["exc_info"]) for event in logs if "exc_info" in event] == [SaidError]
    assert node.start()["status"] == "success"


def test_an_interruption_in_the_midst_of_a_step_ends_the_whole_start(
    node: Node, folder: FeedFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the time limit of a task does, whatever error it ends as."""
    publish_new(folder)
    wanted = Wanted(uuid4(), "ingest:all", "acme", {})
    start = starts.claim(node.database, wanted, lease=60, max_failures=3, interruptions=(TimeoutError,))
    assert isinstance(start, Start)

    def interrupt(*_: Any) -> None:
        try:
            raise TimeoutError
        except TimeoutError:
            raise RuntimeError("a broken connection") from None

    Once(monkeypatch, feed, "merge", interrupt, first=True)
    with pytest.raises(TimeoutError):
        node.manager.ingest_all("local", "publisher/registry.json", start=start)
    assert node.rows("SELECT status FROM runs") == [{"status": "waiting"}]

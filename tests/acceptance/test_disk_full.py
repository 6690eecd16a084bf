"""A disk that is really full: what does not fit is told and rolled back, and goes in when there is room."""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import make_url

from tests.acceptance.conftest import CommandLine
from tests.conftest import _TEMPLATE, _administrate, _named
from tests.support.feeds import FeedFolder, product
from tests.support.nodes import Node, node_of
from tests.support.services import ROOT, entries, services, until

MIB = 1024 * 1024
ASK = """
from app.worker.tasks.ingest import ingest_all
print(ingest_all.delay("acme", "local", "publisher/registry.json").get(timeout=60)["status"])
"""
SEND = "from app.worker.tasks.ingest import ingest_all; ingest_all.delay('acme', 'local', 'publisher/registry.json')"


@pytest.fixture
def disk() -> Iterator[Path]:
    """A file system of 96 MB, which the user that PostgreSQL runs as can enter."""
    folder = Path(tempfile.mkdtemp(prefix="node-disk-"))
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=96m,mode=755", "tmpfs", folder],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        folder.rmdir()
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", folder], check=True)
    folder.rmdir()


@pytest.fixture
def node(disk: Path, server_url: str, tmp_path: Path) -> Iterator[Node]:
    """A node whose tables are on that disk, and its log of changes elsewhere."""
    place = disk / "tables"
    place.mkdir()
    owner = Path(make_url(server_url).query["host"]).stat()
    os.chown(place, owner.st_uid, owner.st_gid)
    _administrate(server_url, f"CREATE TABLESPACE small LOCATION '{place}'")
    _administrate(server_url, f"CREATE DATABASE small TEMPLATE {_TEMPLATE} TABLESPACE small")
    node = node_of(_named(server_url, "small"), tmp_path)
    yield node
    node.database.engine.dispose()
    _administrate(server_url, "DROP DATABASE small WITH (FORCE)")
    _administrate(server_url, "DROP TABLESPACE small")


@contextmanager
def filled(disk: Path, left: int = 0) -> Iterator[None]:
    """Leaves so many bytes free while the block runs."""
    other = disk / "other"
    free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
    with other.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, free - left)
    try:
        yield
    finally:
        other.unlink()


@pytest.fixture
def publisher(tmp_path: Path) -> FeedFolder:
    return FeedFolder(tmp_path / "publisher")


def few() -> list:
    return [product(key) for key in range(10)]


def many(number: int = 4000) -> list:
    return [product(key, name=f"Chair {key}", description="Made of oak. " * 20) for key in range(number)]


@pytest.mark.parametrize("left", [0, 2 * MIB, 12 * MIB], ids=["at once", "in the middle", "near the end"])
def test_nothing_half_done_is_seen_and_the_next_run_converges(
    node: Node, disk: Path, publisher: FeedFolder, left: int
) -> None:
    publisher.publish(few())
    assert node.run()["status"] == "success"
    before = node.snapshot()
    publisher.publish(many())
    with filled(disk, left):
        report = node.run()
        assert report["status"] == "failed"
        assert "No space left on device" in report["error"]
        assert node.snapshot() == before
    assert node.run()["status"] == "success"
    assert len(node.products()) == 4000
    after = node.snapshot()
    node.empty()
    assert node.run()["status"] == "success"
    assert node.snapshot() == after
    assert node.staging_tables() == []


def test_a_worker_waits_for_room(node: Node, disk: Path, publisher: FeedFolder, tmp_path: Path) -> None:
    publisher.publish(few())
    (tmp_path / "ingestion.yaml").write_text(entries(("acme", "publisher/registry.json")))
    url = node.database.engine.url.render_as_string(hide_password=False)
    with services(tmp_path, DATABASE_URL=url, RETRY_DELAY="1") as started:
        started.worker()
        assert started.python(ASK).strip() == "success"
        publisher.publish(many(500))
        with filled(disk):
            started.python(SEND)
            waiting = until(lambda: node.rows("SELECT * FROM starts WHERE status = 'queued' AND failures > 0"))
            assert "No space left on device" in waiting[0]["error"]
            assert len(node.products()) == 10
        until(lambda: node.value("SELECT count(*) FROM starts WHERE status = 'success'") == 2)
    assert len(node.products()) == 500


def test_the_embedded_server_says_that_its_disk_is_full(disk: Path, publisher: FeedFolder, tmp_path: Path) -> None:
    publisher.publish(few())
    (tmp_path / "ingestion.yaml").write_text(entries(("acme", "publisher/registry.json")))
    command = CommandLine(tmp_path, {"DATA_DIR": str(disk / "data"), "PYTHONPATH": str(ROOT)})
    command.done("ingest")
    with filled(disk):
        assert "its disk is full" in command.refused("ingest", code=1)
    command.done("ingest")

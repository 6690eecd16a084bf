"""A pooler that gives every transaction another session may stand between node and database."""

import os
import pwd
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import make_url, text

from app.db.session import LiveDatabase, end_connections
from app.ingestors.ingestion import STEPS
from tests.support.feeds import FeedFolder, product
from tests.support.nodes import Node, node_of
from tests.support.services import ROOT, Services, entries, environment, services, until

PGBOUNCER = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
OPERATIONS = (ROOT / "docs/operations.md").read_text("utf-8")
ADVICE = OPERATIONS.partition("```ini\n")[2].partition("```")[0]
ASK = (
    "from app.worker.tasks.ingest import ingest_all; "
    "print(ingest_all.delay('acme', 'local', 'publisher/registry.json').get(timeout=60)['status'])"
)
HOLDER = """
import sys, time
from app.core import process
from app.db.session import LiveDatabase
with LiveDatabase(sys.argv[1]).transaction() as connection:
    connection.exec_driver_sql("SELECT pg_advisory_xact_lock(1)")
    print("held by", process.own_name())
    time.sleep(600)
"""

pytestmark = pytest.mark.skipif(PGBOUNCER is None, reason="this machine has no pgbouncer")


def listens(port: int) -> bool:
    with socket.socket() as asking:
        return asking.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def pooled_url(database_url: str, tmp_path: Path) -> Iterator[str]:
    """The database by way of a pooler with the documented settings, and with fewer sessions than the node asks for."""
    assert "pool_mode = transaction" in ADVICE
    url = make_url(database_url)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    (tmp_path / "users.txt").write_text('"postgres" ""\n')
    (tmp_path / "pgbouncer.ini").write_text(
        f"[databases]\n{url.database} = host={url.query['host']} dbname={url.database} user=postgres\n"
        f"[pgbouncer]\n{ADVICE}listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
        f"auth_type = any\nauth_file = {tmp_path}/users.txt\n"
    )
    # It refuses to run as root; the server's user may use the server's socket.
    owner = pwd.getpwuid(Path(url.query["host"]).stat().st_uid).pw_name
    user = ["-u", owner] if os.getuid() == 0 else []
    with (tmp_path / "pgbouncer.log").open("wb") as log:
        process = subprocess.Popen([PGBOUNCER, *user, tmp_path / "pgbouncer.ini"], stdout=log, stderr=log)
    until(lambda: listens(port) or process.poll() is not None, 10)
    assert process.poll() is None, (tmp_path / "pgbouncer.log").read_text()
    yield f"postgresql+psycopg://postgres@127.0.0.1:{port}/{url.database}"
    process.terminate()
    process.wait(20)


@pytest.fixture
def node(pooled_url: str, tmp_path: Path) -> Iterator[Node]:
    node = node_of(pooled_url, tmp_path)
    yield node
    node.database.engine.dispose()


def test_a_node_and_its_worker_work_through_it(node: Node, pooled_url: str, tmp_path: Path) -> None:
    publisher = FeedFolder(tmp_path / "publisher")
    publisher.publish(*([product(4 * key + shard) for key in range(20)] for shard in range(4)))
    assert node.run(steps=STEPS)["status"] == "success"
    assert len(node.indexed()) == 80

    (tmp_path / "ingestion.yaml").write_text(entries(("acme", "publisher/registry.json")))
    publisher.publish([product("one", name="Green chair"), *(product(key) for key in range(80))])
    with services(tmp_path, DATABASE_URL=pooled_url) as started:
        started.worker("--concurrency=2")
        assert started.python(ASK).strip() == "success"
        assert node.found("a green chair")[0] == "Green chair"
        publisher.publish([product(key) for key in range(70)])
        assert started.python(ASK).strip() == "success"
    assert "Green chair" not in node.found("a green chair")
    assert len(node.indexed()) == 70
    assert node.value("SELECT count(*) FROM starts WHERE status = 'success' AND attempt = 1") == 3


def test_the_connections_of_a_lost_worker_are_found_through_it(
    node: Node, pooled_url: str, database: LiveDatabase, tmp_path: Path
) -> None:
    """One that is killed in a transaction leaves a session of the pooler's with its name, and its locks."""
    holder = Services(tmp_path, environment(tmp_path)).start("python", "-c", HOLDER, pooled_url)
    holder.says("held by ")
    name = holder.said().partition("held by ")[2].strip()
    with database.transaction() as connection:
        assert not connection.execute(text("SELECT pg_try_advisory_xact_lock(1)")).scalar_one()
    with node.database.transaction() as connection:
        end_connections(connection, name)
    with database.transaction() as connection:
        assert connection.execute(text("SELECT pg_try_advisory_xact_lock(1)")).scalar_one()
    holder.kill()


@pytest.mark.parametrize("is_pooled", [True, False])
def test_what_is_asked_again_is_planned_once_unless_a_pooler_stands_between(
    node: Node, pooled_url: str, database: LiveDatabase, *, is_pooled: bool
) -> None:
    url = pooled_url if is_pooled else database.engine.url.render_as_string(hide_password=False)
    serving = LiveDatabase(url, connections=1, prepares=True)
    for number in range(10):
        with serving.reading(5) as connection:
            assert connection.execute(text("SELECT :number + 1"), {"number": number}).scalar_one() == number + 1
            kept = connection.execute(text("SELECT count(*) FROM pg_prepared_statements")).scalar_one()
    serving.engine.dispose()
    assert (kept == 0) == is_pooled

"""Search on a streaming replica: a second server that follows the first."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import make_url

from app.core.errors import DiscoveryNodeError
from app.db import embedded
from app.db.session import LiveDatabase, connect_to_read
from tests.support.api import api
from tests.support.feeds import FeedFolder, product
from tests.support.nodes import Node
from tests.support.services import until


@pytest.fixture
def replica_url(node: Node) -> str:
    """A server that holds what the node's database held when the fixture began, and follows it."""
    primary = node.database.engine.url
    source, folder = Path(str(primary.query["host"])), Path(tempfile.mkdtemp(prefix="node-replica-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)  # after the server, which stops at exit, has stopped
    with node.database.engine.connect() as connection:
        connection.exec_driver_sql("SELECT pg_backup_start('replica', fast => true)")
        shutil.copytree(source, folder / "postgres", ignore=shutil.ignore_patterns("postmaster.*", ".s.*"))
        label = connection.exec_driver_sql(
            "SELECT labelfile FROM pg_backup_stop(wait_for_archive => false)"
        ).scalar_one()
    (folder / "postgres" / "backup_label").write_text(label)
    (folder / "postgres" / "standby.signal").touch()
    with (folder / "postgres" / "postgresql.auto.conf").open("a") as settings:
        settings.write(f"primary_conninfo = 'host={source} user=postgres'\n")
    _give_to(source.stat(), folder)
    url = make_url(embedded.start(folder)).set(database=primary.database)
    return url.render_as_string(hide_password=False)


def test_search_and_products_come_from_the_replica(node: Node, folder: FeedFolder, replica_url: str) -> None:
    folder.publish([product(1), product(2)])
    node.run()
    replica = LiveDatabase(replica_url)
    until(lambda: _count(replica) == 2)
    with replica.transaction() as connection:
        assert connection.exec_driver_sql("SELECT pg_is_in_recovery()").scalar_one()
        connection.exec_driver_sql("SELECT pg_wal_replay_pause()")
    folder.publish([product(1)])
    node.run()
    with api(node.database, node.settings, database_url=_url(node), database_read_url=SecretStr(replica_url)) as client:
        assert client.get("/readyz").json() == {"status": "ok", "missing": {}}
        assert len(client.get("/products").json()["products"]) == 2  # the replica is behind, and is what is asked
    with api(node.database, node.settings) as client:
        assert len(client.get("/products").json()["products"]) == 1
    with replica.transaction() as connection:
        connection.exec_driver_sql("SELECT pg_wal_replay_resume()")
    until(lambda: _count(replica) == 1)
    replica.engine.dispose()


def test_a_replica_that_is_away_is_named(node: Node) -> None:
    settings = node.settings.model_copy(
        update={"database_url": _url(node), "database_read_url": SecretStr("postgresql://127.0.0.1:1/node")}
    )
    with (
        pytest.raises(DiscoveryNodeError, match="/node does not answer") as raised,
        connect_to_read(settings).transaction(),
    ):
        pass
    assert "DATABASE_READ_URL" in raised.value.remedy


def test_a_node_whose_replica_is_away_or_behind_is_not_ready(node: Node, database: LiveDatabase) -> None:
    def asked(replica: str) -> tuple[list[str], int]:
        with api(node.database, node.settings, database_url=_url(node), database_read_url=SecretStr(replica)) as client:
            ready = client.get("/readyz")
            missing = list(ready.json()["missing"])
            assert ready.status_code == (503 if missing else 200)
            return missing, client.get("/products").status_code

    standing_in = database.engine.url.render_as_string(hide_password=False)
    assert asked(standing_in) == ([], 200)
    with database.transaction() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0001'")
    assert asked(standing_in)[0] == ["replica"]
    assert asked("postgresql://nobody@127.0.0.1:1/nothing") == (["replica"], 503)


def _give_to(owner: os.stat_result, folder: Path) -> None:
    """As root, the servers of the tests run as another user."""
    if os.getuid() == 0:
        for path in [folder, *folder.rglob("*")]:
            os.chown(path, owner.st_uid, owner.st_gid)


def _url(node: Node) -> SecretStr:
    return SecretStr(node.database.engine.url.render_as_string(hide_password=False))


def _count(database: LiveDatabase) -> int:
    with database.transaction() as connection:
        return connection.exec_driver_sql("SELECT count(*) FROM products WHERE deleted_at IS NULL").scalar_one()

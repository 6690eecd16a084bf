"""Feeds of FTP servers and stores of objects into the catalogue: whole, and cheaply when nothing changed."""

import os
from pathlib import Path

from app.ingestors.validation import validate
from tests.support.feeds import FeedFolder, product
from tests.support.ftp import PASSWORD, USER, FtpServer
from tests.support.nodes import Node
from tests.support.store import ACCESS_KEY, SECRET_KEY, ObjectStore

OPENED = {"allowed_private_hosts": "127.0.0.1", "fetch_retries": 0}


def _settle(folder: Path) -> None:
    for file in folder.rglob("*.json"):
        os.utime(file, (1_000_000_000, 1_000_000_000))


def test_a_feed_of_an_ftp_server_is_ingested_and_not_transferred_again(node: Node, folder: FeedFolder) -> None:
    folder.publish([product(1), product(2)], [product(3)])
    _settle(folder.path)
    node.settings = node.settings.model_copy(update=OPENED)
    with FtpServer(folder.path, anonymous=False) as server:
        registry = f"{server.url}/registry.json"
        node.configure(
            {"name": "acme", "source_type": "ftp", "registry": registry, "username": USER, "password": PASSWORD}
        )
        assert node.run()["feed"]["products"]["inserted"] == 3
        assert [check.changed for check in node.manager.check_feed_updates()] == [[]]
        server.commands.clear()
        assert node.run(steps=("feed",))["feed"]["shards"] == {"read": 0, "unchanged": 2, "failed": 0}
        assert "RETR" not in [command for command, name in server.commands if "feed/" in name]
        folder.publish([product(1, name="Another lamp"), product(2)], [product(3)])
        _settle(folder.path)
        assert [len(check.changed) for check in node.manager.check_feed_updates()] == [1]
        assert node.run()["feed"]["products"]["updated"] == 1


def test_a_feed_of_a_store_is_ingested_and_not_transferred_again(node: Node, folder: FeedFolder) -> None:
    folder.publish([product(1), product(2)], [product(3)])
    node.settings = node.settings.model_copy(update=OPENED)
    with ObjectStore() as store:
        for file in folder.path.rglob("*.json"):
            store.put(file.relative_to(folder.path).as_posix(), file.read_bytes())
        node.configure(
            {
                "name": "acme", "source_type": "s3", "registry": f"{store.url}/registry.json",
                "endpoint_url": store.endpoint_url, "username": ACCESS_KEY, "password": SECRET_KEY,
            }
        )  # fmt: skip
        assert node.run()["feed"]["products"]["inserted"] == 3
        assert [check.changed for check in node.manager.check_feed_updates()] == [[]]
        assert node.run(steps=("feed",))["feed"]["shards"] == {"read": 0, "unchanged": 2, "failed": 0}


def test_a_feed_of_an_ftp_server_can_be_looked_at_before(node: Node, folder: FeedFolder) -> None:
    folder.publish([product(1)])
    settings = node.settings.model_copy(update=OPENED)
    with FtpServer(folder.path) as server:
        assert validate(f"{server.url}/feed/index.json", settings=settings).counts.products == 1

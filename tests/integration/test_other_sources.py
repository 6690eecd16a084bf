"""Feeds of FTP servers and stores of objects into the catalogue: whole, and cheaply when nothing changed."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from app.core.config import Settings
from app.ingestors.base import SourceError
from app.ingestors.validation import validate
from tests.support.feeds import FeedFolder, product
from tests.support.ftp import PASSWORD, USER, FtpServer
from tests.support.nodes import Node
from tests.support.store import ACCESS_KEY, SECRET_KEY, ObjectStore
from tests.support.web import Site, WebServer

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
        server.commands.clear()
        assert [check.changed for check in node.manager.check_feed_updates()] == [[]]
        assert "RETR" not in [command for command, _ in server.commands]
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


@pytest.fixture(params=["ftp", "ftps", "s3"])
def published(
    request: pytest.FixtureRequest, folder: FeedFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[str, Settings]]:
    """Where the folder is served, and settings to look at it with."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    settings = Settings(_env_file=None, ca_bundle=tmp_path / "ca.pem", **OPENED)
    if request.param != "s3":
        with FtpServer(folder.path, tls=authority if request.param == "ftps" else None) as server:
            yield server.url, settings
        return
    (tmp_path / "bucket").symlink_to(folder.path)
    with WebServer(Site(tmp_path)) as store:
        chosen = {"ENDPOINT_URL_S3": store.url, "ACCESS_KEY_ID": ACCESS_KEY, "SECRET_ACCESS_KEY": SECRET_KEY,
                  "DEFAULT_REGION": "us-east-1"}  # fmt: skip
        for name, value in chosen.items():
            monkeypatch.setenv(f"AWS_{name}", value)
        yield "s3://bucket", settings


def test_a_feed_can_be_looked_at_where_it_is(published: tuple[str, Settings], folder: FeedFolder) -> None:
    url, settings = published
    folder.publish([product(1)], [product(2, name=...)], [product(3)])
    folder.shard("c.json").unlink()
    report = validate(f"{url}/feed/index.json", settings=settings)
    assert (report.kind, report.counts.products) == ("feed", 1)
    found = {issue.code: (issue.shard, issue.message) for issue in report.issues if issue.severity == "error"}
    assert found.keys() == {"name-missing", "shard-missing"}
    shard, told = found["shard-missing"]
    assert shard == "c.json"
    assert f"{url}/feed/c.json" in told
    assert validate(f"{url}/registry.json", settings=settings).kind == "registry"


def test_what_cannot_be_looked_at_is_named_with_a_remedy(published: tuple[str, Settings], folder: FeedFolder) -> None:
    url, settings = published
    folder.publish([product(1)])
    closed = settings.model_copy(update={"allowed_private_hosts": ""})
    for path, chosen, told in [
        (f"{url}/none.json", settings, r"none\.json: .*there is no such"),
        (f"{url}/registry.json", closed, "127.0.0.1 is loopback"),
        (f"{url}/", settings, "names no file|has a key that cannot be asked for"),
    ]:
        with pytest.raises(SourceError, match=told) as caught:
            validate(path, settings=chosen)
        assert caught.value.remedy


def test_tls_that_is_not_trusted_is_told(folder: FeedFolder) -> None:
    with FtpServer(folder.path, tls=trustme.CA()) as server, pytest.raises(SourceError, match="TLS failed") as caught:
        validate(f"{server.url}/registry.json", settings=Settings(_env_file=None, **OPENED))
    assert caught.value.remedy


def test_a_url_of_another_kind_names_those_that_are_read() -> None:
    with pytest.raises(SourceError, match="the scheme 'gopher'") as caught:
        validate("gopher://shop.example/feed.json")
    assert "ftps, s3" in caught.value.remedy

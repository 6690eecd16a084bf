"""What is special about stores of objects: signed by boto3, sent through the door."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from app.core.config import Settings
from app.core.errors import ConfigurationError
from app.ingestors.base import ForbiddenAddressError, ForbiddenPathError, SourceError, UnreachableError
from app.ingestors.sources import tries
from app.ingestors.sources.base import BaseSource
from app.ingestors.sources.factory import SourceConfig, SourceFactory
from tests.support.store import ACCESS_KEY, SECRET_KEY, ObjectStore
from tests.support.web import Exchange, Site, WebServer

FEED = "s3://archive/brand/feed.json"


def s3(endpoint_url: str, *, allowed_origins: frozenset[str] = frozenset(), **chosen: object) -> BaseSource:
    settings = {"allowed_private_hosts": "127.0.0.1", "fetch_retries": 0, "stall_timeout": 0.4} | chosen
    settings = {"first_byte_timeout": 0.4} | settings
    return SourceFactory.create(
        "s3",
        SourceConfig(
            username=ACCESS_KEY, password=SecretStr(SECRET_KEY), endpoint_url=endpoint_url,
            allowed_origins=allowed_origins, settings=Settings(_env_file=None, **settings),
        ),
    )  # fmt: skip


@pytest.fixture(scope="module")
def store() -> Iterator[ObjectStore]:
    with ObjectStore() as store:
        yield store


def test_what_did_not_change_is_not_sent_again(store: ObjectStore) -> None:
    store.put("feed.json", b"[1]")
    source = s3(store.endpoint_url, first_byte_timeout=10)
    with source.open(f"{store.url}/feed.json") as document:
        assert set(document.validators) == {"etag", "last_modified", "size"}
    assert source.open_if_changed(f"{store.url}/feed.json", document.validators) is None


def test_a_version_is_told_without_the_object(tmp_path: Path) -> None:
    (tmp_path / "archive").mkdir()
    (tmp_path / "archive" / "feed.json").write_bytes(b"[1, 2]" * 50_000)
    with WebServer(Site(tmp_path)) as server:
        source = s3(server.url)
        with source.open("s3://archive/feed.json") as document:
            assert document.validators
        server.forget()
        assert source.version("s3://archive/feed.json") == document.validators
        assert source.open_if_changed("s3://archive/feed.json", document.validators) is None
        assert server.asked == [("HEAD", "/archive/feed.json"), ("GET", "/archive/feed.json")]
        assert server.sent < 500


@pytest.mark.parametrize(
    ("body", "status", "headers"),
    [
        (b"<Error>" + b"<a>" * 2000 + b"</a>" * 2000 + b"</Error>", 500, {}), (b"[1]", 200, {"last_modified": "soon"}),
        (b"[1]", 200, {"x_amz_missing_meta": "many"}), (b"[1]", 200, {"x_amz_mp_parts_count": "9" * 5000}),
    ],
)  # fmt: skip
def test_what_boto3_cannot_read_is_a_passing_fault(body: bytes, status: int, headers: dict[str, str]) -> None:
    odd = WebServer(lambda exchange: exchange.reply(status, body, etag='"1"', **headers))
    with odd as server, pytest.raises(UnreachableError, match="the answer is not S3's") as caught:
        s3(server.url).open(FEED)
    assert caught.value.transient


def test_a_store_need_not_say_how_long_an_object_is() -> None:
    def respond(exchange: Exchange) -> None:
        exchange.reply(200, b"3\r\n[1]\r\n0\r\n\r\n", etag='"1"', transfer_encoding="chunked")

    with WebServer(respond) as server, s3(server.url).open(FEED) as document:
        assert (bytes(document.content()), document.validators) == (b"[1]", {"etag": '"1"'})


@pytest.mark.parametrize("status", [201, 204, 206])
def test_only_the_whole_object_is_one(status: int) -> None:
    body = b"" if status == 204 else b"[1]"
    partial = WebServer(lambda exchange: exchange.reply(status, body))
    with partial as server, pytest.raises(SourceError, match=f"HTTP {status}, which is no object"):
        s3(server.url).open(FEED)


def test_keys_are_meant_as_they_are_written(store: ObjectStore) -> None:
    source = s3(store.endpoint_url, first_byte_timeout=10)
    for key in ("a b.json", "a%20b.json", "ü/~(1)+&=.json", "what?.json", "no#1.json"):
        store.put(f"brand/{key}", key.encode())
        assert source.fetch(source.resolve(f"{store.url}/brand/feed.json", key)) == key


def test_documents_name_objects_of_their_bucket_unless_another_is_listed() -> None:
    source = s3("http://127.0.0.1:1", allowed_origins=frozenset({"s3://mirror"}))
    assert source.resolve(FEED, "../shards/one.json") == "s3://archive/shards/one.json"
    assert source.resolve(FEED, "/one.json") == "s3://archive/one.json"
    assert source.resolve(FEED, "../../../one.json") == "s3://archive/one.json"
    assert source.resolve(FEED, "s3://mirror/one.json") == "s3://mirror/one.json"
    for resolve in (source.resolve, source.resolve_feed):
        with pytest.raises(ForbiddenPathError, match="another bucket"):
            resolve(FEED, "s3://payroll/2026.json")


@pytest.mark.parametrize("reference", ["s3://archive/../payroll/a", "s3://Archive/a", "s3://archive", "a\r\nb", ""])
def test_what_is_no_object_is_refused_with_a_remedy(reference: str) -> None:
    with pytest.raises(SourceError) as caught:
        s3("http://127.0.0.1:1").resolve(FEED, reference)
    assert caught.value.remedy


def test_a_private_endpoint_has_to_be_opened() -> None:
    with WebServer(lambda exchange: exchange.reply(200)) as server:
        with pytest.raises(ForbiddenAddressError, match="loopback"):
            s3(server.url, allowed_private_hosts="").open(FEED)
        with pytest.raises(ForbiddenAddressError, match="metadata"):
            s3("http://169.254.169.254").open(FEED)
    assert server.connections == 0


def test_a_redirect_is_not_followed_with_the_signature() -> None:
    with WebServer(lambda exchange: exchange.reply(200, b"[1]")) as elsewhere:
        moved = WebServer(lambda exchange: exchange.reply(307, location=f"{elsewhere.url}/archive/feed.json"))
        with moved as server, pytest.raises(SourceError, match="from one place to another"):
            s3(server.url).open(FEED)
    assert elsewhere.requests == []


def _refuse(exchange: Exchange) -> None:
    told = f"<Error><Code>AccessDenied</Code><Message>{SECRET_KEY}</Message></Error>"
    exchange.reply(403, told.encode())


def test_a_refusal_is_told_without_any_secret() -> None:
    with WebServer(_refuse) as server, pytest.raises(SourceError, match="HTTP 403") as caught:
        s3(server.url).open(FEED)
    assert SECRET_KEY not in f"{caught.value} {caught.value.remedy}"
    assert not caught.value.transient
    assert all(SECRET_KEY not in value for request in server.requests for value in request.headers.values())


def _babble(exchange: Exchange) -> None:
    exchange.send(b"HTTP/1.1 500 Told\r\nConnection: close\r\n\r\n")
    exchange.send(b"x" * 4 * 1024**2)
    exchange.hang_up()


def _stall(exchange: Exchange) -> None:
    exchange.send(b'HTTP/1.1 200 Told\r\nContent-Length: 9\r\nETag: "a"\r\n\r\n[')
    time.sleep(2)
    exchange.hang_up()


def _cut(exchange: Exchange) -> None:
    exchange.send(b'HTTP/1.1 200 Told\r\nContent-Length: 9\r\nETag: "a"\r\n\r\n[')
    exchange.hang_up()


def _busy(exchange: Exchange) -> None:
    exchange.reply(503, b"<Error><Code>SlowDown</Code></Error>")


@pytest.mark.parametrize("respond", [_babble, _stall, _cut, _busy, lambda exchange: exchange.hang_up()])
def test_stores_that_stall_break_off_or_babble_fail_in_passing(respond) -> None:
    begun = time.monotonic()
    with WebServer(respond) as server, pytest.raises(UnreachableError) as caught:
        s3(server.url).open(FEED)
    assert time.monotonic() - begun < 2
    assert caught.value.transient
    assert caught.value.remedy


def test_what_fails_in_passing_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tries, "_BACKOFF", 0.01)
    with WebServer(_busy) as server, pytest.raises(UnreachableError, match="HTTP 503"):
        s3(server.url, fetch_retries=2).open(FEED)
    assert len(server.requests) == 3


def test_without_credentials_the_remedy_names_them(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"AWS_EC2_METADATA_DISABLED": "true", "AWS_SHARED_CREDENTIALS_FILE": "/none"}.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    config = SourceConfig(endpoint_url="http://127.0.0.1:1", settings=Settings(_env_file=None))
    with pytest.raises(SourceError, match="no credentials") as caught:
        SourceFactory.create("s3", config).open(FEED)
    assert "`username`" in caught.value.remedy


def test_without_boto3_the_remedy_is_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "app.ingestors.sources.s3", raising=False)
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(ConfigurationError, match="boto3") as caught:
        SourceFactory.create("s3")
    assert "discovery-node[s3]" in caught.value.remedy

"""What only a source of the web does."""

import gzip
import hashlib
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import brotli
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from app.core.config import Settings
from app.ingestors.base import ForbiddenAddressError, ForbiddenPathError, GoneError, SourceError, UnreachableError
from app.ingestors.sources import tries
from app.ingestors.sources.base import BaseSource
from app.ingestors.sources.factory import SourceConfig, SourceFactory
from tests.support.web import Exchange, Respond, Site, WebServer

TEXT = b'{"a": 1}' * 500


@pytest.fixture
def serve() -> Iterator[Callable[..., WebServer]]:
    with ExitStack() as stack:
        yield lambda respond: stack.enter_context(WebServer(respond))


def source(*, changed: dict | None = None, **config: object) -> BaseSource:
    chosen: dict = {"allowed_private_hosts": "127.0.0.1", "fetch_retries": 0, "stall_timeout": 0.5} | (changed or {})
    return SourceFactory.create("remote", SourceConfig(settings=Settings(_env_file=None, **chosen), **config))


def replies(status: int = 200, body: bytes = TEXT, **headers: str) -> Respond:
    return lambda exchange: exchange.reply(status, body, **headers)


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tries, "_BACKOFF", 0.01)


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [
        ("gzip", gzip.compress), ("GZIP", lambda data: gzip.compress(data[:9]) + gzip.compress(data[9:])),
        ("x-gzip", gzip.compress), ("br", brotli.compress), ("zstd", zstandard.compress), ("deflate", zlib.compress),
        ("deflate", raw_deflate), ("identity", bytes), ("gzip", lambda data: gzip.compress(data) + bytes(512)),
    ],
)  # fmt: skip
def test_encodings_are_unpacked_and_the_hash_is_that_of_the_document(
    serve, encoding: str, pack: Callable[[bytes], bytes]
) -> None:
    server = serve(replies(body=pack(TEXT), content_encoding=encoding))
    with source().open(server.url) as document:
        assert document.stored == TEXT
        assert document.sha256 == hashlib.sha256(TEXT).digest()
    assert server.requests[0].headers["accept-encoding"] == "gzip, br, zstd"


@pytest.mark.parametrize("encoding", ["compress", "gzip, gzip", "aes128gcm"])
def test_an_unknown_encoding_is_named(serve, encoding: str) -> None:
    with pytest.raises(SourceError, match=f"Content-Encoding '{encoding}'"):
        source().open(serve(replies(content_encoding=encoding)).url)


@pytest.mark.parametrize(
    ("encoding", "pack"), [("gzip", gzip.compress), ("br", brotli.compress), ("zstd", zstandard.compress)]
)
def test_a_bomb_is_stopped_while_it_is_unpacked(serve, encoding: str, pack: Callable[[bytes], bytes]) -> None:
    server = serve(replies(body=pack(bytes(80 * 1024**2)), content_encoding=encoding))
    with pytest.raises(SourceError, match="500 times its size"):
        source().open(server.url)


@pytest.mark.parametrize("encoding", ["gzip", "br", "zstd", "deflate"])
def test_what_is_not_packed_as_it_says_is_damaged(serve, encoding: str) -> None:
    with pytest.raises(SourceError, match="damaged"):
        source().open(serve(replies(body=b"{} is not packed", content_encoding=encoding)).url)


def test_a_length_that_is_too_large_is_refused_before_it_comes(serve) -> None:
    server = serve(lambda exchange: (exchange.reply(200, b"x", content_length="99999999999"), time.sleep(2)))
    began = time.monotonic()
    with pytest.raises(SourceError, match="more than 2147483648 bytes"):
        source().open(server.url)
    assert time.monotonic() - began < 0.4


def test_the_etag_is_the_version(serve) -> None:
    server = serve(lambda e: e.reply(304 if e.headers.get("if-none-match") == 'W/"7"' else 200, TEXT, etag='W/"7"'))
    reader = source()
    with reader.open(server.url) as document:
        assert document.validators == {"etag": 'W/"7"'}
    assert reader.open_if_changed(server.url, document.validators) is None
    assert reader.version(server.url) == document.validators
    assert reader.open_if_changed(server.url, {"etag": '"6"'}).stored == TEXT
    assert reader.open_if_changed(server.url, {}).stored == TEXT


def test_an_old_date_is_a_version_and_a_fresh_one_is_not(serve) -> None:
    dates = {"/old": "Tue, 03 Nov 2020 10:00:00 GMT", "/new": format_datetime(datetime.now(UTC), usegmt=True)}
    server = serve(
        lambda e: e.reply(304 if "if-modified-since" in e.headers else 200, TEXT, last_modified=dates[e.path])
    )
    reader = source()
    with reader.open(f"{server.url}/old") as document:
        assert document.validators == {"last_modified": dates["/old"]}
    assert reader.open_if_changed(f"{server.url}/old", document.validators) is None
    with reader.open(f"{server.url}/new") as document:
        assert document.validators == {}


@pytest.mark.parametrize("headers", [{}, {"etag": ""}, {"etag": '"ä"'}, {"etag": "x" * 600}, {"last_modified": "soon"}])
def test_what_is_no_version_is_none(serve, headers: dict[str, str]) -> None:
    server = serve(replies(**headers))
    with source().open(server.url) as document:
        assert document.validators == {}
    assert source().version(server.url) == {}


@pytest.mark.parametrize("status", [400, 403, 405, 501])
def test_a_server_without_head_has_no_versions(serve, status: int) -> None:
    server = serve(lambda exchange: exchange.reply(status if exchange.method == "HEAD" else 200, TEXT, etag='"1"'))
    assert source().version(server.url) == {}


def test_a_304_about_another_version_is_not_believed(serve) -> None:
    server = serve(lambda e: e.reply(304 if "if-none-match" in e.headers else 200, TEXT, etag='"now"'))
    with source().open_if_changed(server.url, {"etag": '"before"'}) as document:
        assert document.stored == TEXT
    assert len(server.requests) == 2


def test_a_304_that_nobody_asked_for_is_an_error(serve) -> None:
    with pytest.raises(SourceError, match="304"):
        source().open(serve(replies(304, b"")).url)


@pytest.mark.parametrize(
    ("status", "error", "transient"),
    [
        (404, UnreachableError, True), (410, GoneError, False), (401, SourceError, False), (403, SourceError, False),
        (400, SourceError, False), (204, SourceError, False), (206, SourceError, False), (300, SourceError, False),
        (429, UnreachableError, True), (500, UnreachableError, True), (503, UnreachableError, True),
    ],
)  # fmt: skip
def test_a_status_says_whether_it_may_pass(serve, status: int, error: type[SourceError], transient: bool) -> None:
    with pytest.raises(error, match=f"HTTP {status}") as caught:
        source().open(serve(replies(status)).url)
    assert caught.value.transient is transient


def test_what_passes_is_tried_again(serve) -> None:
    statuses = iter([503, 500, 429, 200])
    server = serve(lambda exchange: exchange.reply(next(statuses), TEXT))
    with source(changed={"fetch_retries": 3}).open(server.url) as document:
        assert document.stored == TEXT
    assert len(server.requests) == 4


def test_a_broken_connection_is_tried_again(serve) -> None:
    lengths = iter(["99999", str(len(TEXT))])
    server = serve(lambda exchange: (exchange.reply(200, TEXT, content_length=next(lengths)), exchange.hang_up()))
    with source(changed={"fetch_retries": 1}).open(server.url) as document:
        assert document.stored == TEXT


def test_what_does_not_pass_is_not_tried_again(serve) -> None:
    for status in (404, 410, 403):
        server = serve(replies(status))
        with pytest.raises(SourceError):
            source(changed={"fetch_retries": 3}).open(server.url)
        assert len(server.requests) == 1


def test_a_short_retry_after_is_waited_for(serve) -> None:
    statuses, began = iter([503, 200]), time.monotonic()
    server = serve(lambda exchange: exchange.reply(next(statuses), TEXT, retry_after="1"))
    source(changed={"fetch_retries": 3}).open(server.url).close()
    assert time.monotonic() - began >= 1


@pytest.mark.parametrize(
    ("value", "least", "most"), [("3600", 3600, 3600), ("999999999999", 86400, 86400), ("in an hour", 3500, 3600)]
)
def test_a_long_retry_after_is_left_to_the_next_run(serve, value: str, least: float, most: float) -> None:
    if value == "in an hour":
        value = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    server = serve(replies(503, retry_after=value))
    with pytest.raises(UnreachableError) as caught:
        source(changed={"fetch_retries": 3}).open(server.url)
    assert least <= caught.value.retry_after <= most
    assert len(server.requests) == 1


def test_a_server_that_delivers_nothing_is_left_alone(serve) -> None:
    server, reader = serve(replies(500)), source()
    for _ in range(20):
        with pytest.raises(UnreachableError):
            reader.open(server.url)
    assert len(server.requests) == 5


def test_a_page_in_place_of_the_document_is_no_document(serve) -> None:
    with pytest.raises(UnreachableError, match="page of HTML") as caught:
        source().open(serve(replies(body=b"\n<!doctype html><title>Maintenance</title>")).url)
    assert caught.value.transient


def test_a_shard_is_of_the_feeds_origin_or_an_allowed_one() -> None:
    reader = source(allowed_origins=frozenset({"https://cdn.example:443"}))
    base = "https://shop.example/cmp/feed.json"
    for reference, found in {
        "a.json": "https://shop.example/cmp/a.json",
        "/b.json?v=1#x": "https://shop.example/b.json?v=1",
        "../../c.json": "https://shop.example/c.json",
        "https://SHOP.example:443/d.json": "https://shop.example/d.json",
        "https://cdn.example/e.json": "https://cdn.example/e.json",
    }.items():
        assert reader.resolve(base, reference) == found
    for reference in ("https://evil.example/a.json", "//evil.example/a.json", "http://shop.example/a.json",
                      "https://shop.example:8443/a.json", "https://shop.example.evil.example/a.json"):  # fmt: skip
        with pytest.raises(ForbiddenPathError, match="of another origin") as caught:
            reader.resolve(base, reference)
        assert "allowed_origins" in caught.value.remedy
    assert reader.resolve("http://shop.example/feed.json", "https://shop.example/a.json")


@pytest.mark.parametrize("reference", ["file:///etc/passwd", "https://user:pw@shop.example/", "javascript:x"])
def test_a_feed_leads_nowhere_else(reference: str) -> None:
    with pytest.raises(ForbiddenAddressError):
        source().resolve("https://shop.example/feed.json", reference)


def test_a_feed_that_moved_names_its_shards_from_there(serve, tmp_path: Path) -> None:
    (tmp_path / "feed.json").write_bytes(TEXT)
    new = serve(Site(tmp_path))
    old = serve(lambda exchange: exchange.reply(301, location=f"{new.url}/feed.json"))
    reader = source()
    reader.open(f"{old.url}/feed.json").close()
    assert reader.resolve(f"{old.url}/feed.json", "a.json") == f"{new.url}/a.json"
    assert reader.resolve(f"{old.url}/feed.json", f"{old.url}/a.json") == f"{old.url}/a.json"


def test_a_registry_names_feeds_of_other_origins() -> None:
    found = source().resolve_feed("https://registry.example/all.json", "https://shop.example/feed.json")
    assert found == "https://shop.example/feed.json"


def test_a_bare_domain_is_its_well_known_feed() -> None:
    assert source().resolve("shop.example", "a.json") == "https://shop.example/.well-known/cmp/a.json"
    with pytest.raises(SourceError, match="no scheme"):
        source().open("shop.example/feed.json")


def test_credentials_are_for_the_entrys_own_servers(serve) -> None:
    own, other = serve(replies()), serve(replies())
    reader = source(headers={"X-Key": SecretStr("k")}, username="me", password=SecretStr("pw"), paths=(own.url,))
    for server in (own, other):
        reader.open(server.url).close()
    assert own.requests[0].headers["authorization"] == "Basic bWU6cHc="
    assert own.requests[0].headers["x-key"] == "k"
    assert not {"authorization", "x-key"} & set(other.requests[0].headers)


def test_no_error_tells_a_secret(serve) -> None:
    answers = [
        replies(404), replies(503), replies(401), replies(body=b"<html>"), replies(302, location="?s=secret"),
        replies(content_encoding="gzip"), replies(content_length="9999999999999"),
    ]  # fmt: skip
    for respond in answers:
        reader = source(headers={"X-Key": SecretStr("secret")})
        with pytest.raises(SourceError) as caught:
            reader.open(f"{serve(respond).url}/feed.json?token=secret")
        assert "secret" not in f"{caught.value} {caught.value.remedy} {caught.value.__cause__}"
        assert "feed.json" in str(caught.value)


def test_documents_of_one_byte_chunks_stay_small(serve) -> None:
    def respond(exchange: Exchange) -> None:
        exchange.reply(200, b"1\r\nx\r\n" * 200_000 + b"0\r\n\r\n", transfer_encoding="chunked")

    with source().open(serve(respond).url) as document:
        assert document.stored == b"x" * 200_000


@given(
    st.binary(max_size=300),
    st.sampled_from([b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Encoding: br\r\n\r\n"]),
)
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_answer_raises_anything_else(noise_server, data: bytes, head: bytes) -> None:
    server, answer = noise_server
    answer[0] = head + data
    try:
        source().open(server.url).close()
    except SourceError as error:
        assert error.remedy  # noqa: PT017 - most answers are errors


@given(
    st.text(max_size=60),
    st.sampled_from(["", "http://", "//", "https://shop.example", "http://[", "?", "#", "http://a@"]),
)
@settings(max_examples=300)
def test_no_reference_raises_anything_else(text: str, head: str) -> None:
    reader = source()
    for resolve in (reader.resolve, reader.resolve_feed):
        try:
            resolved = resolve("https://shop.example/feed.json", head + text)
        except SourceError:
            continue
        assert resolved.startswith(("https://", "http://"))


@pytest.fixture(scope="module")
def noise_server() -> Iterator[tuple[WebServer, list[bytes]]]:
    answer = [b""]

    def respond(exchange: Exchange) -> None:
        exchange.hang_up()
        exchange.send(answer[0])

    with WebServer(respond) as server:
        yield server, answer

"""What every source does, each on what it reads from."""

import gzip
import hashlib
import mmap
import os
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import pytest
import trustme
import zstandard
from pydantic import SecretStr

from app.core.config import Settings
from app.ingestors.base import ForbiddenPathError, IngestorError, SourceError, UnreachableError
from app.ingestors.sources.base import MEMORY_BYTES, BaseSource
from app.ingestors.sources.factory import SourceConfig, SourceFactory
from app.ingestors.sources.local import LocalSource
from tests.support.ftp import FtpServer
from tests.support.services import until
from tests.support.store import ACCESS_KEY, SECRET_KEY, ObjectStore
from tests.support.web import Site, WebServer

Publish = Callable[[str, bytes], str]
Make = Callable[..., BaseSource]


@pytest.fixture(params=["local", "remote", "cmp", "ftp", "ftps", "s3"])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def server(kind: str, tmp_path: Path, tls: trustme.CA) -> Iterator[WebServer | FtpServer | None]:
    """Who serves the folder of what is published, if anybody does."""
    folder = tmp_path / "published"
    folder.mkdir()
    servers = {
        "remote": lambda: WebServer(Site(folder)),
        "cmp": lambda: WebServer(Site(folder)),
        "ftp": lambda: FtpServer(folder),
        "ftps": lambda: FtpServer(folder, tls=tls),
    }
    with servers.get(kind, nullcontext)() as server:
        yield server


@pytest.fixture
def root(kind: str, tmp_path: Path, server: WebServer | FtpServer | None, request: pytest.FixtureRequest) -> str:
    """Where a publisher's documents are found."""
    if server is not None:
        return server.url
    return request.getfixturevalue("store").url if kind == "s3" else str(tmp_path / "published")


@pytest.fixture(scope="module")
def tls() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def store() -> Iterator[ObjectStore]:
    with ObjectStore() as store:
        yield store


@pytest.fixture
def make(kind: str, tls: trustme.CA, tmp_path: Path, request: pytest.FixtureRequest) -> Make:
    """Makes the source, with other limits than usual."""
    bundle = tmp_path / "ca.pem"
    tls.cert_pem.write_to_path(str(bundle))

    def of(**chosen: int) -> BaseSource:
        settings = Settings(
            _env_file=None, allowed_private_hosts="127.0.0.1", ca_bundle=bundle, **{"fetch_retries": 0} | chosen
        )
        config = SourceConfig(settings=settings)
        if kind == "s3":
            endpoint, secret = request.getfixturevalue("store").endpoint_url, SecretStr(SECRET_KEY)
            config = replace(config, endpoint_url=endpoint, username=ACCESS_KEY, password=secret)
        return SourceFactory.create("ftp" if kind == "ftps" else kind, config)

    return of


@pytest.fixture
def source(make: Make) -> BaseSource:
    return make()


@pytest.fixture
def publish(kind: str, root: str, tmp_path: Path, request: pytest.FixtureRequest) -> Publish:
    """Puts a document where the source finds it; returns its path."""

    def write(name: str, data: bytes) -> str:
        if kind == "s3":
            request.getfixturevalue("store").put(name, data)
            return f"{root}/{name}"
        path = tmp_path / "published" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        if kind not in ("remote", "cmp"):
            os.utime(path, (1_000_000_000, 1_000_000_000))  # settled, so that it has a version
        return f"{root}/{name if kind == 'local' else quote(name)}"

    return write


def test_a_document_has_its_bytes_and_their_hash(source: BaseSource, publish: Publish) -> None:
    path = publish("feed.json", b'{"a": 1}')
    with source.open(path) as document:
        assert bytes(document.content()) == b'{"a": 1}'
        assert document.sha256 == hashlib.sha256(b'{"a": 1}').digest()
    assert source.fetch(path) == '{"a": 1}'


def test_a_byte_order_mark_is_no_text(source: BaseSource, publish: Publish) -> None:
    assert source.fetch(publish("feed.json", "\ufeff{}".encode())) == "{}"


def test_an_empty_document_is_empty(source: BaseSource, publish: Publish) -> None:
    assert source.fetch(publish("feed.json", b"")) == ""


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
def test_compression_is_recognised_by_content(
    source: BaseSource, publish: Publish, pack: Callable[[bytes], bytes]
) -> None:
    text = b"[1, 2]" * 1000
    packed = pack(text)
    with source.open(publish("feed.json", packed)) as document:
        assert bytes(document.content()) == text
        assert document.sha256 == hashlib.sha256(packed).digest()


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
def test_members_and_frames_follow_each_other(
    source: BaseSource, publish: Publish, pack: Callable[[bytes], bytes]
) -> None:
    assert source.fetch(publish("feed.json", pack(b"[1,") + pack(b"2]"))) == "[1,2]"


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
def test_damaged_compression_is_an_error_that_names_the_document(
    source: BaseSource, publish: Publish, pack: Callable[[bytes], bytes]
) -> None:
    packed = pack(bytes(range(256)) * 400)
    for name, damaged in {"cut.json": packed[: len(packed) // 2], "wrong.json": packed[:20] + b"\xff" * 50}.items():
        with source.open(publish(name, damaged)) as document, pytest.raises(SourceError, match=f"{name}: .*damaged"):
            document.content()


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstandard.compress])
def test_a_large_document_is_mapped_not_held(
    source: BaseSource, publish: Publish, pack: Callable[[bytes], bytes]
) -> None:
    data = bytes(range(256)) * (MEMORY_BYTES // 256 + 1)
    with source.open(publish("feed.json", pack(data))) as document:
        content = document.content()
        assert isinstance(content, mmap.mmap)
        assert hashlib.sha256(content).digest() == hashlib.sha256(data).digest()


def test_text_that_is_not_utf8_names_the_byte(source: BaseSource, publish: Publish) -> None:
    with pytest.raises(SourceError, match="not UTF-8 at byte 1"):
        source.fetch(publish("feed.json", b"a\xff"))


def test_a_missing_document_is_a_passing_fault(source: BaseSource, publish: Publish) -> None:
    path = publish("feed.json", b"{}") + ".missing"
    with pytest.raises(UnreachableError, match=r"feed\.json\.missing: ") as caught:
        source.open(path)
    assert caught.value.transient
    assert caught.value.remedy


def test_a_reference_is_resolved_against_the_document_that_names_it(source: BaseSource, publish: Publish) -> None:
    index = publish("brand/feed.json", b"{}")
    publish("brand/shards/one.json", b"[1]")
    assert source.fetch(source.resolve(index, "shards/one.json")) == "[1]"
    assert source.fetch(source.resolve(index, "./shards/../shards/one.json")) == "[1]"


def test_a_document_has_a_version_until_it_changes(source: BaseSource, publish: Publish) -> None:
    path = publish("feed.json", b"[1]")
    with source.open(path) as document:
        validators = document.validators
    assert validators
    assert source.version(path) == validators
    again = source.open_if_changed(path, validators)
    assert again is None or again.sha256 == document.sha256
    publish("feed.json", b"[1, 2]")
    assert source.version(path) != validators
    with source.open_if_changed(path, validators) as changed:
        assert bytes(changed.content()) == b"[1, 2]"
        assert changed.validators == source.version(path)


def test_a_version_is_told_without_the_document(
    source: BaseSource, publish: Publish, server: WebServer | FtpServer | None, kind: str
) -> None:
    """By as few requests as can be, and hardly any bytes. What a store sends is counted in `test_s3_source.py`."""
    path = publish("feed.json", b"[1, 2]" * 50_000)
    with source.open(path) as document:
        validators = document.validators
    if isinstance(server, WebServer):
        until(lambda: server.sent > 100_000)  # it is counted after it was sent
        server.forget()
    elif server is not None:
        server.commands.clear()
    assert source.version(path) == validators
    if kind != "local":  # whose files are read to be compared: that costs no more than asking
        assert source.open_if_changed(path, validators) is None
    if isinstance(server, WebServer):
        assert [method for method, _ in server.asked] == ["HEAD", "GET"]
        assert server.sent < 500
    elif server is not None:
        assert {command for command, _ in server.commands} == {"NOOP", "MDTM", "SIZE"}
        assert len(server.commands) == 6


def test_a_missing_document_has_no_version(source: BaseSource, publish: Publish) -> None:
    with pytest.raises(UnreachableError):
        source.version(publish("feed.json", b"{}") + ".missing")


def test_what_is_too_large_names_the_setting(make: Make, publish: Publish) -> None:
    path = publish("feed.json", b"x" * 1001)
    with pytest.raises(SourceError, match="more than 1000 bytes") as caught:
        make(max_document_bytes=1000).open(path)
    assert "MAX_DOCUMENT_BYTES" in caught.value.remedy
    packed = publish("packed.json", gzip.compress(bytes(100_000)))
    with make(max_unpacked_bytes=99_999).open(packed) as document, pytest.raises(SourceError) as caught:
        document.content()
    assert "MAX_UNPACKED_BYTES" in caught.value.remedy
    assert not caught.value.transient


def test_a_bomb_is_recognised_by_its_ratio(make: Make, publish: Publish) -> None:
    path = publish("bomb.json", gzip.compress(bytes(65 * 1024**2)))
    source = make(max_unpack_ratio=100)
    with source.open(path) as document, pytest.raises(SourceError, match="100 times its size") as caught:
        document.content()
    assert "MAX_UNPACK_RATIO" in caught.value.remedy


def test_other_schemes_are_refused_with_a_remedy(source: BaseSource, publish: Publish) -> None:
    base = publish("feed.json", b"{}")
    for reference in ("ftp://shop.example/feed.json", "gopher://shop.example/", "s3://another/feed.json"):
        with pytest.raises(SourceError) as caught:
            source.resolve(base, reference)
        assert caught.value.remedy


# --- files of this machine


@pytest.fixture
def files() -> BaseSource:
    return SourceFactory.create("local")


@pytest.fixture
def write(tmp_path: Path) -> Publish:
    def write(name: str, data: bytes) -> str:
        path = tmp_path / "published" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return str(path)

    return write


@pytest.mark.parametrize(
    "reference", ["../secret.json", "/etc/passwd", "file:///etc/passwd", "link.json", "down/../../secret.json"]
)
def test_what_lies_outside_the_folder_is_refused_however_it_is_written(
    files: BaseSource, write: Publish, reference: str
) -> None:
    index = write("brand/feed.json", b"{}")
    secret = write("secret.json", b"[]")
    Path(index).with_name("link.json").symlink_to(secret)
    Path(index).with_name("down").mkdir()
    with pytest.raises(ForbiddenPathError, match="outside its folder") as caught:
        files.resolve(index, reference)
    assert "allow_outside" in caught.value.remedy


def test_outside_is_allowed_when_the_ingestor_says_so(write: Publish) -> None:
    index = write("brand/feed.json", b"{}")
    write("secret.json", b"[1]")
    source = SourceFactory.create("local", SourceConfig(allow_outside=True))
    assert source.fetch(source.resolve(index, "../secret.json")) == "[1]"


@pytest.mark.parametrize("reference", ["https://shop.example/feed.json", "ftp://shop.example/feed.json", "a\0b"])
def test_what_is_no_file_is_refused_with_a_remedy(files: BaseSource, write: Publish, reference: str) -> None:
    with pytest.raises(SourceError) as caught:
        files.resolve(write("feed.json", b"{}"), reference)
    assert caught.value.remedy


@pytest.mark.parametrize("path", ["/dev/zero", "/dev"])
def test_devices_and_folders_are_no_documents(files: BaseSource, path: str) -> None:
    with pytest.raises(SourceError):
        files.open(path)


def test_a_pipe_does_not_stop_the_node(files: BaseSource, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(SourceError, match="not a regular file"):
        files.open(str(pipe))


def test_relative_paths_are_relative_to_the_root(tmp_path: Path) -> None:
    (tmp_path / "feed.json").write_text("[1]")
    assert LocalSource(tmp_path).fetch("feed.json") == "[1]"


def test_an_unknown_type_names_the_known_ones() -> None:
    with pytest.raises(IngestorError, match="no source of type 'gopher'") as caught:
        SourceFactory.create("gopher")
    assert "local" in caught.value.remedy

"""What is special about FTP: what servers say, and what they only pretend to."""

import os
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
import trustme
from pydantic import SecretStr

from app.core.config import Settings
from app.ingestors.base import ForbiddenAddressError, ForbiddenPathError, SourceError, UnreachableError
from app.ingestors.sources import tries
from app.ingestors.sources.base import BaseSource
from app.ingestors.sources.factory import SourceConfig, SourceFactory
from app.net import urls
from app.net.slots import slots
from tests.support.ftp import PASSWORD, USER, FtpServer, ScriptedServer


def ftp(*, config: SourceConfig | None = None, **chosen: object) -> BaseSource:
    settings = {"allowed_private_hosts": "127.0.0.1", "fetch_retries": 0, "stall_timeout": 0.4} | chosen
    settings = {"first_byte_timeout": 0.4} | settings
    given = config or SourceConfig()
    return SourceFactory.create(
        "ftp",
        SourceConfig(
            username=given.username, password=given.password, paths=given.paths,
            allowed_origins=given.allowed_origins, settings=Settings(_env_file=None, **settings),
        ),
    )  # fmt: skip


def user(url: str, password: str = PASSWORD) -> SourceConfig:
    return SourceConfig(username=USER, password=SecretStr(password), paths=(url,))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    published = tmp_path / "published"
    (published / "down").mkdir(parents=True)
    for name in ("feed.json", "down/one.json", "a b?#.json"):
        (published / name).write_text("[1]")
        os.utime(published / name, (1_000_000_000, 1_000_000_000))
    return published


@pytest.fixture
def listener() -> Iterator[tuple[int, list[object]]]:
    """A port that nothing may connect to, and who did."""
    visitors: list[object] = []
    with socket.create_server(("127.0.0.2", 0)) as server:
        server.settimeout(30)

        def watch() -> None:
            try:
                visitors.append(server.accept()[1])
            except OSError:
                return

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        yield server.getsockname()[1], visitors
        server.shutdown(socket.SHUT_RDWR)
        thread.join(5)


def test_a_version_is_told_without_a_transfer(folder: Path) -> None:
    with FtpServer(folder) as server:
        source = ftp()
        assert source.version(f"{server.url}/feed.json") == {"mdtm": "20010909014640", "size": 3}
        assert source.open_if_changed(f"{server.url}/feed.json", source.version(f"{server.url}/feed.json")) is None
    assert "RETR" not in [command for command, _ in server.commands]


@pytest.mark.parametrize("unknown", ["MDTM", "SIZE"])
def test_a_server_that_cannot_tell_versions_has_none(folder: Path, unknown: str) -> None:
    with FtpServer(folder, unknown=frozenset({unknown})) as server:
        source = ftp()
        assert source.version(f"{server.url}/feed.json") == {}
        with source.open(f"{server.url}/feed.json") as document:
            assert (document.validators, bytes(document.content())) == ({}, b"[1]")


def test_a_file_that_was_just_written_has_no_version_yet(folder: Path) -> None:
    (folder / "feed.json").write_text("[2]")
    with FtpServer(folder) as server:
        assert ftp().version(f"{server.url}/feed.json") == {}


def test_a_connection_serves_the_shards_of_a_feed(folder: Path) -> None:
    with FtpServer(folder) as server:
        source = ftp()
        for _ in range(5):
            source.open(f"{server.url}/feed.json").close()
        assert server.connections == 1
        with ThreadPoolExecutor(8) as pool:
            assert set(pool.map(source.fetch, [f"{server.url}/down/one.json"] * 24)) == {"[1]"}
        assert server.connections <= 4


def test_a_connection_that_the_server_closed_is_made_anew(folder: Path) -> None:
    with FtpServer(folder) as server:
        source = ftp()
        assert source.fetch(f"{server.url}/feed.json") == "[1]"
        server.drop()
        assert source.fetch(f"{server.url}/feed.json") == "[1]"
        assert server.connections == 2


def test_names_are_written_as_in_urls(folder: Path) -> None:
    with FtpServer(folder) as server:
        source = ftp()
        index = f"{server.url}/feed.json"
        assert source.fetch(source.resolve(index, "a%20b%3F%23.json")) == "[1]"
        for reference in ("a%0D%0ADELE%20feed.json", "feed.json?type=a", "/"):
            with pytest.raises(SourceError) as caught:
                source.resolve(index, reference)
            assert caught.value.remedy


def test_the_user_is_shown_to_the_origin_of_the_entry_alone(folder: Path) -> None:
    with FtpServer(folder, anonymous=False) as own, FtpServer(folder) as other:
        config = user(f"{own.url}/feed.json")
        assert ftp(config=config).fetch(f"{own.url}/feed.json") == "[1]"
        assert ("USER", USER) in own.commands
        source = ftp(config=config)
        assert source.fetch(source.resolve_feed(f"{own.url}/registry.json", f"{other.url}/feed.json")) == "[1]"
        assert [argument for command, argument in other.commands if command == "USER"] == ["anonymous"]


def test_a_refused_login_is_told_without_the_password(folder: Path) -> None:
    with FtpServer(folder, anonymous=False) as server, pytest.raises(SourceError, match="FTP 530") as caught:
        ftp(config=user(server.url + "/feed.json", "wr0ng")).open(f"{server.url}/feed.json")
    assert not caught.value.transient
    assert "`password`" in caught.value.remedy


@pytest.mark.parametrize("reply", ["530 {0} is wrong", "999 {0}", "421 {0}", "332 {0}", "{0}"])
def test_a_server_that_repeats_the_password_is_not_repeated(reply: str) -> None:
    with ScriptedServer({"PASS": reply.format("hunter2")}) as server, pytest.raises(SourceError) as caught:
        ftp(config=user(server.url + "/feed.json", "hunter2")).open(f"{server.url}/feed.json")
    error: BaseException | None = caught.value
    while error is not None:
        assert "hunter2" not in f"{error!r} {error}"
        error = error.__cause__ or error.__context__
    assert caught.value.transient == (reply[:3] == "421")


def test_a_folder_is_no_document(folder: Path) -> None:
    with FtpServer(folder) as server, pytest.raises(UnreachableError, match="down: FTP 550"):
        ftp().open(f"{server.url}/down")


def test_user_and_password_in_a_url_are_refused(folder: Path) -> None:
    with pytest.raises(SourceError, match="holds a user or password") as caught:
        ftp().resolve("ftp://shop.example/feed.json", "ftp://me:hunter2@shop.example/one.json")
    assert "hunter2" not in str(caught.value)


def test_shards_are_of_the_same_origin_unless_another_is_listed() -> None:
    feed = "ftps://shop.example/out/feed.json"
    source = ftp(config=SourceConfig(allowed_origins=frozenset({"ftp://cdn.example:21"})))
    assert source.resolve(feed, "one.json") == "ftps://shop.example/out/one.json"
    assert source.resolve(feed, "ftp://cdn.example/one.json") == "ftp://cdn.example/one.json"
    for reference in ("ftp://shop.example/one.json", "//other.example/one.json", "ftps://shop.example:2121/one.json"):
        with pytest.raises(ForbiddenPathError, match="another origin"):
            source.resolve(feed, reference)


def test_private_addresses_are_refused(folder: Path) -> None:
    with FtpServer(folder) as server, pytest.raises(ForbiddenAddressError, match="loopback"):
        ftp(allowed_private_hosts="").open(f"{server.url}/feed.json")
    assert server.connections == 0


def test_a_server_that_lies_about_the_address_of_its_data_leads_nowhere(listener: tuple[int, list[object]]) -> None:
    port, visitors = listener
    with ScriptedServer({}, data=b"[1]") as server:
        server.replies["PASV"] = server.passive("127.0.0.2", server.data_port)
        assert ftp().fetch(f"{server.url}/feed.json") == "[1]"
        server.replies["PASV"] = server.passive("127.0.0.2", port)
        with pytest.raises(UnreachableError):
            ftp().open(f"{server.url}/feed.json")
    assert visitors == []


def test_ipv6_is_spoken_with_its_own_commands(folder: Path) -> None:
    with FtpServer(folder, host="::1") as server:
        source = ftp(allowed_private_hosts="::1")
        assert source.fetch(source.resolve(f"{server.url}/feed.json", "down/one.json")) == "[1]"
        assert source.version(f"{server.url}/feed.json") == {"mdtm": "20010909014640", "size": 3}
        for opened in ("", "127.0.0.1", f"[::1]:{server.port + 1}"):
            with pytest.raises(ForbiddenAddressError, match="::1 is loopback"):
                ftp(allowed_private_hosts=opened).open(f"{server.url}/feed.json")
    spoken = {command for command, _ in server.commands}
    assert "EPSV" in spoken
    assert not {"PASV", "PORT", "EPRT"} & spoken
    assert server.connections == 1


def test_over_ipv6_too_tls_is_checked(folder: Path, tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    with FtpServer(folder, tls=authority, host="::1") as server:
        with pytest.raises(SourceError, match="TLS failed"):
            ftp(allowed_private_hosts="::1").open(f"{server.url}/feed.json")
        trusting = ftp(allowed_private_hosts="::1", ca_bundle=tmp_path / "ca.pem")
        assert trusting.fetch(f"{server.url}/feed.json") == "[1]"


@pytest.mark.parametrize("address", ["", "2|2606:4700::1", "1|127.0.0.2"])
def test_over_ipv6_too_a_server_leads_to_no_other_address(listener: tuple[int, list[object]], address: str) -> None:
    port, visitors = listener
    named = address or "|"
    with ScriptedServer({"EPSV": f"229 (|{named}|{port}|)"}, data=b"[1]", host="::1") as server:
        with pytest.raises(UnreachableError):
            ftp(allowed_private_hosts="::1").open(f"{server.url}/feed.json")
        server.replies["EPSV"] = f"229 (|{named}|{server.data_port}|)"
        assert ftp(allowed_private_hosts="::1").fetch(f"{server.url}/feed.json") == "[1]"
    assert visitors == []


@pytest.mark.parametrize("port", [0, 22, 70_000])
def test_over_ipv6_too_a_server_does_not_lead_to_ports_of_services(port: int) -> None:
    lying = ScriptedServer({"EPSV": f"229 (|||{port}|)"}, host="::1")
    with lying as server, pytest.raises(ForbiddenAddressError, match=f"{port} as the port of its data"):
        ftp(allowed_private_hosts="::1").open(f"{server.url}/feed.json")


def test_a_server_gets_few_transfers_at_once_from_all_that_a_process_reads(folder: Path) -> None:
    with FtpServer(folder) as server, ExitStack() as stack:
        url = f"{server.url}/feed.json"
        one = stack.enter_context(ExitStack())
        for holder in (one, stack):
            holder.enter_context(slots(2).one(urls.parse(url, ("ftp",)), time.monotonic()))
        crowded = ftp(connections_per_host=2, max_transfer_seconds=0.1)
        with pytest.raises(UnreachableError, match="too many other requests to this server") as caught:
            crowded.open(url)
        assert caught.value.transient
        assert server.connections == 0
        one.close()
        assert ftp(connections_per_host=2).fetch(url) == "[1]"


@pytest.mark.parametrize("port", [0, 22, 256_743])
def test_a_server_does_not_lead_to_ports_of_services(port: int) -> None:
    lying = ScriptedServer({"PASV": f"227 (127,0,0,1,{port >> 8},{port & 255})"})
    with lying as server, pytest.raises(ForbiddenAddressError, match=f"{port} as the port of its data"):
        ftp().open(f"{server.url}/feed.json")


@pytest.mark.parametrize(
    "replies",
    [
        {"": ""}, {"": None}, {"USER": ""}, {"PASV": ""}, {"PASV": "227 (1,2,3)"}, {"RETR": ""}, {"226": ""},
        {"226": "426 broke off"}, {"RETR": "421 bye"}, {"TYPE": "hello"},
        {"": "220-\r\n" + "220-more\r\n" * 2000}, {"": "x" * 20_000}, {"SIZE": "213 4"},
    ],
)  # fmt: skip
def test_servers_that_stall_break_off_or_babble_fail_in_passing(replies: dict[str, str | None]) -> None:
    with ScriptedServer(replies, data=b"[1]") as server:
        begun = time.monotonic()
        with pytest.raises(UnreachableError, match=r"feed\.json") as caught:
            ftp().open(f"{server.url}/feed.json")
        assert time.monotonic() - begun < 3
    assert caught.value.transient
    assert caught.value.remedy


def test_a_server_that_drips_is_not_waited_for() -> None:
    with ScriptedServer({}, drip=0.1) as server:
        begun = time.monotonic()
        with pytest.raises(UnreachableError, match="did not answer within"):
            ftp().open(f"{server.url}/feed.json")
        assert time.monotonic() - begun < 2


def test_a_transfer_ends_when_its_time_is_over(folder: Path) -> None:
    with ScriptedServer({"": ""}) as server, pytest.raises(UnreachableError, match="MAX_TRANSFER_SECONDS"):
        ftp(max_transfer_seconds=0.2, first_byte_timeout=30, stall_timeout=30).open(f"{server.url}/feed.json")


def test_what_fails_in_passing_is_tried_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tries, "_BACKOFF", 0.01)
    with ScriptedServer({"RETR": "450 busy"}) as server, pytest.raises(UnreachableError, match="FTP 450"):
        ftp(fetch_retries=2).open(f"{server.url}/feed.json")
    assert sum(command.startswith("RETR") for command in server.commands) == 3


def test_tls_is_asked_for_and_checked(folder: Path, tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    with FtpServer(folder, tls=authority, anonymous=False) as server:
        config = user(f"{server.url}/feed.json")
        with pytest.raises(SourceError, match="TLS failed") as caught:
            ftp(config=config).open(f"{server.url}/feed.json")
        assert not caught.value.transient
        assert not server.commands or "USER" not in [command for command, _ in server.commands]
        assert ftp(config=config, ca_bundle=tmp_path / "ca.pem").fetch(f"{server.url}/feed.json") == "[1]"
    assert ("PROT", "P") in server.commands


def test_no_password_goes_to_a_server_without_tls_when_tls_is_asked_for(folder: Path) -> None:
    with FtpServer(folder) as server:
        url = server.url.replace("ftp:", "ftps:") + "/feed.json"
        with pytest.raises(SourceError, match="offers no TLS"):
            ftp(config=user(url)).open(url)
    assert "PASS" not in [command for command, _ in server.commands]

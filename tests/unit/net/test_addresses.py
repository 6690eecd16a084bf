"""Which addresses the node connects to, however they are spelled."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.net.addresses import OpenedHosts, canonical_host, refusal, require_open
from app.net.backend import resolve_host
from app.net.errors import ForbiddenError, InvalidUrlError, NetworkError
from app.net.urls import host_of, parse, port_of

FORBIDDEN_4 = [
    "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
    "192.0.2.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4",
    "240.0.0.0/4", "168.63.129.16/32",
]  # fmt: skip
FORBIDDEN_6 = [
    "::/128", "::1/128", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8", "2001:db8::/32", "2002::/16", "2001::/32",
    "64:ff9b:1::/48", "100::/64", "3fff::/20", "fd00:ec2::254/128", "::/96", "4000::/2",
]  # fmt: skip
NOTHING = OpenedHosts()


def addresses_of(ranges: list[str], kind: type) -> st.SearchStrategy:
    networks = [kind(text) for text in ranges]
    return st.sampled_from(networks).flatmap(
        lambda network: st.integers(0, network.num_addresses - 1).map(lambda number: network[number])
    )


forbidden_4 = addresses_of(FORBIDDEN_4, IPv4Network)
forbidden_6 = addresses_of(FORBIDDEN_6, IPv6Network)


@given(forbidden_4 | forbidden_6)
def test_every_address_of_a_forbidden_range_is_refused(address: IPv4Address | IPv6Address) -> None:
    assert refusal(address)


@given(forbidden_4)
def test_an_address_within_another_counts(address: IPv4Address) -> None:
    number = int(address)
    for prefix in ("::ffff:0:0", "64:ff9b::", "::", "::ffff:0:0:0"):
        assert refusal(IPv6Address(int(IPv6Address(prefix)) + number)), prefix
    assert refusal(IPv6Address((0x2002 << 112) + (number << 80) + 1))  # 6to4
    assert refusal(IPv6Address((0x20010000 << 96) + (number ^ 0xFFFFFFFF)))  # Teredo


@pytest.mark.parametrize(
    "address",
    ["8.8.8.8", "1.1.1.1", "93.184.215.14", "2606:4700::1111", "2a00:1450::200e", "64:ff9b::808:808", "::ffff:8.8.8.8"],
)
def test_the_public_internet_is_open(address: str) -> None:
    assert refusal(ip_address(address)) is None


@pytest.mark.parametrize(
    ("address", "named"),
    [("127.0.0.1", "loopback"), ("10.1.2.3", "private"), ("169.254.169.254", "metadata"), ("fe80::1%eth0", "one link")],
)
def test_a_refusal_names_its_reason(address: str, named: str) -> None:
    assert named in str(refusal(ip_address(address)))


def spellings(address: IPv4Address) -> list[str]:
    """Ways to write an address that some program reads."""
    a, b, c, d = address.packed
    number = int(address)
    return [
        str(address), f"{address}.", str(number), f"{number:#x}", f"0{number:o}", f"{number:#X}",
        f"{a:#x}.{b:#x}.{c:#x}.{d:#x}", f"0{a:o}.0{b:o}.0{c:o}.0{d:o}", f"{a}.{b}.{c * 256 + d}",
        f"{a}.{(b << 16) + (c << 8) + d}", f"{a:#x}.{(b << 16) + (c << 8) + d}", f"[::ffff:{address}]",
        f"[64:ff9b::{address}]", f"[::{address}]", f"[2002:{a:02x}{b:02x}:{c:02x}{d:02x}::1]",
        "。".join(map(str, (a, b, c, d))), ".".join(chr(0xFF10 + int(digit)) for digit in str(a)) + f".{b}.{c}.{d}",
        f"{a:03}.{b:03}.{c:03}.{d:03}", f"{address}%2e", f"{a}.{b}.{c}.{d}\t", f"%31{str(address)[1:]}",
    ]  # fmt: skip


@given(forbidden_4, st.sampled_from(["http", "https"]), st.sampled_from(["", ":80", ":8080", ":00443"]))
def test_no_spelling_of_a_forbidden_address_leads_there(address: IPv4Address, scheme: str, port: str) -> None:
    for spelling in spellings(address):
        with pytest.raises(NetworkError):
            reach(f"{scheme}://{spelling}{port}/feed.json")


@given(forbidden_6)
def test_no_forbidden_literal_leads_there(address: IPv6Address) -> None:
    for spelling in (str(address), address.exploded, str(address).upper(), f"{address}%251"):
        with pytest.raises(NetworkError):
            reach(f"https://[{spelling}]/")


def reach(url: str) -> None:
    """What the door does before it connects. Only what is an address, to whichever program, is resolved."""
    parsed = parse(url, ("http", "https"))
    host, port = canonical_host(host_of(parsed)), port_of(parsed)
    require_open(host, port, resolve_host(host, port), NOTHING)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST.", "ip6-localhost"])
def test_names_of_this_machine_are_refused_by_what_they_mean(host: str) -> None:
    with pytest.raises(ForbiddenError, match="loopback"):
        require_open(canonical_host(host), 80, ["127.0.0.1"], NOTHING)


def test_one_forbidden_address_among_others_is_enough() -> None:
    with pytest.raises(ForbiddenError, match=r"shop\.example \(10\.0\.0\.1\) is private"):
        require_open("shop.example", 443, ["93.184.215.14", "10.0.0.1"], NOTHING)


@pytest.mark.parametrize("name", ["metadata.google.internal", "metadata.goog", "instance-data", "metadata"])
def test_metadata_services_are_refused_by_name(name: str) -> None:
    with pytest.raises(ForbiddenError, match="metadata"):
        require_open(name, 80, ["93.184.215.14"], NOTHING)


def test_a_host_is_opened_with_or_without_its_port() -> None:
    opened = OpenedHosts.of([" Intranet.example. ", "10.0.0.1:8080", "[::1]:9000", "fd00::1"])
    require_open("intranet.example", 80, ["10.9.9.9"], opened)
    require_open("10.0.0.1", 8080, ["10.0.0.1"], opened)
    require_open("::1", 9000, ["::1"], opened)
    require_open("fd00::1", 443, ["fd00::1"], opened)
    for host, port, address in [
        ("10.0.0.1", 80, "10.0.0.1"), ("::1", 80, "::1"), ("sub.intranet.example", 80, "10.9.9.9"),
    ]:  # fmt: skip
        with pytest.raises(ForbiddenError):
            require_open(host, port, [address], opened)


@pytest.mark.parametrize("address", ["169.254.169.254", "0.0.0.0", "224.0.0.1", "fd00:ec2::254", "fe80::1"])  # noqa: S104
def test_an_opened_name_does_not_open_the_metadata_service(address: str) -> None:
    with pytest.raises(ForbiddenError):
        require_open("intranet.example", 80, [address], OpenedHosts.of(["intranet.example"]))


@pytest.mark.parametrize("entry", ["http://intranet", "host:0", "host:70000", "a b", "host:port", "", "0x7f.1"])
def test_what_is_no_host_cannot_be_opened(entry: str) -> None:
    with pytest.raises(InvalidUrlError):
        OpenedHosts.of([entry])

"""Which addresses the node connects to: those of the public internet, and of single hosts that are opened by name.

The ranges are those of IANA's special-purpose registries (RFC 6890 and its successors), and what clouds put beside.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from app.net.errors import ForbiddenError, InvalidUrlError

Address = IPv4Address | IPv6Address

# These stay closed to a host that is opened by name: nothing a feed could be read from lives there.
_NEVER = {
    "0.0.0.0/8": "unspecified",
    "168.63.129.16/32": "a cloud's metadata service",
    "169.254.0.0/16": "link-local, where clouds keep their metadata service",
    "224.0.0.0/4": "multicast",
    "255.255.255.255/32": "broadcast",
    "100.100.100.200/32": "a cloud's metadata service",
    "192.0.0.192/32": "a cloud's metadata service",
    "::/128": "unspecified",
    "fd00:ec2::/32": "a cloud's metadata service",
    "fd20:ce::/32": "a cloud's metadata service",
    "fe80::/10": "link-local",
    "ff00::/8": "multicast",
}
_CLOSED = {
    "10.0.0.0/8": "private",
    "100.64.0.0/10": "shared address space of a provider",
    "127.0.0.0/8": "loopback",
    "172.16.0.0/12": "private",
    "192.0.0.0/24": "reserved for protocols",
    "192.0.2.0/24": "for documentation",
    "192.88.99.0/24": "a 6to4 relay",
    "192.168.0.0/16": "private",
    "198.18.0.0/15": "for benchmarks",
    "198.51.100.0/24": "for documentation",
    "203.0.113.0/24": "for documentation",
    "240.0.0.0/4": "reserved",
    "::1/128": "loopback",
    "::/96": "an IPv4-compatible address",
    "::ffff:0:0:0/96": "a translated IPv4 address",
    "64:ff9b:1::/48": "a network's own NAT64",
    "100::/64": "a black hole",
    "100:0:0:1::/64": "a black hole",
    "2001::/32": "a Teredo tunnel",
    "2001::/23": "reserved for protocols",
    "2001:db8::/32": "for documentation",
    "2002::/16": "a 6to4 tunnel",
    "3fff::/20": "for documentation",
    "5f00::/16": "a segment of routers",
    "fc00::/7": "private",
    "fec0::/10": "site-local",
}
_PUBLIC = IPv6Network("2000::/3")
# Networks with IPv6 alone reach all of IPv4 through this prefix: what counts is the address within.
_EMBEDDED = (IPv6Network("::ffff:0:0/96"), IPv6Network("64:ff9b::/96"))
_METADATA_NAMES = frozenset(
    {"instance-data", "instance-data.ec2.internal", "metadata", "metadata.goog", "metadata.google.internal"}
)
_NAME = re.compile(r"(?!-)[a-z0-9_-]+(\.[a-z0-9_-]+)*")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")


def _networks(ranges: dict[str, str]) -> list[tuple[IPv4Network | IPv6Network, str]]:
    return [(ip_network(text), reason) for text, reason in ranges.items()]


_NEVER_NETWORKS, _CLOSED_NETWORKS = _networks(_NEVER), _networks(_CLOSED)


@dataclass(frozen=True)
class OpenedHosts:
    """Hosts whose private addresses are no reason to stay away, as `host` or `host:port`."""

    names: frozenset[str] = frozenset()

    @classmethod
    def of(cls, entries: Iterable[str]) -> "OpenedHosts":
        """Raises `InvalidUrlError` for what is no host."""
        return cls(frozenset(_normalized(entry) for entry in entries))

    def holds(self, host: str, port: int) -> bool:
        return host in self.names or f"{host}:{port}" in self.names


def canonical_host(host: str) -> str:
    """A host's name, or its address in the usual spelling. Raises `InvalidUrlError` for other spellings of addresses
    (decimal, octal, hexadecimal, shortened), which programs read in different ways."""
    name = host.lower().removeprefix("[").removesuffix("]").removesuffix(".")
    if is_address(name):
        return str(ip_address(name))
    if not _NAME.fullmatch(name) or len(name) > 253:
        raise InvalidUrlError(f"{host!r} is no host's name", remedy="Correct the URL.")
    if _NUMBER.fullmatch(name.rpartition(".")[2]):
        raise InvalidUrlError(f"{host!r} is an odd spelling of an address", remedy="Write the host's name.")
    return name


def is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def require_open(host: str, port: int, addresses: Iterable[str], opened: OpenedHosts) -> list[Address]:
    """The addresses of a host, in order, when the node may connect to every one of them. Raises `ForbiddenError`."""
    is_opened = opened.holds(host, port)
    if host in _METADATA_NAMES and not is_opened:
        raise _forbidden(host, "a cloud's metadata service")
    parsed = [ip_address(address) for address in addresses]
    for address in parsed:
        by_address = opened.holds(str(address), port)
        reason = None if by_address else refusal(address, opened=is_opened)
        if reason is not None:
            raise _forbidden(host if host == str(address) else f"{host} ({address})", reason)
    return parsed


def refusal(address: Address, *, opened: bool = False) -> str | None:
    """Why the node does not connect to an address; None when it does. `opened` when its host is."""
    if isinstance(address, IPv6Address):
        if address.scope_id is not None:
            return "an address of one link"
        if any(address in network for network in _EMBEDDED):
            return refusal(IPv4Address(int(address) & 0xFFFFFFFF), opened=opened)
    for network, reason in _NEVER_NETWORKS if opened else (*_NEVER_NETWORKS, *_CLOSED_NETWORKS):
        if address.version == network.version and address in network:
            return reason
    if not opened and isinstance(address, IPv6Address) and address not in _PUBLIC:
        return "not of the public internet"
    return None


def _forbidden(host: str, reason: str) -> ForbiddenError:
    return ForbiddenError(
        f"{host} is {reason}: the node does not connect there",
        remedy="Publish on a public address, or list the host in ALLOWED_PRIVATE_HOSTS.",
    )


def _normalized(entry: str) -> str:
    """An entry of the setting in the spelling that hosts are looked up by."""
    text = entry.strip()
    host, separator, port = text.rpartition(":")
    if not separator or text.endswith("]") or (":" in host and not host.startswith("[")):
        return canonical_host(text)
    if not (port.isdecimal() and 0 < int(port) < 65536):
        raise InvalidUrlError(f"{entry!r} is neither a host nor a host with its port")
    return f"{canonical_host(host)}:{int(port)}"

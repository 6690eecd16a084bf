"""URLs: read in one way, for the check and for the request alike, and shown without what is secret in them."""

import re
from collections.abc import Collection

import httpx2

from app.net.addresses import canonical_host
from app.net.errors import ForbiddenError, InvalidUrlError

_DEFAULT_PORTS = {"http": 80, "https": 443, "ftp": 21, "ftps": 21}
_SECRETS = re.compile(r"(?<=//)[^/?#\s]*@|\?[^#\s]*|#\S*")


def shown(url: object) -> str:
    """A URL as it may be logged and told: without user, password, query and fragment. Anything else stays."""
    text = str(url)
    if "://" not in text:
        return text
    return _SECRETS.sub(lambda found: "?…" if found[0].startswith("?") and len(found[0]) > 1 else "", text)


def parse(text: str, schemes: Collection[str]) -> httpx2.URL:
    """A URL the node may ask for. Raises `InvalidUrlError` or `ForbiddenError`."""
    try:
        url = httpx2.URL(text.strip())
        port = url.port
    except (httpx2.InvalidURL, ValueError):
        # What cannot be read as a URL cannot be shown without its secrets either.
        scheme = text.partition("://")[0][:10]
        raise InvalidUrlError(f"{scheme}://… is no URL", remedy="Correct the URL.") from None
    if url.scheme not in schemes:
        named = f"the scheme {url.scheme!r}" if url.scheme else "no scheme"
        raise ForbiddenError(f"{shown(text)} has {named}", remedy=f"Use {' or '.join(schemes)}.")
    if url.userinfo:
        raise ForbiddenError(
            f"{shown(text)} holds a user or password",
            remedy="Publish URLs without; an ingestor's own are set as `username` and `password`.",
        )
    if port is not None and not 0 < port < 65536:
        raise InvalidUrlError(f"{shown(text)} has the port {port}", remedy="Correct the URL.")
    return url.copy_with(host=canonical_host(host_of(url)), fragment=None)


def host_of(url: httpx2.URL) -> str:
    """The host as it is asked for: a name in ASCII, or an address."""
    return url.raw_host.decode("ascii")


def port_of(url: httpx2.URL) -> int:
    return url.port or _DEFAULT_PORTS[url.scheme]


def origin(url: httpx2.URL) -> str:
    """Scheme, host and port: what may share credentials."""
    host = host_of(url)
    return f"{url.scheme}://{f'[{host}]' if ':' in host else host}:{port_of(url)}"

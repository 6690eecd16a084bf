"""URNs: the forms seen in the wild, read liberally, and the ones this node derives (UUID version 5)."""

import re
from functools import lru_cache
from urllib.parse import urlsplit
from uuid import UUID, uuid5

from app.cmp.limits import MAX_URN_BYTES

NAMESPACE = UUID("4c2d9653-e971-4093-8d5b-82da447c2e85")

_ORGANIZATION = re.compile(r"urn:cmp:(?:org|orgid):([^\s:/?#]{1,255})", re.IGNORECASE)
_SKU_DOMAIN = re.compile(r"urn:cmp:sku:([^:\s]{1,255}):.", re.IGNORECASE)
_DOMAIN = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]{1,62}")
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def organization_urn(domain: str) -> str:
    """The URN of an organization that has only a domain."""
    return f"urn:cmp:org:{uuid5(NAMESPACE, domain)}"


@lru_cache(maxsize=4096)
def brand_urn(organization_urn: str, name: str) -> str:
    """The URN of a brand that has only a name."""
    return f"urn:cmp:org:{_owner(organization_urn)}:brand:{_uuid(name)}"


def product_urn(organization_urn: str, brand_urn: str | None, sku: str) -> str:
    """The URN of a product that has only an SKU."""
    brand = f":brand:{_brand_part(brand_urn)}" if brand_urn else ""
    return f"urn:cmp:org:{_owner(organization_urn)}{brand}:sku:{_uuid(sku)}"


def group_urn(organization_urn: str, group_id: str) -> str:
    """The URN of a product group known by its ID alone. Without the brand: variants may not repeat it."""
    return f"urn:cmp:org:{_owner(organization_urn)}:productgroup:{_uuid(group_id)}"


def normalize_organization_urn(text: str) -> str | None:
    """The one spelling, `urn:cmp:org:X` in lower case; None when the text is no organization's URN."""
    match = _ORGANIZATION.fullmatch(text.strip()) if len(text) <= MAX_URN_BYTES else None
    if match is None or not match[1].isprintable():
        return None
    return f"urn:cmp:org:{match[1].lower()}"


def organization_of(urn: str) -> str | None:
    """The organization (UUID or domain, lower case) that a brand's, product's or organization's URN names."""
    if match := _ORGANIZATION.match(urn):
        return match[1].lower()
    match = _SKU_DOMAIN.match(urn)
    return match[1].lower() if match and is_domain(match[1]) else None


def is_domain(text: str) -> bool:
    return _DOMAIN.fullmatch(text.lower()) is not None


def is_uuid(text: str) -> bool:
    return _UUID.fullmatch(text.lower()) is not None


def is_urn(text: str) -> bool:
    return text[:4].lower() == "urn:" and len(text) > 4 and not _has_markup(text)


def is_url(text: str) -> bool:
    return "://" in text and not _has_markup(text)


def _has_markup(text: str) -> bool:
    """Whether it holds what no URN and no URL may (RFC 3986): such text is not handed on as an identifier."""
    return "<" in text or ">" in text


def fits(urn: str) -> bool:
    """Whether the URN can be a key."""
    return len(urn) <= MAX_URN_BYTES and (urn.isascii() or len(urn.encode("utf-8", "replace")) <= MAX_URN_BYTES)


def domain_of(url: str) -> str | None:
    """The host of a URL, lower case, without `www.`; None when there is none."""
    try:
        host = urlsplit(url.strip()).hostname
    except ValueError:
        return None
    host = (host or "").removeprefix("www.").rstrip(".")
    return host if is_domain(host) else None


def _owner(organization_urn: str) -> str:
    return organization_of(organization_urn) or str(_uuid(organization_urn))


def _brand_part(brand_urn: str) -> str:
    last = brand_urn.rpartition(":")[2].lower()
    return last if is_uuid(last) else str(_uuid(brand_urn))


def _uuid(name: str) -> UUID:
    """Like uuid5, but a lone surrogate in a name is no error."""
    return uuid5(NAMESPACE, name.encode("utf-8", "replace").decode())

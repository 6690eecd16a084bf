"""The registry: who sells. One organization, or many; what cannot be one is an issue, and its neighbours land."""

from hashlib import sha256

import msgspec

from app.cmp.brands import ItemContext, brand_key
from app.cmp.documents import Buffer, Document, MalformedDocumentError, open_document
from app.cmp.fields import Fields, describe, key_text_field, listed, text_field, url_field
from app.cmp.issues import Issue
from app.cmp.kinds import type_names
from app.cmp.limits import (
    MAX_BRAND_NAME_BYTES,
    MAX_BRANDS,
    MAX_DESCRIPTION,
    MAX_ORGANIZATION_NAME_BYTES,
    MAX_SAME_AS,
    MAX_SLUG_BYTES,
    MAX_SLUGS,
    MAX_URL,
)
from app.cmp.property_values import read_brand_urn, read_organization_urn
from app.cmp.recipe import RECIPE
from app.cmp.repair import repair
from app.cmp.shards import read_members, unwrap
from app.cmp.urns import brand_urn, domain_of, organization_urn

_DECODER = msgspec.json.Decoder(float_hook=msgspec.Raw)
_CANONICAL = msgspec.json.Encoder(order="sorted")
_SEED = sha256(b"registry recipe %d\n" % RECIPE)
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
_TYPES = frozenset({"organization", "corporation", "brand", "store", "onlinestore", "onlinebusiness", "localbusiness"})
_TELLING = frozenset({"cmp:productFeed", "cmp:brandId", "cmp:orgId", "cmp:category"})


class BrandEntry(msgspec.Struct, frozen=True):
    """A brand of an organization; `urn` is derived when the registry gives none."""

    urn: str
    name: str
    logo: str | None = None


class OrganizationEntry(msgspec.Struct):
    """An organization. `raw` is its entry as compact JSON with sorted keys, `content_hash` 16 bytes of that."""

    urn: str
    name: str
    description: str | None
    url: str | None
    logo: str | None
    same_as: list[str]
    brands: list[BrandEntry]
    categories: list[str]
    feed_url: str | None
    raw: bytes
    content_hash: bytes
    issues: list[Issue]

    def item_context(self) -> ItemContext:
        """What the items of its feed need to know."""
        names = {brand_key(brand.name): brand.urn for brand in reversed(self.brands)}
        domain = domain_of(self.url) if self.url else None
        return ItemContext(self.urn, domain, names)


class Registry(msgspec.Struct):
    """`skipped` counts discovery nodes; `issues` are those of entries that became no organization."""

    organizations: list[OrganizationEntry]
    skipped: int
    issues: list[Issue]


class _UnusableEntryError(Exception):
    """An entry cannot be an organization; `issue` says why. Never leaves this module."""

    def __init__(self, code: str, message: str, path: str = "", value: str | None = None) -> None:
        super().__init__(message)
        self.issue = Issue(code, message, path, value)


def parse_registry(data: Buffer) -> Registry:
    """Every organization of the document. Raises MalformedDocumentError when it is no JSON, or no registry."""
    document = open_document(data)
    registry = Registry([], 0, [])
    found: dict[str, OrganizationEntry] = {}
    entries = _entries(document)
    unlike = 0
    for position, raw in enumerate(entries, 1):
        try:
            entry = _read(raw)
        except _UnusableEntryError as error:
            registry.issues.append(error.issue.at(position))
            unlike += error.issue.code == "entry-unusable"
        else:
            _add(entry, position, registry, found)
    if entries and unlike == len(entries):
        raise MalformedDocumentError("holds no organization", document.shift)
    registry.organizations = list(found.values())
    return registry


def _read(raw: msgspec.Raw) -> OrganizationEntry | None:
    """The organization of an entry; None for a discovery node."""
    issues: list[Issue] = []
    fields = _decode(raw, issues)
    types = type_names(fields.get("@type"))
    if "discoverynode" in types:
        return None
    if not (_TYPES & {*types} or fields.keys() & _TELLING or (not types and "identifier" in fields)):
        found = describe(fields.get("@type"))
        raise _UnusableEntryError("entry-unusable", f"The `@type` of the entry is {found}.", "@type", found)
    return _organization(fields, issues)


def _add(
    entry: OrganizationEntry | None, position: int, registry: Registry, found: dict[str, OrganizationEntry]
) -> None:
    """The last entry of an organization wins."""
    if entry is None:
        registry.skipped += 1
        return
    if found.pop(entry.urn, None) is not None:
        message = f"{entry.urn} is listed again at place {position}."
        entry.issues.append(Issue("duplicate-organization", message, "identifier", entry.urn))
    entry.issues = [issue.at(position) for issue in entry.issues]
    found[entry.urn] = entry


def _entries(document: Document) -> list[msgspec.Raw]:
    if document.first == b"[":
        return unwrap(document.root)[0]
    members = read_members(document)
    if members.list is None:
        return [document.root]
    if bytes(memoryview(members.list)[:1]) == b"[":
        return unwrap(members.list)[0]
    return [members.list]


def _decode(entry: msgspec.Raw, issues: list[Issue]) -> Fields:
    try:
        value = _DECODER.decode(entry)
    except _UNREADABLE:
        value = _decode_mended(bytes(entry), issues)
    if not isinstance(value, dict):
        found = describe(value)
        raise _UnusableEntryError("entry-unusable", f"The entry is {found}.", "", found)
    return value


def _decode_mended(entry: bytes, issues: list[Issue]) -> object:
    text = entry.decode("utf-8", "replace").encode()
    if text != entry:
        issues.append(Issue("invalid-utf8", "The entry holds bytes that are not UTF-8."))
    try:
        return _DECODER.decode(repair(text).text)
    except _UNREADABLE as error:
        raise _UnusableEntryError("entry-unusable", f"The entry cannot be read: {error}.") from error


def _organization(fields: Fields, issues: list[Issue]) -> OrganizationEntry:
    name = key_text_field(fields.get("name"), "name", MAX_ORGANIZATION_NAME_BYTES, issues)
    if name is None:
        raise _UnusableEntryError("organization-without-name", "The entry has no name.", "name")
    if "organization" not in type_names(fields.get("@type")):
        found = describe(fields.get("@type"))
        issues.append(Issue("organization-type-unknown", f"The `@type` of {name!r} is {found}.", "@type", found))
    url = url_field(fields.get("url"), "url", issues)
    urn = _urn(fields, name, url, issues)
    raw, content_hash = _canonical(fields)
    entry = OrganizationEntry(
        urn=urn,
        name=name,
        description=text_field(fields.get("description"), "description", MAX_DESCRIPTION, issues),
        url=url,
        logo=_address(fields.get("logo"), "logo", issues),
        same_as=_same_as(fields.get("sameAs"), issues),
        brands=_brands(fields, urn, issues),
        categories=_slugs(fields.get("cmp:category", fields.get("category")), issues),
        feed_url=_feed_url(fields.get("cmp:productFeed"), issues),
        raw=raw,
        content_hash=content_hash,
        issues=issues,
    )
    _warn_missing(entry)
    return entry


def _canonical(fields: Fields) -> tuple[bytes, bytes]:
    try:
        raw = _CANONICAL.encode(fields)
    except RecursionError as error:
        raise _UnusableEntryError("entry-unusable", "The entry is nested too deep to be read.") from error
    digest = _SEED.copy()
    digest.update(raw)
    return raw, digest.digest()[:16]


def _urn(fields: Fields, name: str, url: str | None, issues: list[Issue]) -> str:
    urn = read_organization_urn(fields, issues)
    if urn is not None:
        return urn
    domain = domain_of(url) if url else None
    if domain is None:
        message = f"{name!r} has neither an identifier nor a URL."
        shown = describe(fields["identifier"]) if "identifier" in fields else None
        raise _UnusableEntryError("organization-without-identity", message, "identifier", shown)
    derived = organization_urn(domain)
    message = f"{name!r} has no usable identifier; {derived} was derived from {domain}."
    issues.append(Issue("organization-urn-derived", message, "identifier"))
    return derived


def _brands(fields: Fields, urn: str, issues: list[Issue]) -> list[BrandEntry]:
    """Its brands, one per URN, in the order listed."""
    values = listed(fields.get("brand"))
    if len(values) > MAX_BRANDS:
        issues.append(Issue("too-many-values", f"The first {MAX_BRANDS} of {len(values)} are used.", "brand"))
    brands: dict[str, BrandEntry] = {}
    for number, value in enumerate(values[:MAX_BRANDS]):
        path = f"brand[{number}]" if isinstance(fields["brand"], list) else "brand"
        brand = _brand(value, fields if len(values) == 1 else {}, urn, path, issues)
        if brand is not None:
            brands.setdefault(brand.urn, brand)
    return list(brands.values())


def _brand(value: object, entry: Fields, urn: str, path: str, issues: list[Issue]) -> BrandEntry | None:
    if isinstance(value, str):
        value = {"name": value}
    fields = value if isinstance(value, dict) else {}
    name = key_text_field(fields.get("name"), f"{path}.name", MAX_BRAND_NAME_BYTES, issues)
    if name is None:
        issues.append(Issue("brand-unusable", f"`{path}` has no name.", path, describe(value)))
        return None
    found = read_brand_urn(fields, entry, path, issues)
    if found is None:
        found = brand_urn(urn, name)
        issues.append(Issue("brand-urn-derived", f"The brand {name!r} has no usable identifier.", path, name))
    return BrandEntry(found, name, _address(fields.get("logo"), f"{path}.logo", issues))


def _address(value: object, path: str, issues: list[Issue]) -> str | None:
    return url_field(_address_of(value), path, issues)


def _address_of(value: object) -> object:
    """The URL itself, that of an object (DataFeed, ImageObject), or that of the first of a list."""
    value = next(iter(listed(value)), None)
    if isinstance(value, dict):
        return next((value[key] for key in ("url", "contentUrl", "@id") if value.get(key)), None)
    return value


def _feed_url(value: object, issues: list[Issue]) -> str | None:
    """Where the feed index is: whether its scheme or path may be read is for the sources to say."""
    path = "cmp:productFeed"
    url = text_field(_address_of(value), path, MAX_DESCRIPTION, issues)
    if url is None or len(url) <= MAX_URL:
        if url and "://" not in url:
            issues.append(Issue("url-not-absolute", f"`{path}` is relative.", path, url))
        return url
    issues.append(Issue("url-unusable", f"`{path}` is too long.", path, url[:400]))
    return None


def _same_as(value: object, issues: list[Issue]) -> list[str]:
    urls = (url_field(each, "sameAs", issues) for each in listed(value)[:MAX_SAME_AS])
    return list(dict.fromkeys(url for url in urls if url))


def _slugs(value: object, issues: list[Issue]) -> list[str]:
    values = listed(value)
    if len(values) > MAX_SLUGS:
        found = f"The first {MAX_SLUGS} of {len(values)} are used."
        issues.append(Issue("too-many-values", found, "cmp:category"))
    slugs = (key_text_field(each, "cmp:category", MAX_SLUG_BYTES, issues) for each in values[:MAX_SLUGS])
    return sorted({slug.lower() for slug in slugs if slug})


def _warn_missing(entry: OrganizationEntry) -> None:
    found = {
        "description": entry.description,
        "url": entry.url,
        "logo": entry.logo,
        "brand": entry.brands,
        "cmp:category": entry.categories,
        "cmp:productFeed": entry.feed_url,
    }
    for path, value in found.items():
        if not value:
            entry.issues.append(Issue("organization-field-missing", f"{entry.name!r} has no `{path}`.", path))

"""Identifiers: schema.org PropertyValues, in the shapes registries write them."""

from app.cmp.fields import Fields, plain_text
from app.cmp.issues import Issue
from app.cmp.urns import fits, is_domain, is_urn, is_uuid, normalize_organization_urn, organization_of


def read_organization_urn(fields: Fields, issues: list[Issue]) -> str | None:
    """The organization's canonical URN: of `identifier`, else the one that `cmp:orgId` or `cmp:brandId` names."""
    for value in _identifiers(fields.get("identifier"), "cmp:orgId", "identifier", issues):
        if urn := _organization(value, "identifier", issues):
            return urn
    for path in ("cmp:orgId", "cmp:brandId"):
        named = fields.get(path)
        owner = organization_of(named.strip()) if isinstance(named, str) else None
        if owner and (urn := normalize_organization_urn(f"urn:cmp:org:{owner}")):
            issues.append(Issue("identifier-as-text", f"`{path}` stands for `identifier`.", path, named))
            return urn
    return None


def read_brand_urn(brand: Fields, entry: Fields, path: str, issues: list[Issue]) -> str | None:
    """The URN of a brand: its `identifier`, its `@id`, or `cmp:brandId` of it or of an entry with one brand."""
    where = f"{path}.identifier"
    values = _identifiers(brand.get("identifier"), "cmp:brandId", where, issues)
    for value in (*values, brand.get("@id")):
        if urn := _brand(value, where, issues):
            return urn
    for value in (brand.get("cmp:brandId"), entry.get("cmp:brandId")):
        if urn := _brand(value, where, issues):
            issues.append(Issue("identifier-as-text", "`cmp:brandId` stands for `identifier`.", where, urn))
            return urn
    return None


def _organization(value: str, path: str, issues: list[Issue]) -> str | None:
    urn = normalize_organization_urn(value)
    if urn is None:
        return None
    if urn != value:
        issues.append(Issue("organization-urn-spelling", f"{value!r} is read as {urn}.", path, value))
    owner = organization_of(urn) or ""
    if not (is_uuid(owner) or is_domain(owner)):
        issues.append(Issue("organization-urn-invalid", f"{owner!r} is neither a UUID nor a domain.", path, value))
    return urn


def _brand(value: object, path: str, issues: list[Issue]) -> str | None:
    if not isinstance(value, str) or not is_urn(value.strip()):
        return None
    urn = plain_text(value, path, issues)
    if fits(urn):
        return urn
    issues.append(Issue("reference-unusable", "The brand's URN is too long.", path, urn[:400]))
    return None


def _identifiers(value: object, wanted: str, path: str, issues: list[Issue]) -> list[str]:
    """The values of an `identifier`, those of the wanted propertyID first, other URNs after them."""
    first: list[str] = []
    others: list[str] = []
    for each in (value if isinstance(value, list) else [value])[:100]:
        if isinstance(each, str):
            issues.append(Issue("identifier-as-text", f"`{path}` is a plain string.", path, each[:400]))
            others.append(each)
        elif isinstance(each, dict) and isinstance(each.get("value"), str):
            known = _is_wanted(each.get("propertyID"), wanted, path, issues)
            (first if known else others).append(each["value"])
    return first + others


def _is_wanted(found: object, wanted: str, path: str, issues: list[Issue]) -> bool:
    """Whether a propertyID is the wanted one; trimmed, and whatever its case."""
    if found == wanted:
        return True
    known = isinstance(found, str) and found.strip().casefold() == wanted.casefold()
    if known or not found:
        message = f"The `propertyID` is {found!r}, not {wanted!r}."
        issues.append(Issue("identifier-spelling", message, path, str(found)[:400]))
    return known

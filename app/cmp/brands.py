"""Which brand an item belongs to: by its identifier, else by name in the registry, else derived."""

from dataclasses import dataclass, field
from typing import Any

from app.cmp.fields import Fields, key_text_field, plain_text, wrong_type
from app.cmp.issues import Issue
from app.cmp.limits import MAX_BRAND_NAME_BYTES, MAX_NESTING
from app.cmp.urns import brand_urn, domain_of, fits, is_urn, organization_of, organization_urn


@dataclass(frozen=True)
class ItemContext:
    """What an item does not say: whose feed it is in, and the brands the registry knows of that organization.

    `brands` maps casefolded, trimmed names to URNs. `names` are the organization's names in URNs. `max_nesting` is how
    deep an item may be nested.
    """

    organization_urn: str
    domain: str | None = None
    brands: dict[str, str] = field(default_factory=dict)
    max_nesting: int = MAX_NESTING
    names: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        names = {organization_of(self.organization_urn) or self.organization_urn}
        if self.domain:
            derived = organization_of(organization_urn(self.domain))
            names |= {self.domain, f"www.{self.domain}", derived or self.domain}
        object.__setattr__(self, "names", frozenset(names))

    @classmethod
    def of(cls, organization_urn: str) -> "ItemContext":
        """For a feed without a registry entry."""
        owner = organization_of(organization_urn)
        return cls(organization_urn, domain_of(f"https://{owner}") if owner else None)

    def is_foreign(self, urn: str) -> bool:
        """Whether a URN names another organization."""
        owner = organization_of(urn)
        return owner is not None and owner not in self.names


def brand_key(name: str) -> str:
    """Names that differ in case or surrounding space are one brand."""
    return name.strip().casefold()


def read_brand(value: Any, context: ItemContext, issues: list[Issue]) -> tuple[str | None, str | None]:
    """Name and URN of an item's brand."""
    if isinstance(value, list):
        value = value[0] if value else None
    if value is None or value == "":
        return None, None
    if isinstance(value, str):
        issues.append(Issue("brand-as-text", "`brand` is a plain string.", "brand", value[:400]))
        value = {"name": value}
    if not isinstance(value, dict):
        wrong_type(issues, "brand", value, "a Brand")
        return None, None
    name = key_text_field(value.get("name"), "brand.name", MAX_BRAND_NAME_BYTES, issues)
    return name, _urn(name, value, context, issues)


def _urn(name: str | None, brand: Fields, context: ItemContext, issues: list[Issue]) -> str | None:
    urn = _identifier(brand, issues)
    if urn is not None or name is None:
        return urn
    issues.append(Issue("brand-without-identifier", f"The brand {name!r} has no URN.", "brand.identifier"))
    return context.brands.get(brand_key(name)) or brand_urn(context.organization_urn, name)


def _identifier(brand: Fields, issues: list[Issue]) -> str | None:
    """The URN in `identifier` (a PropertyValue, a list of them, or a string), `cmp:brandId` or `@id`."""
    found = brand.get("identifier")
    candidates = found if isinstance(found, list) else [found]
    for candidate in (*candidates[:10], brand.get("cmp:brandId"), brand.get("@id")):
        value = candidate.get("value") if isinstance(candidate, dict) else candidate
        if not isinstance(value, str) or not is_urn(value.strip()):
            continue
        urn = plain_text(value, "brand.identifier", issues)
        if fits(urn):
            return urn
        issues.append(Issue("reference-unusable", "The brand's URN is too long.", "brand.identifier", urn[:400]))
    return None

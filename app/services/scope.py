"""What a hit must be, as SQL about the catalogue."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, text

from app.cmp.availability import IN_STOCK
from app.cmp.categories import SEPARATOR, normalize_path
from app.cmp.urns import normalize_organization_urn
from app.vectors.indexes.base import Condition, SearchFilters


@dataclass(frozen=True)
class Scope:
    """Filters as SQL: `products` is about `p`, `offers` about `o`, an offer."""

    products: str
    offers: str
    parameters: Mapping[str, Any]
    is_filter: bool
    filters: SearchFilters

    @property
    def condition(self) -> Condition:
        return Condition(self.products, self.parameters, self.is_filter, self.filters)


def resolve(connection: Connection, filters: SearchFilters) -> Scope | None:
    """The filters with names looked up; None when nothing can pass, since a name is unknown."""
    parameters: dict[str, Any] = {"in_stock_names": sorted(IN_STOCK)}
    products, offers = ["p.deleted_at IS NULL"], ["true"]
    if filters.organization is not None:
        urn = normalize_organization_urn(filters.organization) or filters.organization
        filters = replace(filters, organization=urn)
        organization = _organization_id(connection, urn)
        if organization is None:
            return None
        products.append("p.organization_id = :organization")
        parameters["organization"] = organization
    if filters.brand is not None:
        products.append("(p.brand_id = ANY(:brands) OR lower(p.brand_name) = lower(:brand))")
        parameters |= {"brand": filters.brand.strip(), "brands": _brand_ids(connection, filters.brand.strip())}
    if filters.category is not None:
        products.append("p.category_id = ANY(:categories)")
        parameters["categories"] = _category_ids(connection, filters.category)
    if filters.min_price is not None:
        offers.append("o.price >= :min_price")
    if filters.max_price is not None:
        offers.append("o.price <= :max_price")
    if filters.currency is not None:
        offers.append("o.currency = :currency")
        parameters["currency"] = filters.currency.strip().upper()
    if filters.in_stock:
        offers.append("o.availability = ANY(:in_stock_names)")
    parameters |= {"min_price": filters.min_price, "max_price": filters.max_price}
    if len(offers) > 1:
        passing = " AND ".join(offers)
        products.append(f"EXISTS (SELECT FROM offers o WHERE o.product_id = p.id AND {passing})")
    return Scope(" AND ".join(products), " AND ".join(offers), parameters, len(products) > 1, filters)


def _organization_id(connection: Connection, urn: str) -> int | None:
    found: int | None = connection.execute(text("SELECT id FROM organizations WHERE urn = :urn"), {"urn": urn}).scalar()
    return found


def _brand_ids(connection: Connection, brand: str) -> list[int]:
    """The brands of that name or URN, of any organization."""
    return list(
        connection.execute(
            text("SELECT id FROM brands WHERE lower(name) = lower(:brand) OR urn = :brand"), {"brand": brand}
        ).scalars()
    )


def _category_ids(connection: Connection, category: str) -> list[int]:
    """The categories whose path holds the filter's as whole parts: itself, wherever it stands, and all below."""
    path = normalize_path(category) or ""
    return list(
        connection.execute(
            text("""
                SELECT id FROM categories
                WHERE string_to_array(lower(path), ' > ') @> string_to_array(lower(:path), :gap)
                    AND position(lower(:within) IN lower(:gap || path || :gap)) > 0
                """),
            {"path": path, "within": f"{SEPARATOR}{path}{SEPARATOR}", "gap": SEPARATOR},
        ).scalars()
    )

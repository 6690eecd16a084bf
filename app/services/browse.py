"""What there is: categories, brands and organizations, with how many live products each has."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, text


@dataclass(frozen=True)
class CategoryCount:
    """A category and the products in it and below it."""

    path: str
    name: str
    parent: str | None
    products: int


@dataclass(frozen=True)
class BrandCount:
    """A brand of an organization, and the products that are linked to it."""

    urn: str
    name: str
    logo: str | None
    organization: str
    products: int


@dataclass(frozen=True)
class OrganizationCount:
    """An organization and what its feed has; `merged_at` is when that was last applied, `verdict` what became of its
    last publication. `unlisted_since` is when it left its registry, `retired_at` when its products went for that."""

    id: int
    urn: str
    name: str | None
    description: str | None
    url: str | None
    logo: str | None
    same_as: Sequence[str]
    products: int
    offers: int
    merged_at: datetime | None
    verdict: str | None
    unlisted_since: datetime | None
    retired_at: datetime | None


def categories(connection: Connection, *, within: str | None, after: str, limit: int) -> list[CategoryCount]:
    """Categories with products, by path from beyond `after`: all, or those directly below one."""
    rows = connection.execute(
        text("""
            WITH RECURSIVE counted AS (
                SELECT category_id AS id, count(*) AS products FROM products
                WHERE deleted_at IS NULL AND category_id IS NOT NULL GROUP BY category_id
            ), above AS (
                SELECT id, products FROM counted
                UNION ALL
                SELECT c.parent_id, a.products FROM above a JOIN categories c ON c.id = a.id
                WHERE c.parent_id IS NOT NULL
            ), summed AS (SELECT id, CAST(sum(products) AS int8) AS products FROM above GROUP BY id)
            SELECT c.path, c.name, p.path AS parent, s.products
            FROM summed s JOIN categories c USING (id) LEFT JOIN categories p ON p.id = c.parent_id
            WHERE c.path > :after AND (CAST(:within AS text) IS NULL OR p.path = :within)
            ORDER BY c.path LIMIT :limit
            """),
        {"within": within, "after": after, "limit": limit},
    )
    return [CategoryCount(*row) for row in rows]


def brands(connection: Connection, *, organization: str | None, after: int, limit: int) -> list[tuple[int, BrandCount]]:
    """Brands with products, by id from beyond `after`, of all organizations or of one; each with its id."""
    rows = connection.execute(
        text("""
            SELECT b.id, b.urn, b.name, b.logo, o.urn AS organization, counted.products
            FROM brands b JOIN organizations o ON o.id = b.organization_id CROSS JOIN LATERAL (
                SELECT count(*) AS products FROM products WHERE brand_id = b.id AND deleted_at IS NULL
            ) counted
            WHERE b.id > :after AND counted.products > 0
                AND (CAST(:organization AS text) IS NULL OR o.urn = :organization)
            ORDER BY b.id LIMIT :limit
            """),
        {"organization": organization, "after": after, "limit": limit},
    )
    return [(row.id, BrandCount(row.urn, row.name, row.logo, row.organization, row.products)) for row in rows]


_ORGANIZATIONS = """
    SELECT o.id, o.urn, o.name, o.description, o.url, o.logo, o.same_as, coalesce(f.live_products, 0) AS products,
        coalesce(f.live_offers, 0) AS offers, f.merged_at, f.verdict, o.unlisted_since, o.retired_at
    FROM organizations o LEFT JOIN feeds f ON f.organization_id = o.id
    """


def organizations(connection: Connection, *, after: str, limit: int) -> list[OrganizationCount]:
    """Organizations that are not retired, by URN from beyond `after`."""
    rows = connection.execute(
        text(f"{_ORGANIZATIONS} WHERE o.retired_at IS NULL AND o.urn > :after ORDER BY o.urn LIMIT :limit"),
        {"after": after, "limit": limit},
    )
    return [OrganizationCount(*row) for row in rows]


def organization(connection: Connection, urn: str) -> OrganizationCount | None:
    """The organization with that URN."""
    row = connection.execute(text(f"{_ORGANIZATIONS} WHERE o.urn = :urn"), {"urn": urn}).one_or_none()
    return None if row is None else OrganizationCount(*row)


def categories_of(connection: Connection, organization_id: int) -> list[str]:
    """The categories that an organization's registry entry names."""
    rows = connection.execute(
        text("""
            SELECT c.path FROM organization_categories l JOIN categories c ON c.id = l.category_id
            WHERE l.organization_id = :organization ORDER BY c.path
            """),
        {"organization": organization_id},
    )
    return list(rows.scalars())


def totals(connection: Connection) -> dict[str, int]:
    """How much is live."""
    row = connection.execute(
        text("""
            SELECT coalesce(sum(live_products), 0) AS products, coalesce(sum(live_offers), 0) AS offers,
                count(*) FILTER (WHERE live_products > 0) AS organizations
            FROM feeds
            """)
    ).one()
    return {name: int(value) for name, value in row._mapping.items()}

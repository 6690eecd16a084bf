"""What there is to find: categories, brands, and the organizations that sell."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import Field
from starlette.responses import Response

from app.api import cursors
from app.api.authentication import Reader
from app.api.negotiation import SCHEMA_ORG, answer
from app.api.node import node_of
from app.api.openapi import answers
from app.api.parameters import Part
from app.api.problems import Problem
from app.api.schemas import BrandPage, CategoryPage, OrganizationPage, OrganizationShape
from app.cmp.urns import normalize_organization_urn
from app.services import browse, issues
from app.services.browse import BrandCount, OrganizationCount
from app.services.filters import Name, OrganizationUrn
from app.services.products import without_none

router = APIRouter(tags=["catalogue"])

_BRANDS_OF_ONE = 1000


class CategoryParameters(Part):
    within: Name | None = Field(None, description="The path of a category: only those directly below it.")


class BrandParameters(Part):
    organization: OrganizationUrn | None = Field(None, description="The URN of an organization: only its brands.")


@router.get("/categories", responses=answers(CategoryPage))
def categories(request: Request, wanted: Annotated[CategoryParameters, Query()], _caller: Reader) -> Response:
    """Categories by path, each with the number of products in it and below."""
    after = cursors.decode(wanted.page_token)
    with node_of(request).searching() as connection:
        found = browse.categories(connection, within=wanted.within, after=after, limit=wanted.limit)
    documents = [
        without_none({"path": each.path, "name": each.name, "parent": each.parent, "products": each.products})
        for each in found
    ]
    last = found[-1].path if found else ""
    return answer(request, cursors.listed("categories", documents, wanted.limit, last), page="categories")


@router.get("/brands", responses=answers(BrandPage))
def brands(request: Request, wanted: Annotated[BrandParameters, Query()], _caller: Reader) -> Response:
    """Brands, each with its organization and the number of its products."""
    after = cursors.decode_number(wanted.page_token)
    with node_of(request).searching() as connection:
        found = browse.brands(connection, organization=wanted.organization, after=after, limit=wanted.limit)
    documents = [_brand(brand) for _, brand in found]
    last = found[-1][0] if found else 0
    document = cursors.listed("brands", documents, wanted.limit, last)
    return answer(request, document, page="brands", context=SCHEMA_ORG)


@router.get("/organizations", responses=answers(OrganizationPage))
def organizations(request: Request, wanted: Annotated[Part, Query()], _caller: Reader) -> Response:
    """Who sells, each with the number of products and offers of their feed."""
    after = cursors.decode(wanted.page_token)
    with node_of(request).searching() as connection:
        found = browse.organizations(connection, after=after, limit=wanted.limit)
    documents = [_organization(each) for each in found]
    last = found[-1].urn if found else ""
    document = cursors.listed("organizations", documents, wanted.limit, last)
    return answer(request, document, page="organizations", context=SCHEMA_ORG)


@router.get("/organizations/{urn}", responses=answers(OrganizationShape))
def organization(request: Request, urn: str, _caller: Reader) -> Response:
    """An organization with its brands, its categories, and how well its feed is read."""
    known_as = normalize_organization_urn(urn)
    with node_of(request).searching() as connection:
        found = browse.organization(connection, known_as) if known_as else None
        if found is None:
            raise Problem(404, "no-such-organization", "There is no organization of this URN")
        brands = browse.brands(connection, organization=found.urn, after=0, limit=_BRANDS_OF_ONE)
        slugs = browse.categories_of(connection, found.id)
        counts = issues.counts(connection, found.id)
    document = {
        **_organization(found),
        "brand": [_brand(brand) for _, brand in brands],
        "cmp:category": slugs,
        "cmp:issues": {"errors": counts["error"], "warnings": counts["warning"]},
    }
    return answer(request, document, page="organization", context=SCHEMA_ORG)


def _brand(brand: BrandCount) -> dict[str, Any]:
    return without_none(
        {
            "@type": "Brand",
            "@id": brand.urn,
            "name": brand.name,
            "logo": brand.logo,
            "organization": brand.organization,
            "products": brand.products,
        }
    )


def _organization(found: OrganizationCount) -> dict[str, Any]:
    return without_none(
        {
            "@type": "Organization",
            "@id": found.urn,
            "name": found.name,
            "description": found.description,
            "url": found.url,
            "logo": found.logo,
            "sameAs": list(found.same_as) or None,
            "products": found.products,
            "offers": found.offers,
            "feed": without_none(
                {
                    "appliedAt": found.merged_at,
                    "verdict": found.verdict,
                    "unlistedSince": found.unlisted_since,
                    "retiredAt": found.retired_at,
                }
            ),
        }
    )

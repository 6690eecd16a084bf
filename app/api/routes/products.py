"""Products: search, and one in full."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from app.api import page_tokens
from app.api.authentication import Reader
from app.api.documents import hit_document, provenance_document
from app.api.negotiation import SCHEMA_ORG, answer, is_page
from app.api.node import ApiNode, node_of
from app.api.openapi import answers
from app.api.page_tokens import SearchPage
from app.api.parameters import SearchParameters
from app.api.problems import Problem, WrongParameter
from app.api.schemas import ProductPage, ProductShape
from app.cmp.text import is_hostile
from app.services import products as catalogue
from app.services import provenance
from app.services.filters import search_filters
from app.services.products import ProductDeletedError
from app.services.search import Asked, first_page, further_page

router = APIRouter(tags=["products"])

_Received = Annotated[bool, Query(description="Whether the item's own text is told too.")]


@router.get("/products", responses=answers(ProductPage))
def search(request: Request, wanted: Annotated[SearchParameters, Query()], _caller: Reader) -> Response:
    """Find products by meaning and by words."""
    node, filters = node_of(request), wanted.filters()
    told: dict[str, Any] = {}
    if wanted.page_token is None:
        page = SearchPage(page_tokens.search_digest(wanted.q, filters), filters, [])
        with node.searching() as connection:
            embedder = node.embedder(connection)
            found = first_page(connection, embedder, wanted.q, search_filters(filters), wanted.limit)
        hits, page.products = found.hits, [product for product, _ in found.ranking]
        told = {"degraded": True} if found.is_degraded else {}
        explained = wanted.explain
    else:
        page = _continued(node, wanted, filters)
        explained = wanted.explain and page.search == page_tokens.search_digest(wanted.q, page.filters)
        part = page.products[page.shown : page.shown + wanted.limit]
        with node.searching() as connection:
            asked = Asked(node.embedder(connection), wanted.q, wanted.limit) if explained else None
            hits = further_page(connection, search_filters(page.filters), part, asked)
    document = {"products": [hit_document(hit, explained=explained) for hit in hits], **told}
    return answer(request, document | _next(node, page, wanted.limit), page="search", context=SCHEMA_ORG)


@router.get("/products/{urn:path}", responses=answers(ProductShape))
def product(request: Request, urn: str, caller: Reader, received: _Received = False) -> Response:
    """A product as its publisher describes it, with its group and variants, and the offers of all who sell it; and
    where it comes from."""
    with node_of(request).searching() as connection:
        try:
            found = None if is_hostile(urn) else catalogue.get(connection, urn)
        except ProductDeletedError as error:
            raise Problem(410, "product-deleted", str(error), deletedAt=error.deleted_at) from error
        if found is None:
            raise Problem(404, "no-such-product", "There is no product of this URN", remedy="Search for it.")
        group = catalogue.variants(connection, found)
        source = provenance.of_product(connection, found.id)
    document: dict[str, Any] = {"@context": SCHEMA_ORG, **found.document}
    document.pop("isVariantOf", None)  # one that names no group leads nowhere
    if group is not None:
        document["isVariantOf"] = group
    document["cmp:provenance"] = source and provenance_document(source, found.organization, caller)
    document.pop("cmp:received", None)  # a publisher's own member of that name is in the item
    if received or is_page(request, "product"):
        document["cmp:received"] = found.received.decode("utf-8", "replace")
    return answer(request, document, page="product")


def _continued(node: ApiNode, wanted: SearchParameters, filters: dict[str, Any]) -> SearchPage:
    """The page of a token, whose search must not be another than the parameters', if there are any."""
    page = page_tokens.read(node.signing_key, wanted.page_token or "")
    is_repeated = bool(wanted.q or filters)
    if is_repeated and page.search != page_tokens.search_digest(wanted.q, filters):
        raise WrongParameter("pageToken", "is of another search")
    return page


def _next(node: ApiNode, page: SearchPage, limit: int) -> dict[str, str]:
    shown = page.shown + limit
    if shown >= len(page.products):
        return {}
    page.shown = shown
    return {"nextPageToken": page_tokens.sign(node.signing_key, page)}

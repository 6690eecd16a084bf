"""Products beside each other."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from app.api.authentication import Reader
from app.api.negotiation import SCHEMA_ORG, answer
from app.api.node import node_of
from app.api.openapi import answers
from app.api.problems import Problem, WrongParameter
from app.api.schemas import ComparisonShape
from app.services import products
from app.services.comparison import compare
from app.services.filters import Name
from app.services.products import ProductDeletedError

router = APIRouter(tags=["products"])

LEAST, MOST = 2, 5


class ComparisonParameters(BaseModel):
    """Which products."""

    model_config = ConfigDict(extra="forbid")

    urn: list[Name] = Field(
        default=[],
        description="The URNs of two to five products.",
        json_schema_extra={"minItems": LEAST, "maxItems": MOST},
    )


@router.get("/compare", responses=answers(ComparisonShape))
def comparison(request: Request, wanted: Annotated[ComparisonParameters, Query()], _caller: Reader) -> Response:
    """Two to five products beside each other: rows of properties, and a summary in words."""
    urns = list(dict.fromkeys(wanted.urn))
    if not LEAST <= len(urns) <= MOST:
        raise WrongParameter("urn", f"two to five products can be compared, and {len(urns) or 'none'} are chosen")
    with node_of(request).searching() as connection:
        try:
            found = products.get_all(connection, urns)
        except ProductDeletedError as error:
            raise Problem(410, "product-deleted", str(error), urn=error.urn, deletedAt=error.deleted_at) from error
    unknown = [urn for urn in urns if urn not in found]
    if unknown:
        raise Problem(404, "no-such-product", "There is no product of one of these URNs", urns=unknown)
    compared = compare(list(found.values()))
    document = {
        "products": [
            {"@type": "Product", "@id": urn, "name": name} for urn, name in zip(urns, compared.names, strict=True)
        ],
        "rows": [{"name": row.name, "values": row.values, "differs": row.differs} for row in compared.rows],
        "summary": compared.summary,
    }
    return answer(request, document, page="compare", context=SCHEMA_ORG)

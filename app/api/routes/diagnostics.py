"""What is wrong with one organization's data, for who runs the node, and for the brand by a link."""

import time
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Connection
from starlette.responses import Response, StreamingResponse

from app.api.authentication import Admin, Anybody
from app.api.issue_files import WHOLE, Form, whole
from app.api.links import Link, microseconds, read, revoked, sign
from app.api.negotiation import answer, negotiated
from app.api.node import ApiNode, node_of
from app.api.openapi import NEEDS_ADMIN, answers
from app.api.problems import Problem
from app.api.schemas import DiagnosticsShape, LinkShape, RevocationShape
from app.cmp.urns import normalize_organization_urn
from app.services import browse, diagnostics, links, secrets
from app.services.issues import IssueFilter

router = APIRouter(tags=["issues"])

Token = Annotated[str, Path(max_length=2000)]

_DAY = 86_400  # seconds
_UNLISTED = {"X-Robots-Tag": "noindex"}


class LinkParameters(BaseModel):
    """For how long a link is good."""

    model_config = ConfigDict(extra="forbid")

    days: int = Field(30, ge=1, le=365, description="Days until it expires.")


@router.get("/organizations/{urn}/issues", responses=answers(DiagnosticsShape), openapi_extra=NEEDS_ADMIN)
def of_organization(request: Request, urn: str, _caller: Admin) -> Response:
    """What is wrong with an organization's data, by code, with the items as they were received."""
    with node_of(request).reading() as connection:
        document = _document(connection, _known(connection, urn))
    return answer(request, document, page="diagnostics")


@router.post(
    "/organizations/{urn}/issues/links", status_code=201, responses=answers(LinkShape, status=201),
    openapi_extra=NEEDS_ADMIN,
)  # fmt: skip
def link(request: Request, urn: str, wanted: Annotated[LinkParameters, Query()], _caller: Admin) -> Response:
    """Make a link by which the brand reads the same without a key."""
    negotiated(request, "link")
    with node_of(request).database.transaction() as connection:
        made_at = microseconds(links.now(connection))
        made = Link(_known(connection, urn), int(time.time()) + wanted.days * _DAY, made_at)
        place = f"/diagnostics/{sign(secrets.shared(connection, links.SECRET), made)}"
    document = {
        "url": place,
        "organization": made.organization,
        "expiresAt": datetime.fromtimestamp(made.expires_at, UTC),
    }
    return answer(request, document, page="link", status=201, headers={"Location": place})


@router.post(
    "/organizations/{urn}/issues/links/revoke", responses=answers(RevocationShape), openapi_extra=NEEDS_ADMIN
)  # fmt: skip
def revoke(request: Request, urn: str, _caller: Admin) -> Response:
    """Revoke the links to an organization's diagnostics that were made so far."""
    negotiated(request, "revoked")
    with node_of(request).database.transaction() as connection:
        organization = _known(connection, urn)
        links.revoke(connection, organization)
    return answer(request, {"revoked": True, "organization": organization}, page="revoked")


@router.delete("/diagnostics", responses=answers(RevocationShape), openapi_extra=NEEDS_ADMIN)
def revoke_all(request: Request, _caller: Admin) -> Response:
    """Revoke all links that were made so far."""
    negotiated(request)
    with node_of(request).database.transaction() as connection:
        links.revoke(connection, None)
    return answer(request, {"revoked": True})


@router.get("/diagnostics/{token}", responses=answers(DiagnosticsShape))
def by_link(request: Request, token: Token, _caller: Anybody) -> Response:
    """The diagnostics that a link is for."""
    node = node_of(request)
    organization = _opened(node, token)
    with node.reading() as connection:
        document = _document(connection, _known(connection, organization))
    headers = {**_UNLISTED, "Cache-Control": "private, no-cache"}
    return answer(request, document, page="diagnostics", headers=headers)


@router.get("/diagnostics/{token}/issues.{form}", response_class=StreamingResponse, responses=WHOLE)
def file_by_link(request: Request, token: Token, form: Form, _caller: Anybody) -> Response:
    """All issues of the organization that a link is for, as a file."""
    node = node_of(request)
    organization = _opened(node, token)
    with node.reading() as connection:
        wanted = IssueFilter(_known(connection, organization))
    answered = whole(node, wanted, form)
    answered.headers.update(_UNLISTED)
    return answered


def _opened(node: ApiNode, token: str) -> str:
    """The organization whose diagnostics a link opens. Raises `Problem`."""
    with node.database.transaction() as connection:
        allowed = read(secrets.shared(connection, links.SECRET), token)
        if allowed.is_revoked(links.revoked_at(connection, allowed.organization)):
            raise revoked()
    return allowed.organization


def _document(connection: Connection, organization: str) -> dict[str, Any]:
    return {"organization": organization, "codes": diagnostics.of(connection, organization)}


def _known(connection: Connection, urn: str) -> str:
    """The organization's URN as the catalogue has it."""
    known_as = normalize_organization_urn(urn)
    found = browse.organization(connection, known_as) if known_as else None
    if found is None:
        raise Problem(404, "no-such-organization", "There is no organization of this URN")
    return found.urn

"""What is wrong with registries and feeds."""

from collections.abc import Mapping
from typing import Annotated, Literal
from urllib.parse import quote

from fastapi import APIRouter, Query, Request
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from starlette.responses import RedirectResponse, Response, StreamingResponse

from app.api import cursors
from app.api.authentication import Reader
from app.api.issue_files import WHOLE, Form, csv_table, ndjson, whole
from app.api.negotiation import CSV, NDJSON, Writer, answer, is_page
from app.api.node import node_of
from app.api.openapi import answers
from app.api.parameters import Part
from app.api.schemas import IssueList
from app.cmp.codes import CODES
from app.services import issue_summary
from app.services import issues as service
from app.services.filters import OrganizationUrn
from app.services.issues import IssueFilter

router = APIRouter(tags=["issues"])

_MOST = 10**9


def _code(text: str) -> str:
    if text not in CODES:
        raise ValueError("is no issue's; docs/issues.md lists them")
    return text


class WhichIssues(BaseModel):
    """Which issues."""

    model_config = ConfigDict(extra="forbid")

    organization: OrganizationUrn | None = Field(None, description="Of the organization of this URN.")
    severity: Literal["error", "warning"] | None = None
    code: Annotated[str, AfterValidator(_code)] | None = Field(None, description="Of this code.")

    def filter(self) -> IssueFilter:
        return IssueFilter(self.organization, self.severity, self.code)


class IssueParameters(WhichIssues, Part):
    """Which issues, and which part of them."""

    limit: int = Field(1000, ge=1, le=10_000, description="How many at most.")


@router.get("/issues", responses=answers(IssueList, further={NDJSON: {"type": "string"}, CSV: {"type": "string"}}))
def issues(request: Request, wanted: Annotated[IssueParameters, Query()], caller: Reader) -> Response:
    """What is wrong, errors first, each with its place and remedy; a warning stands for `count` places. Of the whole
    node also by code, with the organizations that have it. As NDJSON and CSV too, whose next page the header Link
    names."""
    if wanted.organization and caller.is_admin and is_page(request, "issues"):
        return RedirectResponse(f"/organizations/{quote(wanted.organization)}/issues{_anchor(wanted.code)}", 303)
    skipped = min(cursors.decode_number(wanted.page_token), _MOST)
    with node_of(request).reading() as connection:
        found = service.listed(connection, wanted.filter(), wanted.limit, skipped)
        codes = issue_summary.by_code(connection, wanted.severity) if _is_of_node(wanted) else None
    document = cursors.listed("issues", found, wanted.limit, skipped + len(found))
    if codes is not None:
        document["codes"] = codes
    headers = {}
    if token := document.get("nextPageToken"):
        following = request.url.include_query_params(pageToken=token)
        headers["Link"] = f'<{following.path}?{following.query}>; rel="next"'
    return answer(request, document, page="issues", writers=_WRITERS, headers=headers)


@router.get("/issues.{form}", response_class=StreamingResponse, responses=WHOLE)
def file(request: Request, form: Form, wanted: Annotated[WhichIssues, Query()], _caller: Reader) -> Response:
    """All that is wrong as a file, errors first, each with its place and remedy; a warning stands for `count` places.
    For a link: its address alone says the form."""
    return whole(node_of(request), wanted.filter(), form)


def _is_of_node(wanted: IssueParameters) -> bool:
    """Whether the first of all issues are asked for."""
    return wanted.organization is None and wanted.code is None and wanted.page_token is None


def _anchor(code: str | None) -> str:
    return f"#{code}" if code else ""


_WRITERS: Mapping[str, Writer] = {
    NDJSON: lambda document: ndjson(document["issues"]),
    CSV: lambda document: csv_table(document["issues"]),
}

"""What is wrong with registries and feeds."""

import csv
import io
from collections.abc import Mapping
from typing import Annotated, Any, Literal
from urllib.parse import quote

from fastapi import APIRouter, Query, Request
from pydantic import AfterValidator, Field
from starlette.responses import RedirectResponse, Response

from app.api import cursors
from app.api.authentication import Reader
from app.api.negotiation import CSV, NDJSON, Writer, answer, encoded, is_page
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

_COLUMNS = (
    "organization", "ingestor", "severity", "code", "shard", "position", "path", "message", "value", "count",
    "attempted", "hint",
)  # fmt: skip
_MOST = 10**9
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def _code(text: str) -> str:
    if text not in CODES:
        raise ValueError("is no issue's; docs/issues.md lists them")
    return text


class IssueParameters(Part):
    """Which issues."""

    limit: int = Field(1000, ge=1, le=10_000, description="How many at most.")
    organization: OrganizationUrn | None = Field(None, description="Of the organization of this URN.")
    severity: Literal["error", "warning"] | None = None
    code: Annotated[str, AfterValidator(_code)] | None = Field(None, description="Of this code.")


@router.get("/issues", responses=answers(IssueList, further={NDJSON: {"type": "string"}, CSV: {"type": "string"}}))
def issues(request: Request, wanted: Annotated[IssueParameters, Query()], caller: Reader) -> Response:
    """What is wrong, errors first, each with its place and remedy; a warning stands for `count` places. Of the whole
    node also by code, with the organizations that have it. As NDJSON and CSV too, whose next page the header Link
    names."""
    if wanted.organization and caller.is_admin and is_page(request, "issues"):
        return RedirectResponse(f"/organizations/{quote(wanted.organization)}/issues{_anchor(wanted.code)}", 303)
    asked = IssueFilter(wanted.organization, wanted.severity, wanted.code)
    skipped = min(cursors.decode_number(wanted.page_token), _MOST)
    with node_of(request).reading() as connection:
        found = service.listed(connection, asked, wanted.limit, skipped)
        codes = issue_summary.by_code(connection, wanted.severity) if _is_of_node(wanted) else None
    document = cursors.listed("issues", found, wanted.limit, skipped + len(found))
    if codes is not None:
        document["codes"] = codes
    headers = {}
    if token := document.get("nextPageToken"):
        following = request.url.include_query_params(pageToken=token)
        headers["Link"] = f'<{following.path}?{following.query}>; rel="next"'
    return answer(request, document, page="issues", writers=_WRITERS, headers=headers)


def _is_of_node(wanted: IssueParameters) -> bool:
    """Whether the first of all issues are asked for."""
    return wanted.organization is None and wanted.code is None and wanted.page_token is None


def _anchor(code: str | None) -> str:
    return f"#{code}" if code else ""


def _ndjson(document: Mapping[str, Any]) -> bytes:
    return b"".join(encoded(issue) + b"\n" for issue in document["issues"])


def _csv(document: Mapping[str, Any]) -> bytes:
    """With a header. What a spreadsheet would take for a formula is marked as text."""
    written = io.StringIO()
    writer = csv.DictWriter(written, _COLUMNS, extrasaction="ignore")
    writer.writeheader()
    writer.writerows({name: _cell(issue[name]) for name in _COLUMNS} for issue in document["issues"])
    return written.getvalue().encode()


def _cell(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


_WRITERS: Mapping[str, Writer] = {NDJSON: _ndjson, CSV: _csv}

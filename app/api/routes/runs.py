"""What was ingested, what is under way, and starting more of it."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Request
from pydantic import Field
from starlette.responses import Response

from app.api import cursors
from app.api.authentication import Admin, Caller, Reader
from app.api.documents import file_name
from app.api.negotiation import answer, negotiated
from app.api.node import node_of
from app.api.openapi import NEEDS_ADMIN, answers
from app.api.parameters import Part
from app.api.problems import Problem, WrongParameter
from app.api.schemas import IngestorList, RunPage, StartShape, WholeRunShape
from app.cmp.text import is_hostile
from app.ingestors.manager import IngestorManager
from app.ingestors.reports import IngestorInfo
from app.net.urls import shown
from app.services import run_progress
from app.services import runs as ledger
from app.services.filters import Name, OrganizationUrn
from app.services.products import without_none
from app.services.runs import RunFilter

router = APIRouter(tags=["runs"])

_OPERATORS = ("worker", "attempt", "failures", "lost")
"""What of a start is told to those alone who run the node."""
_STARTED = "started"  # the page


class RunParameters(Part):
    """Which runs."""

    limit: int = Field(50, ge=1, le=500, description="How many at most.")
    ingestor: Name | None = Field(None, description="Of this ingestor.")
    organization: OrganizationUrn | None = Field(None, description="Of the organization of this URN.")
    status: Literal["running", "waiting", "success", "degraded", "held", "failed"] | None = None
    start: UUID | None = Field(None, description="Of this start.")


@router.get("/runs", responses=answers(RunPage))
def runs(request: Request, wanted: Annotated[RunParameters, Query()], caller: Reader) -> Response:
    """What is under way, and the latest ingestions, newest first: one for each organization."""
    filters = RunFilter(
        wanted.ingestor, wanted.organization, wanted.status, wanted.start, _before(wanted.page_token)
    )  # fmt: skip
    with node_of(request).reading() as connection:
        starts = ledger.open_starts(connection) if wanted.page_token is None else []
        found = ledger.recent(connection, wanted.limit, filters)
    last = f"{found[-1]['created_at'].isoformat()} {found[-1]['id']}" if found else ""
    document = cursors.listed("runs", [ledger.as_report(row) for row in found], wanted.limit, last)
    told = [_start(start, caller) for start in starts if wanted.start in (None, start["id"])]
    return answer(request, {"starts": told, **document}, page="runs")


@router.get("/runs/{run}", responses=answers(WholeRunShape))
def run(request: Request, run: UUID, caller: Reader) -> Response:
    """An ingestion of one organization: what each step did, how long it took, and what went wrong."""
    with node_of(request).reading() as connection:
        found = ledger.find(connection, run)
        if found is None:
            raise Problem(404, "no-such-run", "There is no run of this id")
        releasable = ledger.held_publication(connection, run) is not None
        progress = run_progress.of_run(connection, found)
    for shard in progress.get("shards", ()) if not caller.is_admin else ():
        shard["shard"] = file_name(shard["shard"])
    return answer(request, {**ledger.as_report(found), "releasable": releasable, "progress": progress}, page="run")


@router.post(
    "/runs/{run}/release", status_code=202, responses=answers(StartShape, status=202), openapi_extra=NEEDS_ADMIN
)
def release(request: Request, run: UUID, _caller: Admin) -> Response:
    """Let the publication through that the run held; another that came after it stays held."""
    negotiated(request, _STARTED)
    with node_of(request).reading() as connection:
        found = ledger.find(connection, run)
        if found is None:
            raise Problem(404, "no-such-run", "There is no run of this id")
        fingerprint = ledger.held_publication(connection, run)
    if fingerprint is None:
        raise Problem(409, "not-held", "The run holds nothing that could be released", runStatus=found["status"])
    from app.worker import commands

    try:
        start = commands.release(found["ingestor"], found["organization"], fingerprint)
    except commands.UnknownIngestorError as error:
        raise Problem(409, "no-such-ingestor", str(error), remedy=error.remedy) from error
    return _started(request, start)


@router.get("/ingestors", responses=answers(IngestorList))
def ingestors(request: Request, caller: Reader) -> Response:
    """The entries of `ingestion.yaml`; where they read from is told to operators."""
    entries = IngestorManager(node_of(request).settings).get_ingestors()
    return answer(request, {"ingestors": [_ingestor(entry, caller) for entry in entries]}, page="ingestors")


@router.post(
    "/ingestors/{name}/runs", status_code=202, responses=answers(StartShape, status=202), openapi_extra=NEEDS_ADMIN
)
def start(request: Request, name: str, _caller: Admin) -> Response:
    """Start an ingestor; a worker does the work. One that is queued already is not started twice."""
    negotiated(request, _STARTED)
    from app.worker import commands

    try:
        if is_hostile(name):
            raise commands.UnknownIngestorError("?")
        started = commands.start_ingestor(name)
    except commands.UnknownIngestorError as error:
        raise Problem(404, "no-such-ingestor", str(error), remedy=error.remedy) from error
    return _started(request, started)


def _started(request: Request, start: UUID) -> Response:
    place = f"/runs?start={start}"
    return answer(request, {"start": start, "runs": place}, page=_STARTED, status=202, headers={"Location": place})


def _before(token: str | None) -> tuple[datetime, UUID] | None:
    after = cursors.decode(token)
    if not after:
        return None
    try:
        time, _, run_id = after.partition(" ")
        return datetime.fromisoformat(time), UUID(run_id)
    except ValueError as error:
        raise WrongParameter("pageToken", "is none of this node's") from error


def _start(start: dict[str, Any], caller: Caller) -> dict[str, Any]:
    return start if caller.is_admin else {name: value for name, value in start.items() if name not in _OPERATORS}


def _ingestor(entry: IngestorInfo, caller: Caller) -> dict[str, Any]:
    told: dict[str, Any] = {
        "name": entry["name"], "source_type": entry["source_type"], "schedule": entry["schedule"]
    }  # fmt: skip
    if caller.is_admin:
        told |= {name: shown(path) for name in ("registry", "feed_path") if (path := entry[name])}
    return without_none(told)

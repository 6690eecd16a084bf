"""What goes wrong, as RFC 9457 problem documents. Everything that is not answered is told here, and nowhere else."""

from collections.abc import Mapping, Sequence
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from app.api.headers import SECURITY_HEADERS
from app.api.negotiation import HTML, JSON, LD_JSON, PAGE_HEADERS, NotAcceptable, chosen, encoded, page_named
from app.core.errors import DiscoveryNodeError
from app.db.session import DatabaseFailedError, is_away, is_too_slow
from app.vectors.indexes.base import IndexUnavailableError

log = structlog.get_logger()

PROBLEM_JSON = "application/problem+json"
_TITLES = {
    400: "The request cannot be understood",
    401: "A key is needed",
    403: "The key does not open this",
    404: "There is no such thing",
    405: "This cannot be done here",
    406: "It cannot be had in this form",
    408: "The request took too long",
    409: "It is not as the request takes it to be",
    410: "It is gone",
    413: "The request is too large",
    415: "The request is of a kind that is not read",
    422: "A parameter is wrong",
    429: "Too many requests",
    431: "The request is too large",
    500: "The node failed",
    503: "The node cannot answer now",
}
_AGAIN = {"Retry-After": "5"}
_PLACES = frozenset({"query", "path", "header", "body"})
_SHOWN = 300  # characters of what a client sent


class Problem(Exception):  # noqa: N818 - RFC 9457's own name
    """An answer that is a problem. `code` names its kind, once and for all; `members` are further ones of the document,
    such as `errors`, which names each wrong parameter."""

    def __init__(
        self, status: int, code: str, detail: str, *, remedy: str = "", headers: Mapping[str, str] | None = None,
        **members: Any,
    ) -> None:  # fmt: skip
        super().__init__(detail)
        self.status = status
        self.headers = dict(headers or {})
        self.document = {
            "type": f"urn:discovery-node:problem:{code}",
            "title": _TITLES.get(status, "It did not work"),
            "status": status,
            "detail": detail,
            **({"remedy": remedy} if remedy else {}),
            **members,
        }


class WrongParameter(Problem):
    """A 422 that names the parameter. `known` are the values, or names, that there are."""

    def __init__(self, parameter: str, message: str, *, known: Sequence[str] = ()) -> None:
        error: dict[str, Any] = {"parameter": parameter, "message": message}
        if known:
            error["known"] = list(known)
        super().__init__(422, "wrong-parameter", f"{parameter}: {message}", errors=[error])


def respond(request: Request, problem: Problem) -> Response:
    """The problem in the form the client likes best: a page, where there is one for problems, or a document."""
    headers = {"Cache-Control": "no-store", "Vary": "Accept, Authorization, Cookie", **problem.headers}
    page = page_named(request, "problem")
    offered = [JSON, LD_JSON, *([HTML] if page else [])]
    if page and chosen(request.headers.get("accept"), offered) == HTML:
        return Response(page(request, problem.document), problem.status, {**PAGE_HEADERS, **headers}, HTML)
    return Response(encoded(problem.document), problem.status, headers, PROBLEM_JSON)


def install(app: FastAPI) -> None:
    """Makes the application tell its problems so."""
    app.add_exception_handler(Problem, _tell)
    app.add_exception_handler(NotAcceptable, _tell_not_acceptable)
    app.add_exception_handler(RequestValidationError, _tell_invalid)
    app.add_exception_handler(HTTPException, _tell_http)
    app.add_exception_handler(DiscoveryNodeError, _tell_own)
    app.add_exception_handler(SQLAlchemyError, _tell_database)
    app.add_exception_handler(Exception, _tell_unforeseen)


async def _tell(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)  # noqa: S101 - it is registered for these
    return respond(request, error)


async def _tell_not_acceptable(request: Request, error: Exception) -> Response:
    assert isinstance(error, NotAcceptable)  # noqa: S101 - it is registered for these
    return respond(request, Problem(406, "not-acceptable", str(error), offered=error.offered))


async def _tell_invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - it is registered for these
    errors = [_wrong(each, _parameters(request)) for each in error.errors()]
    detail = "; ".join(f"{each['parameter']}: {each['message']}" for each in errors)[: 4 * _SHOWN]
    return respond(request, Problem(422, "wrong-parameter", detail, errors=errors))


def _parameters(request: Request) -> list[str]:
    """The names of the parameters that the route knows, those of models among them."""
    known: list[str] = []
    for parameter in request.scope["route"].dependant.query_params:
        fields = getattr(parameter.field_info.annotation, "model_fields", None)
        known += [field.alias or name for name, field in fields.items()] if fields else [parameter.alias]
    return known


def _wrong(error: Mapping[str, Any], known: list[str]) -> dict[str, Any]:
    """One of pydantic's errors by the parameter's own name, without what was sent."""
    where = ".".join(str(part) for part in error["loc"] if part not in _PLACES)[:_SHOWN] or "body"
    if error["type"] == "extra_forbidden":
        message = f"there is no such parameter; there are {', '.join(known)}"
        return {"parameter": where, "message": message, "known": known}
    return {"parameter": where, "message": error["msg"][:_SHOWN]}


async def _tell_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - it is registered for these
    codes = {404: "no-such-route", 405: "method-not-allowed", 413: "too-large"}
    detail = {404: "There is nothing at this address", 405: f"{request.method} is not for this address"}
    said = detail.get(error.status_code, str(error.detail))
    problem = Problem(error.status_code, codes.get(error.status_code, "http"), said, headers=error.headers)
    return respond(request, problem)


async def _tell_own(request: Request, error: Exception) -> Response:
    """An error of the node's own that no route foresaw: the database, the model or a setting is not as it should be."""
    assert isinstance(error, DiscoveryNodeError)  # noqa: S101 - it is registered for these
    log.warning("request.failed", path=request.url.path, error=str(error))
    # Settings and places are the operator's matter: the log has them.
    return respond(request, Problem(503, "unavailable", _told_of(error), headers=_AGAIN))


def _told_of(error: DiscoveryNodeError) -> str:
    if is_away(error) or isinstance(error, DatabaseFailedError):
        return "The database does not answer"
    if isinstance(error, IndexUnavailableError):
        return "The search index does not answer"
    return "Something the node needs is missing; its log tells"


async def _tell_database(request: Request, error: Exception) -> Response:
    assert isinstance(error, SQLAlchemyError)  # noqa: S101 - it is registered for these
    if is_too_slow(error):
        log.warning("request.too_slow", path=request.url.path)
        return respond(request, Problem(503, "too-slow", "The answer would have taken too long", headers=_AGAIN))
    if is_away(error):
        log.warning("request.failed", path=request.url.path, error=str(error).partition("\n")[0])
        return respond(request, Problem(503, "unavailable", "The database does not answer", headers=_AGAIN))
    log.error("request.failed", path=request.url.path, exc_info=error)
    return respond(request, _unforeseen())


async def _tell_unforeseen(request: Request, error: Exception) -> Response:
    """The server logs it: it is raised again after this answer, which nothing else comes around."""
    response = respond(request, _unforeseen())
    response.headers.update(SECURITY_HEADERS)
    return response


def _unforeseen() -> Problem:
    return Problem(500, "unforeseen", "An error that nobody foresaw; the node's log has it")

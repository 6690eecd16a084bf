"""The OpenAPI document: what FastAPI finds out by itself, with problems, keys and media types as they are."""

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from app.api.negotiation import HTML, LD_JSON
from app.api.problems import PROBLEM_JSON
from app.api.schemas import ProblemShape

_PROBLEM = {"$ref": f"#/components/schemas/{ProblemShape.__name__}"}
_SCHEME = "key"

NEEDS_ADMIN: dict[str, Any] = {"security": [{_SCHEME: []}]}
"""`openapi_extra` of a route that needs a key."""

Responses = dict[int | str, dict[str, Any]]


def answers(shape: type[BaseModel], *, further: Mapping[str, Any] | None = None, status: int = 200) -> Responses:
    """The `responses` of a route that answers a document: in any JSON, as a page where there is one, and in `further`
    media types with their schemas."""
    schema = {"$ref": f"#/components/schemas/{shape.__name__}"}
    content: dict[str, Any] = {LD_JSON: {"schema": schema}, HTML: {"schema": {"type": "string"}}}
    content |= {media_type: {"schema": of} for media_type, of in (further or {}).items()}
    not_modified: Responses = {304: {"description": "The client has it already"}} if status == 200 else {}
    return {status: {"model": shape, "content": content, "description": "It is answered"}, **not_modified}


def install(app: FastAPI) -> None:
    """Makes the application tell its document so, written once."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app)
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]  # FastAPI's own way


def _document(app: FastAPI) -> dict[str, Any]:
    found = get_openapi(
        title=app.title, version=app.version, description=app.description, routes=app.routes, tags=app.openapi_tags
    )
    for path in found["paths"].values():
        for operation in path.values():
            _with_problems(operation["responses"])
    schemas = found.setdefault("components", {}).setdefault("schemas", {})
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    schemas[ProblemShape.__name__] = ProblemShape.model_json_schema(
        by_alias=True, ref_template="#/components/schemas/{model}"
    )
    schemas.update(schemas[ProblemShape.__name__].pop("$defs"))
    scheme = {"type": "http", "scheme": "bearer", "description": "`discovery-node keys create` makes one."}
    found["components"]["securitySchemes"] = {_SCHEME: scheme}
    found["security"] = [{}, {_SCHEME: []}]
    return found


def _with_problems(responses: dict[str, Any]) -> None:
    responses.pop("422", None)
    content = {PROBLEM_JSON: {"schema": _PROBLEM}, HTML: {"schema": {"type": "string"}}}
    responses["4XX"] = {"description": "A problem of the request", "content": content}
    responses["5XX"] = {"description": "A problem of the node", "content": content}

"""What the console has beside the API's own routes: its files, signing in and out, the form for validation, and
the page about the API."""

import hashlib
from functools import cache
from importlib.resources import files
from typing import Annotated

from fastapi import APIRouter, Form, Request
from starlette.responses import RedirectResponse, Response

from app.api.authentication import Anybody, Reader, found_caller
from app.api.console import session
from app.api.console.pages import docs_page, sign_in_page, validate_page
from app.api.negotiation import HTML, JSON, chosen, page_response
from app.api.node import node_of
from app.api.problems import Problem
from app.services import keys
from app.services.keys import KeyRefusedError

router = APIRouter(include_in_schema=False)

_TYPES = {"console.css": "text/css", "console.js": "text/javascript", "icon.svg": "image/svg+xml"}


@router.get("/")
def home() -> Response:
    """The search."""
    return RedirectResponse("/products", 303)


@router.get("/static/{name}")
def static(request: Request, name: str) -> Response:
    if name not in _TYPES:
        raise Problem(404, "no-such-file", "There is no such file")
    content, etag = _file(name)
    headers = {"ETag": etag, "Cache-Control": "public, max-age=300"}
    if request.headers.get("if-none-match") == etag:
        return Response(status_code=304, headers=headers)
    return Response(content, headers=headers, media_type=_TYPES[name])


@router.get("/sign-in")
async def sign_in_form(request: Request) -> Response:
    await found_caller(request)
    return page_response(sign_in_page(request, {"error": ""}))


@router.post("/sign-in")
async def sign_in(request: Request, key: Annotated[str, Form(max_length=200)]) -> Response:
    """Answers with the session's cookie. Tries count as requests without a key, so that guessing is limited."""
    await found_caller(request)
    try:
        with node_of(request).database.transaction() as connection:
            found = keys.verify(connection, key.strip())
    except KeyRefusedError as error:
        return page_response(sign_in_page(request, {"error": str(error)}), 401)
    response = RedirectResponse("/runs" if found.scope == "admin" else "/products", 303)
    response.set_cookie(
        session.COOKIE, session.signed(request, found.id), max_age=session.LASTS, httponly=True, samesite="strict",
        secure=request.url.scheme == "https",
    )  # fmt: skip
    return response


@router.post("/sign-out")
async def sign_out(request: Request, csrf: Annotated[str, Form(max_length=200)] = "") -> Response:
    if session.is_forged(request, csrf):
        raise Problem(403, "forged", "This form is not of this session", remedy="Open the page again.")
    response = RedirectResponse("/products", 303)
    response.delete_cookie(session.COOKIE)
    return response


@router.get("/validate")
def validate_form(request: Request, _caller: Reader) -> Response:
    return page_response(validate_page(request, {}))


@router.get("/docs")
def docs(request: Request, _caller: Anybody) -> Response:
    """The API to read; for programs its document."""
    if chosen(request.headers.get("accept"), [HTML, JSON]) == JSON:
        return RedirectResponse("/openapi.json", 303)
    return page_response(docs_page(request))


@cache
def _file(name: str) -> tuple[bytes, str]:
    content = (files("app.api.console") / "static" / name).read_bytes()
    return content, f'"{hashlib.sha256(content).hexdigest()[:32]}"'

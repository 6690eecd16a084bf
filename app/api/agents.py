"""The door for AI agents: MCP at `/mcp`, for those who may read and within their limits."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.authentication import reader
from app.api.node import ApiNode
from app.mcp.server import Catalogue, create_server

PATH = "/mcp"


class _ForReaders:
    """Lets through whom `reader` lets through."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await reader(Request(scope))
        await self._app(scope, receive, send)


def install(app: FastAPI, node: ApiNode) -> None:
    """Adds the route, and what has to run beside the application for it."""
    server = create_server(Catalogue(node.searching, node.embedder))
    # Each request stands for itself, so that any process answers it. A node that only this machine reaches is guarded
    # against pages that look for it from a browser.
    agents = server.streamable_http_app(
        streamable_http_path=PATH, stateless_http=True, json_response=True, host=node.settings.api_host,
        max_request_body_size=node.settings.api_max_body_bytes,
    )  # fmt: skip
    app.router.routes.append(Route(PATH, _ForReaders(agents), include_in_schema=False))
    app.state.agents = server


@asynccontextmanager
async def running(app: FastAPI) -> AsyncIterator[None]:
    async with app.state.agents.session_manager.run():
        yield

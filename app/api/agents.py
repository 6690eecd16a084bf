"""The door for AI agents: MCP at `/mcp`, for those who may read and within their limits."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from mcp.server.transport_security import TransportSecuritySettings
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.authentication import reader
from app.api.node import ApiNode
from app.core.config import Settings
from app.mcp.reading import Catalogue
from app.mcp.server import create_server

PATH = "/mcp"
HEADERS = ("Mcp-Protocol-Version", "Mcp-Method", "Mcp-Name")
"""What an agent in a browser sends besides what other programs do."""

_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


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
    # Each request stands for itself, so that any process answers it.
    agents = server.streamable_http_app(
        streamable_http_path=PATH, stateless_http=True, json_response=True, transport_security=_names(node.settings),
        max_request_body_size=node.settings.api_max_body_bytes,
    )  # fmt: skip
    app.router.routes.append(Route(PATH, _ForReaders(agents), include_in_schema=False))
    app.state.agents = server


@asynccontextmanager
async def running(app: FastAPI) -> AsyncIterator[None]:
    async with app.state.agents.session_manager.run():
        yield


def _names(settings: Settings) -> TransportSecuritySettings:
    """Under which names agents may ask, and from which web pages: a page in a browser can turn a name of its own to the
    node's address, but not send another. A node that others reach but that was not told its names answers to any."""
    is_private = settings.api_host in {"127.0.0.1", "localhost", "::1"}
    hosts = [*settings.public_hosts, *_LOOPBACK]
    origins = [f"{scheme}://{host}" for host in hosts for scheme in ("http", "https")]
    return TransportSecuritySettings(
        enable_dns_rebinding_protection=is_private or bool(settings.public_hosts),
        allowed_hosts=_with_any_port(hosts),
        allowed_origins=[*_with_any_port(origins), *settings.cors_origins],
    )


def _with_any_port(names: list[str]) -> list[str]:
    """The names, without a port and with any."""
    return [*names, *(f"{name}:*" for name in names)]

"""The application: every door over HTTP, put together here.

To add a subject, write a module in `routes/` with a `router` and name it in `_ROUTERS`. To add a page, give its
function to `create_app` under the name that its route passes to `answer`.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from importlib.metadata import version

import anyio.to_thread
from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware

from app.api import agents, openapi, problems
from app.api.console import PAGES
from app.api.console import routes as console
from app.api.guard import Guard
from app.api.negotiation import Page
from app.api.node import ApiNode
from app.api.rates import RateLimiter
from app.api.routes import (
    catalogue,
    comparison,
    diagnostics,
    issues,
    operations,
    products,
    runs,
    system,
    validation,
)
from app.core.config import Settings
from app.db.session import LiveDatabase, connect, connect_to_read
from app.worker import node as worker_node

THREADS = 8
"""Requests that a process works on at once, each with a connection to the database; others wait for their turn."""

_COUNTED_EVERY = 10.0  # seconds

_ROUTERS = (
    products.router, comparison.router, catalogue.router, runs.router, issues.router, diagnostics.router,
    validation.router, operations.router, system.router, console.router,
)  # fmt: skip
_DESCRIPTION = """
The discovery API of the Commerce Mesh Protocol: search, products, who sells them, and how well their feeds are read.

Every answer can be had as JSON-LD (`application/ld+json`) or JSON, by `Accept`, with an ETag. What goes wrong is told
as a problem document (RFC 9457). Where a key is needed, send `Authorization: Bearer KEY`.
"""


def create_app(
    settings: Settings, *, database: LiveDatabase | None = None, pages: Mapping[str, Page] | None = None
) -> FastAPI:
    """The application of these settings. The database is at this version's schema; without one it is connected to."""
    redis_url = settings.celery_broker_url.get_secret_value()
    database = database or connect(settings, connections=THREADS, prepares=True)
    has_replica = settings.database_read_url is not None
    node = ApiNode(
        settings=settings,
        database=database,
        replica=connect_to_read(settings, connections=THREADS, prepares=True) if has_replica else database,
        limiter=RateLimiter(redis_url if settings.api_rate_limit or settings.api_key_rate_limit else None),
        pages=PAGES if pages is None else pages,
    )
    app = FastAPI(
        title="Discovery node",
        version=version("discovery-node"),
        description=_DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        lifespan=_lifespan,
    )
    app.state.node = node
    for router in _ROUTERS:
        app.include_router(router)
    agents.install(app, node)
    problems.install(app)
    openapi.install(app)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware, allow_origins=settings.cors_origins, allow_methods=["GET", "HEAD", "POST"],
            allow_headers=["Authorization", "Content-Type", "If-None-Match", *agents.HEADERS],
            expose_headers=["ETag", "Location"], allow_credentials=False,
        )  # fmt: skip
    app.add_middleware(Guard, patience=settings.api_client_timeout, max_body=settings.api_max_body_bytes)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    anyio.to_thread.current_default_thread_limiter().total_tokens = THREADS
    node: ApiNode = app.state.node
    async with agents.running(app), anyio.create_task_group() as beside:
        beside.start_soon(_count_traffic, node)
        yield
        beside.cancel_scope.cancel()
    await anyio.to_thread.run_sync(node.count_traffic)
    node.limiter.close()
    node.database.engine.dispose()
    node.replica.engine.dispose()
    worker_node.close()  # by which starts were sent


async def _count_traffic(node: ApiNode) -> None:
    while True:
        await anyio.sleep(_COUNTED_EVERY)
        await anyio.to_thread.run_sync(node.count_traffic)

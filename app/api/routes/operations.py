"""What those who run the node ask: whether it lives, whether it is ready, its figures."""

from collections.abc import Callable
from contextlib import AbstractContextManager

from fastapi import APIRouter, Request
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError
from starlette.responses import Response

from app.api.authentication import Reader
from app.api.negotiation import JSON, encoded
from app.api.node import ApiNode, node_of
from app.api.openapi import Responses
from app.core.errors import ConfigurationError, DiscoveryNodeError
from app.db import schema
from app.services import generations
from app.services.generations import OtherModelError
from app.vectors.embedders.base import EmbeddingError, EmbeddingUnavailableError

router = APIRouter(tags=["operations"])

_OF_REPLICA = {
    "database": "The read replica does not answer, and searches need it; start it, or correct DATABASE_READ_URL.",
    "schema": "The read replica is not at this version's schema; see that it follows the database.",
    "model": "The read replica has no index of the embedding model; see that it follows the database.",
}
_METRICS = "text/plain; version=0.0.4; charset=utf-8"
_TEXT: Responses = {200: {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "It is answered"}}
_STATE = {"type": "object", "properties": {"status": {"type": "string"}, "missing": {"type": "object"}}}
_STATES: Responses = {
    200: {"content": {JSON: {"schema": _STATE}}, "description": "It can answer"},
    503: {"content": {JSON: {"schema": _STATE}}, "description": "It cannot, and says what is missing"},
}


@router.get("/livez", responses={200: _STATES[200]})
def livez() -> Response:
    """Whether this process answers at all."""
    return _uncached(encoded({"status": "ok"}), 200)


@router.get("/readyz", responses=_STATES)
def readyz(request: Request) -> Response:
    """Whether the node can answer searches now, and what is missing when it cannot."""
    missing = _missing(node_of(request))
    document = {"status": "missing" if missing else "ok", "missing": missing}
    return _uncached(encoded(document), 503 if missing else 200)


@router.get("/metrics", responses=_TEXT)
def metrics(request: Request, _caller: Reader) -> Response:
    """The figures of the whole node, for Prometheus."""
    from prometheus_client import generate_latest

    from app.worker.celery_app import celery_app
    from app.worker.metrics import NodeCollector, registry_of

    node_of(request).count_traffic()
    state = request.app.state
    if not hasattr(state, "metrics"):
        state.metrics = registry_of(NodeCollector(node_of(request).database, celery_app))
    return Response(generate_latest(state.metrics), headers={"Cache-Control": "no-store", "Content-Type": _METRICS})


def _missing(node: ApiNode) -> dict[str, str]:
    """What cannot be done without, and is not there, in words. A replica answers searches, if there is one."""
    missing = _missing_in(node, node.reading)
    if node.has_replica and (of_replica := _missing_in(node, node.searching)):
        missing["replica"] = _OF_REPLICA[next(iter(of_replica))]
    return missing


def _missing_in(node: ApiNode, asking: Callable[[], AbstractContextManager[Connection]]) -> dict[str, str]:
    """What one of the two servers is missing."""
    try:
        with asking() as connection:
            if (found := schema.current(connection)) is None or found < schema.REVISION:
                return {"schema": "The database was made for another version; run `discovery-node db upgrade`."}
            generations.searched_generation(connection, node.embedder(connection))
    except EmbeddingUnavailableError:
        return {}  # search goes by words meanwhile
    except (EmbeddingError, OtherModelError, ConfigurationError):
        return {"model": "The embedding model is not there, or not the index's; `discovery-node doctor` tells."}
    except (DiscoveryNodeError, SQLAlchemyError):
        return {"database": "PostgreSQL does not answer; `discovery-node doctor` tells."}
    return {}


def _uncached(body: bytes, status: int) -> Response:
    return Response(body, status, {"Cache-Control": "no-store"}, JSON)

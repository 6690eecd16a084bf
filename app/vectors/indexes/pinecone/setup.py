"""Creating the indexes that a node needs."""

import time
from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING

from app.net.door import Policy
from app.vectors.indexes.pinecone.config import SPARSE_MODEL, TEXT_FIELD, Metric, PineconeConfig
from app.vectors.indexes.pinecone.connecting import connect
from app.vectors.indexes.pinecone.errors import PineconeRefusedError, PineconeUnavailableError
from app.vectors.indexes.traffic import Counters

if TYPE_CHECKING:
    from app.vectors.indexes.pinecone.session import Session

_PATIENCE = 300.0  # seconds until a new index is ready
_NOT_WAITING = -1  # the SDK's word for that; it would look every five seconds, and try nothing again
_DENSE_FIELD = "_values"  # what an index that is written by vectors calls them


def create_missing(config: PineconeConfig, policy: Policy, dimensions: int, metric: Metric = "dotproduct") -> list[str]:
    """Creates those of both indexes that do not exist, waits until they are ready, and returns their names: the dense
    one for vectors of the node's own, the sparse one with a model that embeds texts. Raises `PineconeError`."""
    session = connect(config, policy, Counters())
    indexes = session.control.indexes

    def dense() -> object:
        field = {"type": "dense_vector", "dimension": dimensions, "metric": metric}
        place = {"deployment_type": "managed", "cloud": config.cloud, "region": config.region}
        return indexes.create(
            name=config.dense_index, schema={"fields": {_DENSE_FIELD: field}}, deployment=place, timeout=_NOT_WAITING
        )

    def sparse() -> object:
        embed = {"model": SPARSE_MODEL, "field_map": {"text": TEXT_FIELD}, "metric": "dotproduct"}
        return indexes.create_for_model(
            name=config.sparse_index, cloud=config.cloud, region=config.region, embed=embed, timeout=_NOT_WAITING
        )

    wanted: dict[str, Callable[[], object]] = {config.dense_index: dense, config.sparse_index: sparse}
    try:
        missing = [name for name in wanted if session.describe(name) is None]
        for name in missing:
            _create(session, name, wanted[name])
        for name in missing:
            _wait(session, name)
    finally:
        session.close()
    return missing


def _create(session: "Session", name: str, request: Callable[[], object]) -> None:
    try:
        session.call(f"create {name}", request)
    except PineconeRefusedError as error:
        # It was created by a try whose answer was lost, or by somebody else.
        if error.status != HTTPStatus.CONFLICT:
            raise


def _wait(session: "Session", name: str) -> None:
    until = time.monotonic() + _PATIENCE
    while True:
        described = session.describe(name)
        if described is not None and described.status.ready:
            return
        if time.monotonic() >= until:
            raise PineconeUnavailableError(f"The index {name} is not ready after {_PATIENCE:g} seconds")
        time.sleep(session.config.patience.backoff)

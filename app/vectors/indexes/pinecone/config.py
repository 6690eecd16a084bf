"""Which indexes, as whom, and how patiently."""

import math
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal

import structlog
from pydantic import SecretStr

from app.core.config import Settings
from app.core.errors import ConfigurationError

log = structlog.get_logger()

Metric = Literal["cosine", "dotproduct"]

SPARSE_MODEL = "pinecone-sparse-english-v0"
TEXT_FIELD = "text"
"""Of indexes that the node creates: the model that makes sparse vectors, and the field it reads."""


@dataclass(frozen=True)
class Patience:
    """How often something is tried, how long after a failure (seconds, doubled with each), how long at most, and in
    how many seconds the last try begins."""

    tries: int = 6
    backoff: float = 0.5
    max_pause: float = 60.0
    within: float = math.inf


@dataclass(frozen=True)
class PineconeConfig:
    """What is needed to reach Pinecone; `timeout` is seconds for one request, `query_timeout` for one while somebody
    waits, `concurrency` requests at once."""

    api_key: SecretStr
    dense_index: str
    sparse_index: str
    controller: str
    cloud: str
    region: str
    timeout: float
    query_timeout: float
    concurrency: int
    patience: Patience = Patience()

    @classmethod
    def of(cls, settings: Settings) -> "PineconeConfig":
        """Raises `ConfigurationError` when the key or a name is missing."""
        key, dense, sparse = settings.pinecone_api_key, settings.pinecone_dense_index, settings.pinecone_sparse_index
        if key is None or dense is None or sparse is None:
            raise ConfigurationError(
                "Pinecone needs a key and the names of two indexes",
                remedy="Set PINECONE_API_KEY, PINECONE_DENSE_INDEX and PINECONE_SPARSE_INDEX.",
            )
        if obsolete := obsolete_settings(settings):
            _warn(obsolete)
        if dense == sparse:
            raise ConfigurationError(
                f"PINECONE_DENSE_INDEX and PINECONE_SPARSE_INDEX are both {dense}",
                remedy="Name two indexes: one holds dense vectors, the other sparse ones.",
            )
        return cls(
            api_key=key,
            dense_index=dense,
            sparse_index=sparse,
            controller=settings.pinecone_controller_host,
            cloud=settings.pinecone_cloud,
            region=settings.pinecone_region,
            timeout=settings.pinecone_timeout,
            query_timeout=settings.pinecone_query_timeout,
            concurrency=settings.pinecone_concurrency,
        )

    @property
    def for_queries(self) -> "PineconeConfig":
        """The same for somebody who waits for an answer."""
        most = self.query_timeout
        return replace(self, timeout=most, patience=Patience(2, backoff=most / 8, max_pause=most / 4, within=most))


def obsolete_settings(settings: Settings) -> str | None:
    """What to say of settings that mean nothing any more; None when there are none."""
    if settings.pinecone_environment is None:
        return None
    return "PINECONE_ENVIRONMENT is obsolete and not looked at: an index is found by its name"


@cache
def _warn(told: str) -> None:
    """Once in a process."""
    log.warning("obsolete setting", told=told)

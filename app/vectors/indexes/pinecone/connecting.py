"""The SDK is an extra: without it there is a remedy instead of a traceback."""

from typing import TYPE_CHECKING

from app.core.errors import ConfigurationError
from app.net.door import Policy
from app.vectors.indexes.pinecone.config import PineconeConfig
from app.vectors.indexes.traffic import Counters

if TYPE_CHECKING:
    from app.vectors.indexes.pinecone.session import Session

_OF_THE_EXTRA = frozenset({"pinecone", "httpx", "httpcore", "orjson"})


def connect(config: PineconeConfig, policy: Policy, counters: Counters) -> "Session":
    """A session with Pinecone; nothing is sent yet. Raises `ConfigurationError` when the SDK is not installed."""
    try:
        from app.vectors.indexes.pinecone.session import Session
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _OF_THE_EXTRA:
            raise
        raise ConfigurationError(
            "VECTOR_PROVIDER=pinecone needs Pinecone's SDK, which is not installed",
            remedy="Run `pip install discovery-node[pinecone]`.",
        ) from error
    return Session(config, policy, counters)

"""Embedders by provider, each behind the `Embedder` protocol."""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING

from app.core.config import Settings
from app.vectors.breaker import Breaker
from app.vectors.embedders.base import (
    PATIENCE,
    Embedded,
    Embedder,
    EmbedderIdentity,
    EmbeddingError,
    EmbeddingUnavailableError,
    Variant,
)
from app.vectors.embedders.hosted import HostedEmbedder
from app.vectors.embedders.impatient import ImpatientEmbedder
from app.vectors.embedders.local import LocalEmbedder
from app.vectors.embedders.origin import attempts, made_with

if TYPE_CHECKING:
    from app.vectors.embedders.openai import OpenAIEmbedder

__all__ = [
    "PATIENCE",
    "Embedded",
    "Embedder",
    "EmbedderIdentity",
    "EmbeddingError",
    "EmbeddingUnavailableError",
    "HostedEmbedder",
    "Variant",
    "attempts",
    "create_embedder",
    "is_service",
    "made_with",
    "service_for_queries",
]


def _local(settings: Settings, variant: Variant | None, _patience: float) -> Embedder:
    return LocalEmbedder(settings.embedding_model_path, variant)


def _openai(settings: Settings, _variant: Variant | None, patience: float) -> Embedder:
    return _shared(settings, patience)


@lru_cache(maxsize=8)
def _shared(settings: Settings, patience: float) -> "OpenAIEmbedder":
    """A service is asked what it is once for all variants, and its load is known to all who add to it."""
    from app.vectors.embedders.openai import OpenAIEmbedder  # loads an HTTP client, which the local model needs none of

    return OpenAIEmbedder(settings, patience=patience)


@lru_cache(maxsize=8)
def service_for_queries(settings: Settings) -> Embedder:
    """The service for somebody who searches, and waits no longer than `QUERY_EMBEDDING_TIMEOUT`: the same for all."""
    service = _shared(settings, settings.query_embedding_timeout)
    return ImpatientEmbedder(service, _breaker(settings.embedding_base_url))


@lru_cache(maxsize=8)
def _breaker(_base_url: str) -> Breaker:
    """One for a service, whatever else it is asked with."""
    return Breaker("The embedding service", EmbeddingUnavailableError)


def is_service(settings: Settings) -> bool:
    """Whether embedders of these settings wait for others."""
    return settings.embedding_provider != "local"


_PROVIDERS: Mapping[str, Callable[[Settings, Variant | None, float], Embedder]] = {"local": _local, "openai": _openai}


def create_embedder(settings: Settings, variant: Variant | None = None, *, patience: float = PATIENCE) -> Embedder:
    """The embedder the settings name. A generation passes its `variant`; without one the CPU decides. `patience` is how
    many seconds a call may wait for a service.

    Raises `EmbeddingError` when there is no model, `ConfigurationError` for wrong settings. The model itself is loaded,
    or the service asked, by the first text.
    """
    return _PROVIDERS[settings.embedding_provider](settings, variant, patience)

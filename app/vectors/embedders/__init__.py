"""Embedders by provider, each behind the `Embedder` protocol."""

from collections.abc import Callable, Mapping

from app.core.config import Settings
from app.vectors.embedders.base import Embedder, EmbedderIdentity, EmbeddingError, Variant
from app.vectors.embedders.local import LocalEmbedder
from app.vectors.embedders.origin import attempts, made_with

__all__ = ["Embedder", "EmbedderIdentity", "EmbeddingError", "Variant", "attempts", "create_embedder", "made_with"]


def _local(settings: Settings, variant: Variant | None) -> Embedder:
    return LocalEmbedder(settings.embedding_model_path, variant)


_PROVIDERS: Mapping[str, Callable[[Settings, Variant | None], Embedder]] = {"local": _local}


def create_embedder(settings: Settings, variant: Variant | None = None) -> Embedder:
    """The embedder the settings name. A generation passes its `variant`; without one the CPU decides.

    Raises `EmbeddingError` when there is no model. The model itself is loaded by the first text.
    """
    return _PROVIDERS[settings.embedding_provider](settings, variant)

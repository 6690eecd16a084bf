"""Sources by name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from app.ingestors.base import IngestorError
from app.ingestors.sources.base import BaseSource
from app.ingestors.sources.local import LocalSource


@dataclass(frozen=True)
class SourceConfig:
    """What a source needs to know of the entry of `ingestion.yaml` it reads for."""

    root: Path | None = None
    allow_outside: bool = False


class SourceFactory:
    """Makes the source of a type."""

    types: ClassVar[Mapping[str, Callable[[SourceConfig], BaseSource]]] = {
        "local": lambda config: LocalSource(config.root, allow_outside=config.allow_outside),
    }

    @classmethod
    def create(cls, source_type: str, config: SourceConfig | None = None) -> BaseSource:
        """A source of `source_type`. Raises `IngestorError` for a type there is none of."""
        try:
            make = cls.types[source_type]
        except KeyError:
            raise IngestorError(
                f"There is no source of type {source_type!r}", remedy=f"Use one of: {', '.join(sorted(cls.types))}."
            ) from None
        return make(config or SourceConfig())

"""`ingestion.yaml`: which registries and feeds are read, typed and checked when it is loaded."""

import hashlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Self

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, model_validator

from app.core.errors import ConfigurationError
from app.ingestors.cron import latest
from app.ingestors.sources.base import BaseSource
from app.ingestors.sources.factory import SourceConfig, SourceFactory


def _known_source(source_type: str) -> str:
    if source_type not in SourceFactory.types:
        raise ValueError(f"there is no such source; use one of: {', '.join(sorted(SourceFactory.types))}")
    return source_type


def _valid_cron(expression: str) -> str:
    if latest(expression, datetime.now(UTC)) is None:
        raise ValueError(f"{expression!r} is never due; day of month, month and day of week have all to match")
    return expression


class IngestorEntry(BaseModel):
    """One entry: a registry, a feed, or both. Paths are relative to the folder of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)

    name: str = Field(min_length=1, max_length=100)
    source_type: Annotated[str, AfterValidator(_known_source)]
    registry: str | None = Field(None, min_length=1)
    feed_path: str | None = Field(None, min_length=1)
    schedule: Annotated[str, AfterValidator(_valid_cron)] | None = None
    allow_outside: bool = False
    _root: Path | None = PrivateAttr(None)

    def model_post_init(self, context: dict[str, Path] | None) -> None:
        """Remembers the folder of the file, which validation is told."""
        self._root = (context or {}).get("root")

    @model_validator(mode="after")
    def _reads_something(self) -> Self:
        if self.registry is None and self.feed_path is None:
            raise ValueError("one of registry and feed_path is needed")
        return self

    def source(self) -> BaseSource:
        """The source of the entry, with its options."""
        return SourceFactory.create(self.source_type, self.source_config())

    def source_config(self) -> SourceConfig:
        return SourceConfig(root=self._root, allow_outside=self.allow_outside)

    def reads(self, registry: str | None, feed_path: str | None) -> bool:
        """Whether one of the paths is one of the entry's."""
        return (registry, feed_path) == (self.registry, self.feed_path) or bool(
            {registry, feed_path} & {self.registry, self.feed_path} - {None}
        )

    def options_hash(self) -> bytes:
        """Of the options that decide how a feed is read."""
        return hashlib.sha256(f"{self.source_type} {self.allow_outside}".encode()).digest()


class IngestionConfig(BaseModel):
    """The whole file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    ingestion: list[IngestorEntry]

    def entry(self, name: str) -> IngestorEntry:
        """The entry of that name. Raises `ConfigurationError`."""
        for entry in self.ingestion:
            if entry.name == name:
                return entry
        known = ", ".join(entry.name for entry in self.ingestion) or "none"
        raise ConfigurationError(f"There is no ingestor {name!r}", remedy=f"Name one of: {known}.")


def load_config(path: Path) -> IngestionConfig:
    """Reads `ingestion.yaml`. Raises `ConfigurationError` that names file, entry and field."""
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigurationError(
            f"{path} does not exist", remedy="Write it, or name another with --config or INGESTION_CONFIG_PATH."
        ) from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}", remedy="Correct the file.") from error
    try:
        config = IngestionConfig.model_validate(document, context={"root": path.resolve().parent})
    except ValidationError as error:
        raise ConfigurationError(f"{path}: {_problems(error, document)}", remedy="Correct the file.") from error
    names = [entry.name for entry in config.ingestion]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigurationError(
            f"{path}: more than one entry has the name {repeated[0]!r}", remedy="Give each entry a name of its own."
        )
    return config


def _problems(error: ValidationError, document: object) -> str:
    return "; ".join(
        f"{_place(problem['loc'], document)}: {problem['msg'].removeprefix('Value error, ')}"
        for problem in error.errors(include_input=False, include_url=False)
    )


def _place(location: tuple[int | str, ...], document: object) -> str:
    """Entry and field in words: the entry by its name where it has one, else by its number."""
    if len(location) < 2:
        return ".".join(map(str, location)) or "the document"
    number, field = location[1], ".".join(map(str, location[2:]))
    try:
        name = document["ingestion"][number]["name"]  # type: ignore[index]
    except (KeyError, TypeError, IndexError):
        name = None
    entry = f"entry {name!r}" if isinstance(name, str) else f"entry {int(number) + 1}"
    return f"{entry}, field {field}" if field else entry

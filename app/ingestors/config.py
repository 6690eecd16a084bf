"""`ingestion.yaml`: which registries and feeds are read, typed and checked when it is loaded."""

import hashlib
import os
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Self

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)

from app.cmp.urns import normalize_organization_urn
from app.core.config import Settings
from app.core.errors import ConfigurationError
from app.ingestors.base import SourceError
from app.ingestors.cron import latest
from app.ingestors.sources.base import BaseSource
from app.ingestors.sources.factory import SourceConfig, SourceFactory
from app.ingestors.sources.objects import StoredObject, bucket_origin
from app.ingestors.variables import VariableError, fill
from app.net import urls
from app.net.door import WEB
from app.net.errors import NetworkError
from app.net.ftp import FTP

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# What requests cannot do without, and what would make the answer another than is read.
_OWN_HEADERS = frozenset({"host", "content-length", "transfer-encoding", "connection", "accept-encoding", "range"})
# Which sources the fields that are not every source's are for.
_FIELDS_OF = {
    "headers": ("remote", "cmp"),
    "username": ("remote", "cmp", "ftp", "s3"),
    "password": ("remote", "cmp", "ftp", "s3"),
    "allowed_origins": ("remote", "cmp", "ftp", "s3"),
    "endpoint_url": ("s3",),
    "region": ("s3",),
    "filter": ("cmp",),
}
_SCHEMES = {"remote": WEB, "cmp": WEB, "ftp": FTP, "s3": ("s3",)}


def _known_source(source_type: str) -> str:
    if source_type not in SourceFactory.types:
        raise ValueError(f"there is no such source; use one of: {', '.join(sorted(SourceFactory.types))}")
    return source_type


def _valid_cron(expression: str) -> str:
    if latest(expression, datetime.now(UTC)) is None:
        raise ValueError(f"{expression!r} is never due; day of month, month and day of week have all to match")
    return expression


def _origin(text: str) -> str:
    try:
        return bucket_origin(text) if text.startswith("s3:") else urls.origin(urls.parse(text, (*WEB, *FTP)))
    except (NetworkError, SourceError) as error:
        raise ValueError(f"{error}; write it as https://host") from error


def _endpoint(text: str) -> str:
    try:
        return str(urls.parse(text, WEB))
    except NetworkError as error:
        raise ValueError(str(error)) from error


def _organization_urn(text: str) -> str:
    urn = normalize_organization_urn(text)
    if urn is None:
        raise ValueError(f"{text!r} is not the URN of an organization")
    return urn


class FeedFilter(BaseModel):
    """Whose feeds of a registry are ingested: of the organizations listed, and with one of the categories, and with one
    of the brands (by URN), as far as each is given."""

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True, hide_input_in_errors=True)

    organization: frozenset[Annotated[str, AfterValidator(_organization_urn)]] = frozenset()
    category: frozenset[Annotated[str, AfterValidator(str.lower)]] = frozenset()
    brand: frozenset[str] = frozenset()


class IngestorEntry(BaseModel):
    """One entry: a registry, a feed, or both. Paths are relative to the folder of the file. `headers`, or `username`
    and `password`, are shown to the servers of the entry's own paths alone."""

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True, hide_input_in_errors=True)

    name: str = Field(min_length=1, max_length=100)
    source_type: Annotated[str, AfterValidator(_known_source)]
    registry: str | None = Field(None, min_length=1)
    feed_path: str | None = Field(None, min_length=1)
    schedule: Annotated[str, AfterValidator(_valid_cron)] | None = None
    allow_outside: bool = False
    headers: dict[str, SecretStr] = Field(default_factory=dict)
    username: str | None = Field(None, min_length=1)
    password: SecretStr | None = None
    allowed_origins: frozenset[Annotated[str, AfterValidator(_origin)]] = frozenset()
    endpoint_url: Annotated[str, AfterValidator(_endpoint)] | None = None
    region: str | None = Field(None, pattern=r"^[a-z0-9-]{1,50}$")
    filter: FeedFilter | None = None
    _root: Path | None = PrivateAttr(None)

    def model_post_init(self, context: dict[str, Path] | None) -> None:
        """Remembers the folder of the file, which validation is told."""
        self._root = (context or {}).get("root")

    @model_validator(mode="after")
    def _reads_something(self) -> Self:
        if self.registry is None and self.feed_path is None:
            raise ValueError("one of registry and feed_path is needed")
        return self

    @field_validator("headers")
    @classmethod
    def _can_be_sent(cls, headers: dict[str, SecretStr]) -> dict[str, SecretStr]:
        for name, secret in headers.items():
            value = secret.get_secret_value()
            if not _HEADER_NAME.fullmatch(name) or name.lower() in _OWN_HEADERS:
                raise ValueError(f"{name!r} is no header that can be set")
            if not (value.isascii() and value.isprintable()):
                raise ValueError(f"the value of {name} holds characters that cannot be sent")
        return headers

    @field_validator("username", "password")
    @classmethod
    def _is_one_line(cls, told: str | SecretStr | None) -> str | SecretStr | None:
        text = told.get_secret_value() if isinstance(told, SecretStr) else told or ""
        if not text.isprintable():
            raise ValueError("it holds characters that cannot be sent, such as the end of a line")
        return told

    @model_validator(mode="after")
    def _fits_its_source(self) -> Self:
        for name, sources in _FIELDS_OF.items():
            if getattr(self, name) and self.source_type not in sources:
                raise ValueError(f"{name} is not for a {self.source_type} source")
        for origin in self.allowed_origins:
            if (scheme := origin.partition("://")[0]) not in _SCHEMES[self.source_type]:
                raise ValueError(f"allowed_origins: {origin} has the scheme {scheme!r}")
        if self.password is not None and self.username is None:
            raise ValueError("a password needs a username")
        if self.source_type == "s3" and (self.username is None) != (self.password is None):
            raise ValueError("username and password, the id of an access key and its secret, need each other")
        if self.username is not None and any(name.lower() == "authorization" for name in self.headers):
            raise ValueError("username and the header Authorization exclude each other")
        for name, path in (("registry", self.registry), ("feed_path", self.feed_path)):
            _require_url(name, path, self.source_type)
        return self

    def source(self, settings: Settings | None = None) -> BaseSource:
        """The source of the entry, with its options. Without `settings` those of the process count."""
        return SourceFactory.create(self.source_type, self.source_config(settings))

    def source_config(self, settings: Settings | None = None) -> SourceConfig:
        return SourceConfig(
            root=self._root,
            allow_outside=self.allow_outside,
            headers=self.headers,
            username=self.username,
            password=self.password,
            allowed_origins=self.allowed_origins,
            paths=tuple(path for path in (self.registry, self.feed_path) if path is not None),
            settings=settings,
            endpoint_url=self.endpoint_url,
            region=self.region,
        )

    def reads(self, registry: str | None, feed_path: str | None) -> bool:
        """Whether one of the paths is one of the entry's."""
        return (registry, feed_path) == (self.registry, self.feed_path) or bool(
            {registry, feed_path} & {self.registry, self.feed_path} - {None}
        )

    def options_hash(self) -> bytes:
        """Of the options that decide how a feed is read. Who may read it, and where its shards may lie, decide only
        whether it can be read at all."""
        return hashlib.sha256(f"{self.source_type} {self.allow_outside}".encode()).digest()


class IngestionConfig(BaseModel):
    """The whole file."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    ingestion: list[IngestorEntry]

    def entry(self, name: str) -> IngestorEntry:
        """The entry of that name. Raises `ConfigurationError`."""
        for entry in self.ingestion:
            if entry.name == name:
                return entry
        known = ", ".join(entry.name for entry in self.ingestion) or "none"
        raise ConfigurationError(f"There is no ingestor {name!r}", remedy=f"Name one of: {known}.")


def load_config(path: Path) -> IngestionConfig:
    """Reads `ingestion.yaml`, with `${VARIABLE}` filled from the environment. Raises `ConfigurationError` that names
    file, entry and field."""
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigurationError(
            f"{path} does not exist", remedy="Write it, or name another with --config or INGESTION_CONFIG_PATH."
        ) from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}", remedy="Correct the file.") from error
    try:
        filled = fill(document, os.environ)
    except VariableError as error:
        raise ConfigurationError(
            f"{path}: {_place(error.place, document)}: {error}",
            remedy="Set it in the environment, or write `$$` for a dollar sign.",
        ) from error
    try:
        config = IngestionConfig.model_validate(filled, context={"root": path.resolve().parent})
    except ValidationError as error:
        raise ConfigurationError(f"{path}: {_problems(error, document)}", remedy="Correct the file.") from error
    names = [entry.name for entry in config.ingestion]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigurationError(
            f"{path}: more than one entry has the name {repeated[0]!r}", remedy="Give each entry a name of its own."
        )
    return config


def unlisted_entry(
    name: str, source_type: str, registry: str | None, feed_path: str | None, root: Path | None
) -> IngestorEntry:
    """An entry without options, for paths that `ingestion.yaml` does not list. Raises `ConfigurationError`."""
    paths = {"name": name, "source_type": source_type, "registry": registry, "feed_path": feed_path}
    try:
        return IngestorEntry.model_validate(paths, context={"root": root})
    except ValidationError as error:
        told = "; ".join(str(problem["msg"]).removeprefix("Value error, ") for problem in error.errors())
        raise ConfigurationError(told, remedy="Correct what is to be ingested.") from error


def _require_url(name: str, path: str | None, source_type: str) -> None:
    """Raises `ValueError` for what a source of the network cannot ask for. A feed of the web may be named by its domain
    alone."""
    if path is None or source_type not in _SCHEMES:
        return
    if _SCHEMES[source_type] == WEB and name == "feed_path" and "://" not in path and "/" not in path:
        return
    try:
        if source_type == "s3":
            StoredObject.of(path)
        else:
            urls.parse(path, _SCHEMES[source_type])
    except (NetworkError, SourceError) as error:
        raise ValueError(f"{name}: {error}. {error.remedy}") from error


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

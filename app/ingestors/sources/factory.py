"""Sources by name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from pydantic import SecretStr

from app.core.config import Settings, get_settings
from app.core.errors import ConfigurationError
from app.ingestors.base import IngestorError
from app.ingestors.sources.base import BaseSource, Limits
from app.ingestors.sources.cmp import CmpSource
from app.ingestors.sources.ftp import FtpSource
from app.ingestors.sources.local import LocalSource
from app.ingestors.sources.remote import Access, RemoteSource, basic_auth
from app.ingestors.sources.tries import Tries
from app.net import urls
from app.net.door import Policy, door
from app.net.ftp import FTP, Login


@dataclass(frozen=True)
class SourceConfig:
    """What a source needs to know of the entry of `ingestion.yaml` it reads for. `paths` are the entry's own: its
    credentials are for their origins. Without `settings` a source of the web takes those of the process."""

    root: Path | None = None
    allow_outside: bool = False
    headers: Mapping[str, SecretStr] = field(default_factory=dict)
    username: str | None = None
    password: SecretStr | None = None
    allowed_origins: frozenset[str] = frozenset()
    paths: tuple[str, ...] = ()
    settings: Settings | None = None
    endpoint_url: str | None = None
    region: str | None = None

    @property
    def limits(self) -> Limits:
        return Limits.of(self.settings) if self.settings else Limits()

    @property
    def login(self) -> Login:
        """The user of the entry's own FTP servers."""
        own = frozenset(urls.origin(urls.parse(path, FTP)) for path in self.paths)
        return Login(self.username, self.password.get_secret_value() if self.password else "", own)

    @property
    def access(self) -> Access:
        credentials = {name: value.get_secret_value() for name, value in self.headers.items()}
        if self.username is not None:
            password = self.password.get_secret_value() if self.password else ""
            credentials |= basic_auth(self.username, password)
        return Access(credentials, self.paths, self.allowed_origins)


def _local(config: SourceConfig) -> BaseSource:
    return LocalSource(config.root, allow_outside=config.allow_outside, limits=config.limits)


def _remote(config: SourceConfig, make: type[RemoteSource] = RemoteSource) -> BaseSource:
    settings = config.settings or get_settings()
    return make(
        door(Policy.of(settings)), config.access, Limits.of(settings), retries=settings.fetch_retries,
        seconds=settings.max_transfer_seconds,
    )  # fmt: skip


def _ftp(config: SourceConfig) -> BaseSource:
    settings = config.settings or get_settings()
    return FtpSource(
        Policy.of(settings), config.login, Limits.of(settings),
        Tries(settings.fetch_retries, settings.max_transfer_seconds), allowed_origins=config.allowed_origins,
    )  # fmt: skip


def _s3(config: SourceConfig) -> BaseSource:
    try:
        from app.ingestors.sources.s3 import S3Source, Store
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in {"boto3", "botocore"}:
            raise
        raise ConfigurationError(
            "A source of type 's3' needs boto3, which is not installed", remedy="Run `pip install discovery-node[s3]`."
        ) from error
    settings = config.settings or get_settings()
    secret = config.password.get_secret_value() if config.password else None
    return S3Source(
        door(Policy.of(settings)),
        Store(config.endpoint_url, config.region, config.username, secret, config.allowed_origins),
        Limits.of(settings),
        Tries(settings.fetch_retries, settings.max_transfer_seconds),
    )


def _cmp(config: SourceConfig) -> BaseSource:
    return _remote(config, CmpSource)


class SourceFactory:
    """Makes the source of a type."""

    types: ClassVar[Mapping[str, Callable[[SourceConfig], BaseSource]]] = {
        "local": _local,
        "remote": _remote,
        "cmp": _cmp,
        "ftp": _ftp,
        "s3": _s3,
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

"""The node's settings, from the environment and `.env`. `.env.example` documents each for its users."""

from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Literal, Self

from pydantic import AliasChoices, Field, FilePath, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from app.core.errors import ConfigurationError

VectorProvider = Literal["pgvector", "pinecone"]
LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["console", "json"]


class Settings(BaseSettings):
    """Every setting of the node; intervals are seconds, retentions days."""

    model_config = SettingsConfigDict(env_file=".env", extra="ignore", env_ignore_empty=True, frozen=True)

    database_url: SecretStr | None = None
    database_read_url: SecretStr | None = None
    data_dir: Path = Path("data")
    ingestion_config_path: Path = Path("ingestion.yaml")
    log_level: LogLevel = "info"
    log_format: LogFormat | None = None

    celery_broker_url: SecretStr = SecretStr("redis://localhost:6379/0")
    celery_result_backend: SecretStr = SecretStr("redis://localhost:6379/1")
    feed_check_interval: int = Field(300, gt=0)
    embedding_update_interval: int = Field(3600, gt=0)
    cleanup_interval: int = Field(3600, gt=0)
    trigger_ingestion_on_startup: bool = False
    lease_seconds: int = Field(60, ge=3)
    retry_delay: int = Field(300, gt=0)
    recovery_interval: int = Field(30, ge=1)
    metrics_port: int | None = Field(None, ge=0, le=65535)
    metrics_host: str = "127.0.0.1"
    sentry_dsn: SecretStr | None = None

    api_enabled: bool = True
    api_host: str = "127.0.0.1"
    api_port: int = Field(8000, ge=0, le=65535)
    api_workers: int | None = Field(None, ge=1, le=256)
    api_keys_required: bool = False
    api_signing_key: SecretStr | None = Field(None, min_length=32)
    api_cors_origins: str = Field("", pattern=r"^[!-~ ]*$")
    api_public_hosts: str = Field("", pattern=r"^[!-~ ]*$")
    api_trusted_proxies: str = ""
    api_rate_limit: int = Field(600, ge=0)
    api_key_rate_limit: int = Field(6000, ge=0)
    api_max_body_bytes: int = Field(10 * 1024**2, ge=1024)
    api_max_connections: int = Field(1000, ge=1)
    api_client_timeout: float = Field(15, gt=0)

    pinecone_api_key: SecretStr | None = None
    pinecone_environment: str | None = None
    pinecone_dense_index: str | None = None
    pinecone_sparse_index: str | None = None
    pinecone_controller_host: str = Field("https://api.pinecone.io", pattern=r"^https?://[^/@]+$")
    pinecone_cloud: str = "aws"
    pinecone_region: str = "us-east-1"
    pinecone_timeout: float = Field(30, gt=0)
    pinecone_query_timeout: float = Field(2, gt=0)
    pinecone_concurrency: int = Field(4, ge=1, le=32)
    chosen_vector_provider: VectorProvider | None = Field(
        None, validation_alias=AliasChoices("VECTOR_PROVIDER", "chosen_vector_provider")
    )

    embedding_provider: Literal["local", "openai"] = "local"
    embedding_model_path: Path | None = None
    embedding_base_url: str = Field("https://api.openai.com/v1", pattern=r"^https?://[^\s#]+$")
    embedding_model: str | None = None
    embedding_api_key: SecretStr | None = None
    embedding_dimensions: int | None = Field(None, ge=1, le=4000)
    embedding_batch_size: int = Field(64, ge=1, le=2048)
    query_embedding_timeout: float = Field(2, gt=0)

    contact: str = Field("no contact given", pattern=r"^[ -~]+$", max_length=200)
    allowed_private_hosts: str = ""
    ca_bundle: FilePath | None = None
    connect_timeout: float = Field(10, gt=0)
    first_byte_timeout: float = Field(30, gt=0)
    stall_timeout: float = Field(30, gt=0)
    fetch_retries: int = Field(3, ge=0, le=10)
    connections_per_host: int = Field(4, ge=1, le=64)

    max_transfer_seconds: float = Field(900, gt=0)
    max_document_bytes: int = Field(2 * 1024**3, gt=0)
    max_unpacked_bytes: int = Field(8 * 1024**3, gt=0)
    max_unpack_ratio: int = Field(500, ge=1)
    max_shards_per_feed: int = Field(10_000, ge=1)
    max_items_per_shard: int = Field(1_000_000, ge=1)
    max_item_bytes: int = Field(16 * 1024**2, ge=1024, le=16 * 1024**2)
    max_nesting: int = Field(512, ge=8, le=512)

    max_delete_fraction: float = Field(0.2, ge=0, le=1)
    unlisted_retention_days: int = Field(1, ge=0)
    deleted_product_retention_days: int = Field(30, ge=0)
    celery_result_retention_days: int = Field(7, ge=1)
    run_retention_days: int = Field(90, ge=1)
    delete_empty_categories: bool = False

    @field_validator("log_level", "log_format", mode="before")
    @classmethod
    def _lower(cls, value: object) -> object:
        return value.lower() if isinstance(value, str) else value

    @model_validator(mode="after")
    def _a_replica_is_of_something(self) -> Self:
        if self.database_read_url is not None and self.database_url is None:
            raise ValueError("DATABASE_READ_URL is a replica of DATABASE_URL, which is not set")
        return self

    @model_validator(mode="after")
    def _pinecone_is_complete(self) -> Self:
        if self.chosen_vector_provider == "pinecone" and not self._has_pinecone:
            raise ValueError("VECTOR_PROVIDER=pinecone needs PINECONE_API_KEY and both of its indexes")
        return self

    @model_validator(mode="after")
    def _embedding_service_is_complete(self) -> Self:
        if self.embedding_provider == "openai" and not (self.embedding_model and self.embedding_dimensions):
            raise ValueError("EMBEDDING_PROVIDER=openai needs EMBEDDING_MODEL and EMBEDDING_DIMENSIONS")
        return self

    @property
    def _has_pinecone(self) -> bool:
        return bool(self.pinecone_api_key and self.pinecone_dense_index and self.pinecone_sparse_index)

    @property
    def opened_hosts(self) -> list[str]:
        """The hosts of `ALLOWED_PRIVATE_HOSTS`, as they are written there."""
        return _listed(self.allowed_private_hosts)

    @property
    def cors_origins(self) -> list[str]:
        """The origins of `API_CORS_ORIGINS`."""
        return _listed(self.api_cors_origins)

    @property
    def public_hosts(self) -> list[str]:
        """The names of `API_PUBLIC_HOSTS`, as a browser writes them."""
        return _listed(self.api_public_hosts.lower())

    @property
    def user_agent(self) -> str:
        """Who asks, and where somebody who minds can say so."""
        return f"discovery-node/{version('discovery-node')} ({self.contact})"

    @property
    def vector_provider(self) -> VectorProvider:
        """The chosen provider; unset, Pinecone when its key and both indexes are named, else pgvector."""
        return self.chosen_vector_provider or ("pinecone" if self._has_pinecone else "pgvector")


def _listed(text: str) -> list[str]:
    """What stands in a setting with commas between."""
    return [entry.strip() for entry in text.split(",") if entry.strip()]


@lru_cache
def get_settings() -> Settings:
    """The settings of this process, read once. Raises `ConfigurationError` that names each wrong variable."""
    try:
        return Settings()
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(str(part) for part in problem['loc']).upper()}: {problem['msg']}".lstrip(": ")
            for problem in error.errors(include_input=False, include_url=False)
        )
        raise ConfigurationError(
            f"The settings are wrong: {problems}", remedy="Correct the environment or .env; see .env.example."
        ) from error

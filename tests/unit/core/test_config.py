"""Settings: from the environment, typed, and wrong ones are named."""

from collections.abc import Iterator

import pytest

from app.core.config import Settings, get_settings
from app.core.errors import ConfigurationError

_PINECONE = {"PINECONE_API_KEY": "key", "PINECONE_DENSE_INDEX": "dense", "PINECONE_SPARSE_INDEX": "sparse"}


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No `.env` and none of the node's variables but those a test sets."""
    monkeypatch.chdir(tmp_path_factory.mktemp("empty"))
    for name in (*Settings.model_fields, "vector_provider"):
        monkeypatch.delenv(name.upper(), raising=False)
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


def test_defaults() -> None:
    settings = get_settings()
    assert settings.database_url is None
    assert (settings.feed_check_interval, settings.max_delete_fraction) == (300, 0.2)
    assert settings.vector_provider == "pgvector"


def test_the_environment_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://me:secret@host/db")
    monkeypatch.setenv("LOG_LEVEL", "DEBUG")
    settings = get_settings()
    assert settings.log_level == "debug"
    assert settings.database_url is not None
    assert "secret" not in repr(settings)


def test_an_empty_variable_is_an_unset_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "")
    monkeypatch.setenv("VECTOR_PROVIDER", "")
    assert get_settings().database_url is None
    assert get_settings().vector_provider == "pgvector"


def test_pinecone_is_chosen_when_it_is_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in _PINECONE.items():
        assert Settings().vector_provider == "pgvector"
        monkeypatch.setenv(name, value)
    assert Settings().vector_provider == "pinecone"
    monkeypatch.setenv("VECTOR_PROVIDER", "pgvector")
    assert Settings().vector_provider == "pgvector"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MAX_DELETE_FRACTION", "2"),
        ("FEED_CHECK_INTERVAL", "often"),
        ("LOG_LEVEL", "loud"),
        ("VECTOR_PROVIDER", "chroma"),
        ("VECTOR_PROVIDER", "pinecone"),
        ("EMBEDDING_PROVIDER", "none"),
        ("EMBEDDING_PROVIDER", "openai"),
        ("EMBEDDING_BASE_URL", "api.example/v1"),
        ("EMBEDDING_DIMENSIONS", "5000"),
        ("EMBEDDING_BATCH_SIZE", "0"),
        ("API_SIGNING_KEY", "short"),
        ("API_PORT", "70000"),
    ],
)
def test_a_wrong_value_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=name) as caught:
        get_settings()
    assert caught.value.remedy

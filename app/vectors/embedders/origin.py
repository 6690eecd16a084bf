"""By which settings an embedder was made, so that another process, with other settings, can make it too."""

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from pydantic import SecretStr, TypeAdapter, ValidationError

from app.core.config import Settings

_BASE_URL = "embedding_base_url"


def made_with(settings: Settings) -> dict[str, Any]:
    """The settings of embedders but for secrets, as JSON."""
    return settings.model_dump(mode="json", include=set(_fields(settings, secret=False)))


def attempts(settings: Settings, origin: Mapping[str, Any]) -> Iterator[Settings]:
    """Settings by which an embedder may be made again: those of now, those it was made with, and those with the model
    that is installed. A key is for the host that it was given for, and goes to no other."""
    yield settings
    known = {name: value for name, value in origin.items() if name in _fields(settings, secret=False)}
    try:
        then = {name: _adapter(name).validate_python(value) for name, value in known.items()}
    except ValidationError:  # of a version whose settings were others
        then = {}
    if _host(getattr(settings, _BASE_URL, None)) != _host(then.get(_BASE_URL)):
        then |= dict.fromkeys(_fields(settings, secret=True))
    yield settings.model_copy(update=then)
    yield settings.model_copy(update=then | {"embedding_model_path": None})


def _fields(settings: Settings, *, secret: bool) -> list[str]:
    """The names of the settings of embedders that are set and secret, or are not secret."""
    names = (name for name in Settings.model_fields if name.startswith("embedding_"))
    return [name for name in names if isinstance(getattr(settings, name), SecretStr) is secret]


def _adapter(name: str) -> TypeAdapter[Any]:
    kind: Any = Settings.model_fields[name].annotation
    return TypeAdapter(kind)


def _host(url: str | None) -> str | None:
    return None if url is None else urlsplit(url).netloc

"""Requests to a service that speaks OpenAI's `/v1/embeddings`: one at a time, with patience, through the door."""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cached_property

import httpx2
import msgspec
import numpy as np
import structlog
from numpy.typing import NDArray

from app.core.config import Settings
from app.core.errors import ConfigurationError
from app.net import urls
from app.net.door import WEB, Answer, Credentials, Policy, door
from app.net.errors import ForbiddenError, NetworkError
from app.vectors.embedders import answers
from app.vectors.embedders.answers import UnusableAnswerError, WrongDimensionsError
from app.vectors.embedders.base import EmbeddingUnavailableError

log = structlog.get_logger()

OPTIONAL_FIELDS = frozenset({"encoding_format", "dimensions"})
"""What a request asks for that not every service knows."""

_INPUT_REFUSED = frozenset({400, 413, 422})
_PASSING = frozenset({408, 425, 500, 502, 503, 504, 507, 520, 521, 522, 523, 524, 529})
_MAX_BACKOFF = 30.0
_MAX_ERROR_BYTES = 1024**2
_BYTES_PER_NUMBER = 32  # of an answer in decimals
_HEADERS = {"Content-Type": "application/json", "Accept": "application/json", "Accept-Encoding": "identity"}


class InputRefusedError(Exception):
    """The service does not take these texts, or not so many at once; the message is its reason."""


class ServiceFailedError(EmbeddingUnavailableError):
    """Time and again the service failed on one request, and was not just busy."""


class _PassingError(Exception):
    """The next try may go well; in `retry_after` seconds, if the service said so."""

    def __init__(self, told: str, retry_after: float | None = None) -> None:
        super().__init__(told)
        self.retry_after = retry_after


class _BusyError(_PassingError):
    """The service asks to be asked more slowly."""


@dataclass(frozen=True)
class Endpoint:
    """Where a service is, and how it is asked. A base URL with `api-version` in its query is one of Azure."""

    url: str
    model: str
    dimensions: int
    key: str | None = field(default=None, repr=False)

    @classmethod
    def of(cls, settings: Settings) -> "Endpoint":
        """Raises `ConfigurationError`."""
        model, dimensions = settings.embedding_model, settings.embedding_dimensions
        if model is None or dimensions is None:
            raise AssertionError("`Settings` demands both")
        key = settings.embedding_api_key.get_secret_value().strip() if settings.embedding_api_key else ""
        if not (key.isascii() and key.isprintable()):
            raise ConfigurationError("EMBEDDING_API_KEY is no key: no header can hold it", remedy="Set it again.")
        url = _embeddings_url(settings.embedding_base_url)
        return cls(url, model, dimensions, key or None)

    @property
    def shown(self) -> str:
        return urls.shown(self.url)

    @cached_property
    def credentials(self) -> Credentials:
        if self.key is None:
            return Credentials()
        url = urls.parse(self.url, WEB)
        header = {"api-key": self.key} if "api-version" in url.params else {"Authorization": f"Bearer {self.key}"}
        return Credentials(header, frozenset({urls.origin(url)}))


@dataclass
class Patience:
    """How long a caller waits. `until` is on the monotonic clock; `given_up` ends every pause at once."""

    until: float
    given_up: threading.Event = field(default_factory=threading.Event)

    def pause(self, seconds: float, told: str, retry_after: float | None = None) -> None:
        """Raises `EmbeddingUnavailableError` instead when the time would be over."""
        if time.monotonic() + seconds >= self.until or self.given_up.wait(seconds):
            raise EmbeddingUnavailableError(
                f"{told}; no time is left to ask again",
                remedy="Nothing is lost: the next run asks for what is pending.",
                retry_after=retry_after,
            )


class EmbeddingService:
    """Asks for vectors, one request after another for each thread, all of them slower when the service is busy."""

    def __init__(self, policy: Policy, endpoint: Endpoint, *, retries: int, backoff: float) -> None:
        self.endpoint = endpoint
        self._policy = policy
        self._retries = retries
        self._backoff = backoff
        self._not_before = 0.0

    def vectors(
        self, texts: Sequence[str], fields: frozenset[str], patience: Patience, retries: int | None = None
    ) -> NDArray[np.float32]:
        """A row for each text; NaN for one that the service made no direction of. What passes is tried again.

        Raises `InputRefusedError`, `ServiceFailedError` after so many failures, `EmbeddingUnavailableError` when the
        time is over, and `ConfigurationError`.
        """
        failures = waits = 0
        while True:
            if (wait := self._not_before - time.monotonic()) > 0:
                patience.pause(wait, f"{self.endpoint.shown} asks to wait", wait)
            try:
                return self._asked(texts, fields, patience.until)
            except _BusyError as error:
                pause = self._pause(waits, error)
                waits += 1
                self._not_before = max(self._not_before, time.monotonic() + pause)
                log.info("the embedding service asks to wait", seconds=pause, told=str(error))
                patience.pause(pause, str(error), error.retry_after)
            except _PassingError as error:
                if failures >= (self._retries if retries is None else retries):
                    raise ServiceFailedError(
                        str(error), remedy="See to the service; the next run asks again.", retry_after=error.retry_after
                    ) from error
                pause = self._pause(failures, error)
                failures += 1
                log.info("asking the embedding service again", seconds=pause, error=str(error))
                patience.pause(pause, str(error), error.retry_after)

    def _pause(self, before: int, error: _PassingError) -> float:
        doubled = min(self._backoff * 2.0**before, _MAX_BACKOFF)
        return doubled if error.retry_after is None else max(error.retry_after, self._backoff)

    def _asked(self, texts: Sequence[str], fields: frozenset[str], until: float) -> NDArray[np.float32]:
        endpoint = self.endpoint
        try:
            with door(self._policy).request(
                "POST", endpoint.url, headers=_HEADERS, credentials=endpoint.credentials, until=until,
                body=self._question(texts, fields),
            ) as answer:  # fmt: skip
                if answer.status != 200:
                    raise self._refusal(answer, answer.read(_MAX_ERROR_BYTES))
                body = answer.read(_MAX_ERROR_BYTES + len(texts) * endpoint.dimensions * _BYTES_PER_NUMBER)
        except NetworkError as error:
            raise self._no_answer(error) from error
        try:
            return answers.read_vectors(body, len(texts), endpoint.dimensions)
        except UnusableAnswerError as error:
            raise _PassingError(f"{endpoint.shown}: {error}") from error
        except WrongDimensionsError as error:
            raise self._wrong_dimensions(error.found) from error

    def _question(self, texts: Sequence[str], fields: frozenset[str]) -> bytes:
        asked = {"encoding_format": "base64", "dimensions": self.endpoint.dimensions}
        chosen = {name: value for name, value in asked.items() if name in fields}
        return msgspec.json.encode({"model": self.endpoint.model, "input": [_sent(text) for text in texts], **chosen})

    def _refusal(self, answer: Answer, body: bytes) -> Exception:
        """What an answer other than 200 means."""
        status = answer.status
        told = f"{self.endpoint.shown}: HTTP {status}"
        if status in {401, 403}:  # what the service says there may hold parts of the key
            return ConfigurationError(f"{told}, the service refuses the key", remedy="Check EMBEDDING_API_KEY.")
        reason = answers.reason(body, self.endpoint.key)
        told = f"{told}, {reason}" if reason else told
        if status in _INPUT_REFUSED:
            return InputRefusedError(told)
        if status == 429 and answers.error_code(body) == "insufficient_quota":
            return EmbeddingUnavailableError(told, remedy="See to the account of EMBEDDING_API_KEY: its quota is used.")
        if status == 429:
            return _BusyError(told, _retry_after(answer))
        if status in _PASSING:
            return _PassingError(told, _retry_after(answer))
        if 300 <= status < 400:
            return ConfigurationError(f"{told}: it redirects", remedy="Set EMBEDDING_BASE_URL to where it leads.")
        return ConfigurationError(told, remedy="Check EMBEDDING_BASE_URL and EMBEDDING_MODEL.")

    def _no_answer(self, error: NetworkError) -> Exception:
        if isinstance(error, ForbiddenError):
            host = urls.parse(self.endpoint.url, WEB)
            entry = f"{urls.host_of(host)}:{urls.port_of(host)}"
            return ConfigurationError(
                f"EMBEDDING_BASE_URL: {error}",
                remedy=f"If the service is your own, list it: ALLOWED_PRIVATE_HOSTS={entry}",
            )
        if error.transient:
            return _PassingError(str(error))
        return ConfigurationError(f"EMBEDDING_BASE_URL: {error}", remedy=error.remedy or "Correct EMBEDDING_BASE_URL.")

    def _wrong_dimensions(self, found: int) -> ConfigurationError:
        return ConfigurationError(
            f"EMBEDDING_DIMENSIONS is {self.endpoint.dimensions}, and {self.endpoint.model} gives vectors of {found}",
            remedy=f"Set EMBEDDING_DIMENSIONS={found}, or choose another EMBEDDING_MODEL.",
        )


def _embeddings_url(base: str) -> str:
    """The base URL with `/embeddings` at the end of its path, once; its query stays."""
    try:
        url = urls.parse(base, WEB)
    except NetworkError as error:
        remedy = (
            "Write it without; the key is EMBEDDING_API_KEY." if isinstance(error, ForbiddenError) else error.remedy
        )
        raise ConfigurationError(f"EMBEDDING_BASE_URL: {error}", remedy=remedy) from error
    path, separator, query = url.raw_path.decode("ascii").partition("?")
    path = f"{path.rstrip('/').removesuffix('/embeddings')}/embeddings"
    return str(httpx2.URL(url, raw_path=f"{path}{separator}{query}".encode("ascii")))


def _sent(text: str) -> str:
    """A text as it is sent: services refuse the empty one, and no JSON holds half a surrogate pair."""
    return text.encode(errors="replace").decode() or " "


def _retry_after(answer: Answer) -> float | None:
    """Seconds that the service asks to be waited."""
    told = answer.headers.get("retry-after", "").strip()
    try:
        return float(told) if told[:1].isdecimal() else _seconds_until(told)
    except ValueError:
        return None


def _seconds_until(date: str) -> float:
    """From now to a date of HTTP. Raises `ValueError`."""
    found = parsedate_to_datetime(date)
    return (found.replace(tzinfo=found.tzinfo or UTC) - datetime.now(UTC)).total_seconds()

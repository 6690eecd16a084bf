"""Calls of the SDK: guarded, counted, tried again as long as that may help, and with errors of the node's own."""

import random
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TypeVar

import structlog
from pinecone import Index, IndexModel, Pinecone
from pinecone.errors.exceptions import (
    ApiError,
    PineconeConnectionError,
    PineconeTimeoutError,
    RateLimitError,
    ResponseParsingError,
    ServiceError,
)
from pinecone.errors.exceptions import PineconeError as SdkError

from app.net.door import Policy
from app.net.errors import NetworkError
from app.vectors.indexes.pinecone.config import Patience, PineconeConfig
from app.vectors.indexes.pinecone.errors import PineconeError, PineconeRefusedError, PineconeUnavailableError
from app.vectors.indexes.pinecone.transport import GuardedTransport, carry, connections
from app.vectors.indexes.traffic import Counters

log = structlog.get_logger()

T = TypeVar("T")

_REMEDIES = {
    401: "Correct PINECONE_API_KEY.",
    402: "See to the plan of the Pinecone project.",
    403: "See what the key may do, and the limits of the Pinecone project.",
    404: "Name an index that exists, or run `discovery-node vectors setup`.",
}
_TLS_REMEDY = "List the certificate of what answers there in CA_BUNDLE, if it can be trusted."
_CONTROL = "control plane"


@dataclass(eq=False)
class Pace:
    """When something may be sent again: an answer that asks to slow down is meant for all threads."""

    _free_at: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def hold(self, seconds: float) -> None:
        with self._lock:
            self._free_at = max(self._free_at, time.monotonic() + seconds)

    def wait(self) -> None:
        while (left := self._free_at - time.monotonic()) > 0:
            time.sleep(left)


class Session:
    """A key, its connections, and how patient to be. Safe to use from several threads."""

    def __init__(self, config: PineconeConfig, policy: Policy, counters: Counters) -> None:
        self.config = config
        self._policy = policy
        self._counters = counters
        self._pool = connections(policy, config.concurrency * 2)
        self._pace = Pace()
        self.control = Pinecone(
            api_key=config.api_key.get_secret_value(), host=config.controller, timeout=config.timeout
        )
        carry(self.control, self._transport(_CONTROL))

    def index(self, name: str, host: str) -> Index:
        """The data plane of an index, at the host that describing it gave."""
        index = Index(host=host, api_key=self.config.api_key.get_secret_value(), timeout=self.config.timeout)
        carry(index, self._transport(name))
        return index

    def describe(self, name: str) -> IndexModel | None:
        """None when there is no such index."""
        try:
            return self.call(f"describe {name}", lambda: self.control.indexes.describe(name))
        except PineconeRefusedError as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise
            return None

    def call(self, told: str, request: Callable[[], T]) -> T:
        """What a call of the SDK returns, tried again while it may help. Raises `PineconeError`."""
        patience = self.config.patience
        last_at = time.monotonic() + patience.within
        for number in range(1, patience.tries + 1):
            self._pace.wait()
            try:
                with _translated(told):
                    return request()
            except PineconeUnavailableError as error:
                pause = _pause(error, patience, number)
                is_last = number == patience.tries or time.monotonic() + pause > last_at
                if is_last or pause > patience.max_pause:
                    raise
                log.info("trying again", request=told, error=str(error), seconds=round(pause, 2))
                if error.throttled:
                    self._pace.hold(pause)
                else:
                    time.sleep(pause)
        raise AssertionError("unreachable")

    def count_records(self, index: str, number: int) -> None:
        self._counters.add(index, records=number)

    def close(self) -> None:
        self._pool.close()

    def _transport(self, name: str) -> GuardedTransport:
        def sent(size: int, status: int) -> None:
            self._counters.add(name, requests=1, sent=size, throttled=int(status == 429))

        return GuardedTransport(self._pool, self._policy, self.config.timeout, sent)


def _pause(error: PineconeUnavailableError, patience: Patience, number: int) -> float:
    """As long as the server asked for, else longer from one to the next; not the same for all who wait."""
    if error.retry_after is not None:
        return error.retry_after
    return patience.backoff * 2.0 ** (number - 1) * random.uniform(0.5, 1.0)  # noqa: S311 - it decides nothing secret


@contextmanager
def _translated(told: str) -> Iterator[None]:
    """The SDK's errors as the node's own."""
    try:
        yield
    except RateLimitError as error:
        raise PineconeUnavailableError(
            f"Pinecone asks to slow down ({told})", retry_after=error.retry_after, throttled=True
        ) from error
    except (PineconeTimeoutError, PineconeConnectionError) as error:
        if _is_of_tls(error):
            raise PineconeError(f"TLS failed ({told}): {error}", remedy=_TLS_REMEDY) from error
        raise PineconeUnavailableError(f"Pinecone does not answer ({told}): {error}") from error
    except ServiceError as error:
        raise PineconeUnavailableError(
            f"Pinecone answers {error.status_code} ({told})", retry_after=_retry_after(error)
        ) from error
    except ApiError as error:
        if error.status_code == 408:
            raise PineconeUnavailableError(f"Pinecone did not wait for the request ({told})") from error
        raise PineconeRefusedError(
            f"Pinecone refuses ({told}): {error.status_code} {error.message}",
            status=error.status_code,
            remedy=_REMEDIES.get(error.status_code, ""),
        ) from error
    except ResponseParsingError as error:
        raise PineconeUnavailableError(f"Pinecone's answer cannot be read ({told}): {error}") from error
    except SdkError as error:
        raise PineconeRefusedError(f"Pinecone's SDK refuses ({told}): {error}", status=0) from error
    except NetworkError as error:
        raise PineconeError(f"Pinecone cannot be reached ({told}): {error}", remedy=error.remedy) from error


def _is_of_tls(error: BaseException) -> bool:
    """Whether a certificate is not believed, or the like: that does not pass by itself."""
    cause = error.__cause__ or error.__context__
    return isinstance(error, ssl.SSLError) or (cause is not None and _is_of_tls(cause))


def _retry_after(error: ApiError) -> float | None:
    given = str((error.headers or {}).get("retry-after", ""))
    return float(given) if given.replace(".", "", 1).isdecimal() else None

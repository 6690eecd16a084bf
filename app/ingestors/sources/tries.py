"""How often, and for how long, a document is asked for at a server that is not at its best."""

import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import TypeVar

import structlog

from app.ingestors.base import ForbiddenAddressError, SourceError, UnreachableError
from app.net.errors import ForbiddenError, NetworkError

log = structlog.get_logger()

T = TypeVar("T")

_BACKOFF = 0.5  # seconds, doubled with each retry
_MAX_PAUSE = 30.0  # seconds; what a server wants to be waited for longer is left to the next run
_MAX_FAILURES = 5  # documents in a row that a server did not deliver; the others are not asked for any more


class PassingError(UnreachableError):
    """The server did not deliver; the next try may find it better."""


class Tries:
    """Tries again what passes by itself, and gives a server up that fails time after time."""

    def __init__(self, retries: int, seconds: float) -> None:
        self._retries = retries
        self._seconds = seconds
        self._failures: Counter[str] = Counter()
        self._lock = threading.Lock()

    def run(self, told: str, server: str, attempt: Callable[[float], T]) -> T:
        """What an attempt returns, which is told until when, on the monotonic clock, it may take. `told` is the
        document as it may be shown. Raises `SourceError`."""
        if self._failures[server] >= _MAX_FAILURES:
            raise UnreachableError(
                f"{told} was not asked for: {server} did not deliver {_MAX_FAILURES} others",
                remedy="See to the server.",
            )
        until = time.monotonic() + self._seconds
        for number in range(self._retries + 1):
            try:
                result = attempt(until)
            except PassingError as error:
                pause = _BACKOFF * 2**number if error.retry_after is None else error.retry_after
                if number == self._retries or pause > _MAX_PAUSE or time.monotonic() + pause >= until:
                    self._count_failure(server)
                    raise
                log.info("trying again", url=told, error=str(error), seconds=pause)
                time.sleep(pause)
            else:
                self._failures.pop(server, None)
                return result
        raise AssertionError("unreachable")

    def _count_failure(self, server: str) -> None:
        with self._lock:
            self._failures[server] += 1


def as_source_error(error: NetworkError) -> SourceError:
    """What happened on the network, told apart as sources do."""
    if isinstance(error, ForbiddenError):
        return ForbiddenAddressError(str(error), remedy=error.remedy)
    if error.transient:
        return PassingError(str(error), remedy=error.remedy or "See to the server, or try again later.")
    return SourceError(str(error), remedy=error.remedy)

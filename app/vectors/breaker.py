"""For those who search: a service that failed is left alone for a while, instead of being waited for by each."""

import threading
import time
from collections.abc import Callable
from typing import TypeVar

from app.core.errors import DiscoveryNodeError

PAUSE = 5.0  # seconds

T = TypeVar("T")


class Breaker:
    """Whether a service is asked. After one of its `failures` it is not for `pause` seconds, and then by one, whom the
    others do not wait for."""

    def __init__(self, name: str, failures: type[DiscoveryNodeError], pause: float = PAUSE) -> None:
        self._name = name
        self._failures = failures
        self._pause = pause
        self._again_at: float | None = None  # on the monotonic clock, since it failed
        self._lock = threading.Lock()

    def ask(self, question: Callable[[], T]) -> T:
        """Raises one of the failures while the service is left alone, and what the question raises."""
        self._begin()
        try:
            answer = question()
        except self._failures:
            self._again_at = time.monotonic() + self._pause
            raise
        self._again_at = None
        return answer

    def _begin(self) -> None:
        with self._lock:
            if self._again_at is None:
                return
            now = time.monotonic()
            if now < self._again_at:
                raise self._failures(
                    f"{self._name} failed a moment ago", remedy="It is asked again by itself, in a few seconds."
                )
            self._again_at = now + self._pause

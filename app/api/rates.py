"""How many requests somebody may send a minute: counted in Redis, so for all processes together, or in this one."""

import hashlib
import threading
import time
from collections import Counter
from dataclasses import dataclass, field

import redis
import structlog
from redis.backoff import NoBackoff
from redis.retry import Retry

log = structlog.get_logger()

_WINDOW = 60  # seconds
_PREFIX = "discovery-node:requests"
_PATIENCE = 0.2  # seconds that a request waits for Redis
_KNOWN_FOR = 30.0  # seconds that a key, once found good, does not count as a stranger's
_MOST_KNOWN = 10_000
_AGAIN = 30.0  # seconds after which a Redis that did not answer is asked again


class KnownKeys:
    """The keys that were good a moment ago, by their hash. It spares them the limit of their address; it opens
    nothing."""

    def __init__(self) -> None:
        self._until: dict[bytes, float] = {}

    def __contains__(self, key: str) -> bool:
        return self._until.get(_hash(key), 0.0) > time.monotonic()

    def add(self, key: str) -> None:
        if len(self._until) >= _MOST_KNOWN:
            self._until.clear()
        self._until[_hash(key)] = time.monotonic() + _KNOWN_FOR


def _hash(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "replace")).digest()


@dataclass
class _Local:
    """Counts of the current window in this process."""

    window: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, subject: str, window: int) -> int:
        with self.lock:
            if window != self.window:
                self.window, self.counts = window, Counter()
            self.counts[subject] += 1
            return self.counts[subject]


class RateLimiter:
    """Counts requests by subject in windows of a minute. A Redis that does not answer is done without for a while."""

    def __init__(self, redis_url: str | None) -> None:
        self._local = _Local()
        self._asked_again = 0.0
        self._redis = None
        if redis_url is not None and redis_url.startswith(("redis://", "rediss://")):
            self._redis = redis.Redis.from_url(
                redis_url, socket_timeout=_PATIENCE, socket_connect_timeout=_PATIENCE, retry=Retry(NoBackoff(), 0)
            )

    @property
    def is_local(self) -> bool:
        """Whether counting takes no time worth a thread."""
        return self._redis is None

    def wait(self, subject: str, limit: int) -> int | None:
        """Counts a request; None when it is within the limit of so many a minute (0: none is set), else the seconds
        until it would be."""
        if limit == 0:
            return None
        now = time.time()
        count = self._count(subject, int(now // _WINDOW))
        return None if count <= limit else int(_WINDOW - now % _WINDOW) + 1

    def close(self) -> None:
        if self._redis is not None:
            self._redis.close()

    def _count(self, subject: str, window: int) -> int:
        if self._redis is None or time.monotonic() < self._asked_again:
            return self._local.add(subject, window)
        key = f"{_PREFIX}:{window}:{subject}"
        try:
            with self._redis.pipeline(transaction=False) as pipeline:
                pipeline.incr(key)
                pipeline.expire(key, 2 * _WINDOW)
                count, _ = pipeline.execute()
        except redis.RedisError as error:
            self._asked_again = time.monotonic() + _AGAIN
            log.info("requests are counted in this process: no Redis", error=type(error).__name__)
            return self._local.add(subject, window)
        return int(count)

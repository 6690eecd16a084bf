"""How much a server is asked at once, by all that this process does."""

import os
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import httpx2

from app.net import urls
from app.net.errors import NetworkError


class Slots:
    """`each` for every server. A server that nobody waits for is forgotten: feeds may lead to any number of them."""

    def __init__(self, each: int) -> None:
        self._each = each
        self._lock = threading.Lock()
        self._of: weakref.WeakValueDictionary[str, threading.BoundedSemaphore] = weakref.WeakValueDictionary()

    def __len__(self) -> int:
        return len(self._of)

    @contextmanager
    def one(self, url: httpx2.URL, until: float) -> Iterator[None]:
        """One of the server of a URL, waited for until then on the monotonic clock. Raises `NetworkError`."""
        slot = self._slot(f"{urls.host_of(url)}:{urls.port_of(url)}")
        if not slot.acquire(timeout=max(until - time.monotonic(), 0)):
            raise NetworkError(f"{urls.shown(url)}: too many other requests to this server", transient=True)
        try:
            yield
        finally:
            slot.release()

    def _slot(self, server: str) -> threading.BoundedSemaphore:
        with self._lock:
            slot = self._of.get(server)
            if slot is None:
                slot = self._of[server] = threading.BoundedSemaphore(self._each)
            return slot


@cache
def _shared(each: int, _process: int) -> Slots:
    return Slots(each)


def slots(each: int) -> Slots:
    """Those of this process."""
    return _shared(each, os.getpid())

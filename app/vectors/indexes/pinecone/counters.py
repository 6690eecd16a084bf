"""What went to Pinecone, counted where it is sent."""

import threading
from collections import defaultdict
from dataclasses import dataclass, field


@dataclass
class Traffic:
    """Requests that were sent, retries included; records that were acknowledged; bytes of bodies that were sent;
    answers that said to slow down."""

    requests: int = 0
    records: int = 0
    bytes: int = 0
    throttled: int = 0


@dataclass(eq=False)
class Counters:
    """Traffic by index. Safe to use from several threads."""

    _counted: dict[str, Traffic] = field(default_factory=lambda: defaultdict(Traffic), init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def add(self, index: str, *, requests: int = 0, records: int = 0, sent: int = 0, throttled: int = 0) -> None:
        with self._lock:
            counted = self._counted[index]
            counted.requests += requests
            counted.records += records
            counted.bytes += sent
            counted.throttled += throttled

    def take(self) -> dict[str, Traffic]:
        """What was counted since it was last taken, by index; whoever takes it adds it to the node's counters."""
        with self._lock:
            taken = dict(self._counted)
            self._counted.clear()
        return taken

"""What goes wrong, on request."""

import threading
import time
from collections import deque
from dataclasses import dataclass, field

from tests.support.pinecone.answers import Answer, Refusal, Request


@dataclass
class Fault:
    """What happens to the next `times` requests whose path contains `path`. With a `status` they are answered so, and
    not carried out; `message` may hold `{key}`. After they are carried out comes a `delay`, and if the answer is `lost`
    the connection is cut instead."""

    path: str = ""
    times: int = 1
    status: int | None = None
    retry_after: str | None = None
    message: str = "told to fail"
    delay: float = 0.0
    lost: bool = False


@dataclass(eq=False)
class Faults:
    """Faults that are still to come, the oldest first."""

    _waiting: deque[Fault] = field(default_factory=deque)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, fault: Fault) -> None:
        with self._lock:
            self._waiting.append(fault)

    def clear(self) -> None:
        with self._lock:
            self._waiting.clear()

    @property
    def left(self) -> int:
        """Requests that are still to fail."""
        return sum(fault.times for fault in self._waiting)

    def take(self, request: Request) -> Fault | None:
        """The fault of a request."""
        with self._lock:
            for fault in self._waiting:
                if fault.path in request.path:
                    fault.times -= 1
                    if fault.times == 0:
                        self._waiting.remove(fault)
                    return fault
        return None


def refuse(fault: Fault, request: Request) -> None:
    """Before a request is carried out."""
    if fault.status is not None:
        headers = {"retry_after": fault.retry_after} if fault.retry_after is not None else {}
        told = fault.message.replace("{key}", request.headers.get("api-key", ""))
        raise Refusal(fault.status, told, "TOLD", **headers)


def spoil(fault: Fault, answer: Answer) -> Answer | None:
    """After it is carried out."""
    time.sleep(fault.delay)
    return None if fault.lost else answer

"""What goes to an index that is elsewhere, counted where it is sent, for all of the process."""

import threading
from collections import defaultdict
from dataclasses import astuple, dataclass, field
from weakref import WeakSet


@dataclass
class Traffic:
    """Requests that were sent, retries included; records that were acknowledged; bytes of bodies that were sent;
    answers that said to slow down."""

    requests: int = 0
    records: int = 0
    bytes: int = 0
    throttled: int = 0

    def __add__(self, other: "Traffic") -> "Traffic":
        return Traffic(*(one + another for one, another in zip(astuple(self), astuple(other), strict=True)))


_all: "WeakSet[Counters]" = WeakSet()
_registering = threading.Lock()


@dataclass(eq=False)
class Counters:
    """Traffic by index. Safe to use from several threads."""

    _counted: dict[str, Traffic] = field(default_factory=lambda: defaultdict(Traffic), init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def __post_init__(self) -> None:
        with _registering:
            _all.add(self)

    def __bool__(self) -> bool:
        """Whether anything was counted since it was last taken."""
        return bool(self._counted)

    def add(self, index: str, *, requests: int = 0, records: int = 0, sent: int = 0, throttled: int = 0) -> None:
        with self._lock:
            self._counted[index] += Traffic(requests, records, sent, throttled)

    def take(self) -> dict[str, Traffic]:
        """What was counted since it was last taken, by index; whoever takes it adds it to the node's counters."""
        with self._lock:
            taken = dict(self._counted)
            self._counted.clear()
        return taken


_kept = Counters()  # what was taken, and could not be written down


def take_all() -> dict[str, Traffic]:
    """What this process counted since this was last asked, by index."""
    total: defaultdict[str, Traffic] = defaultdict(Traffic)
    for each in _counting():
        for index, traffic in each.take().items():
            total[index] += traffic
    return dict(total)


def give_back(taken: dict[str, Traffic]) -> None:
    """For the next who asks."""
    for index, traffic in taken.items():
        _kept.add(
            index, requests=traffic.requests, records=traffic.records, sent=traffic.bytes, throttled=traffic.throttled
        )  # fmt: skip


def is_counted() -> bool:
    """Whether there is anything to be taken."""
    return any(_counting())


def _counting() -> list[Counters]:
    with _registering:
        return list(_all)

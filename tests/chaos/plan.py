"""What happens when: the same seed gives the same faults and publications in the same order."""

from collections import Counter
from dataclasses import dataclass
from random import Random

FAULTS = (
    "kill child", "kill worker", "orphan children", "kill beat", "stop child", "flush redis", "restart redis",
    "restart database", "duplicate messages",
)  # fmt: skip
KILLS = ("kill child", "kill worker", "orphan children", "kill beat")
PUBLISH, LARGE, REGISTER, START = "publish", "publish at large", "publish registries", "start"
NO_FAULTS = (PUBLISH, LARGE, REGISTER, START)


@dataclass(frozen=True)
class Event:
    """Something to do, so many seconds after the beginning, with choices of its own."""

    at: float
    kind: str
    seed: int

    @property
    def random(self) -> Random:
        return Random(self.seed)  # noqa: S311 - nothing secret


def amounts(kills: int) -> Counter[str]:
    """How often each thing happens, for so many processes that are killed."""
    orphaned, beats = max(1, kills // 20), max(1, kills // 10)
    workers = max(1, kills // 8)
    return Counter({
        "kill child": max(kills - workers - orphaned - beats, 1),
        "kill worker": workers,
        "orphan children": orphaned,
        "kill beat": beats,
        "stop child": max(1, kills // 8),
        "flush redis": max(1, kills // 10),
        "restart redis": max(1, kills // 20),
        "restart database": max(1, kills // 20),
        "duplicate messages": max(2, kills // 6),
        PUBLISH: max(4, kills * 2 // 3),
        LARGE: kills // 25,
        REGISTER: max(1, kills // 20),
        START: max(2, kills // 5),
    })  # fmt: skip


def make(seed: int, kills: int, pace: float, minutes: float | None = None) -> list[Event]:
    """The events in order, `pace` seconds from fault to fault on average, or spread over so many minutes; what is no
    fault happens in between. The last is a publication."""
    random = Random(seed)  # noqa: S311 - nothing secret
    kinds = list(amounts(kills).elements())
    random.shuffle(kinds)
    kinds.remove(PUBLISH)
    events, at = [], 0.0
    for kind in [*kinds, PUBLISH]:
        at += random.uniform(0.4, 1.6) * pace * (1.0 if kind in FAULTS else 0.25)
        events.append(Event(at, kind, random.randrange(2**32)))
    stretch = minutes * 60 / at if minutes else 1.0
    return [Event(each.at * stretch, each.kind, each.seed) for each in events]

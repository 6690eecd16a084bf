"""Those who started something and wait for what `.get()` returns: what they were told, and when Redis lost answers."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import redis
from celery.states import READY_STATES


@dataclass(frozen=True)
class Answer:
    """What `.get()` returns, or the text and the type of what it raises."""

    state: str
    result: Any = None
    error: tuple[str, str] | None = None


@dataclass
class Callers:
    """`accepted` are the starts that `delay` took and when, `unwritten` those of them that it could not write into the
    ledger, because the database was away; `answers` what was told of them first. Each is asked for all along, as one
    who waits in `.get()` would have it, until there is an answer."""

    accepted: dict[str, datetime] = field(default_factory=dict)
    unwritten: set[str] = field(default_factory=set)
    answers: dict[str, Answer] = field(default_factory=dict)
    losses: list[datetime] = field(default_factory=list)  # when Redis lost all it held

    def accept(self, start_id: str, *, is_written: bool) -> None:
        self.accepted[start_id] = datetime.now(UTC)
        if not is_written:
            self.unwritten.add(start_id)

    def ask(self) -> None:
        """Whoever has no answer yet; nobody while Redis is away."""
        self.answers |= self._asked([each for each in self.accepted if each not in self.answers])

    @contextmanager
    def losing(self) -> Iterator[None]:
        """Within the block Redis loses all it holds. Who waits has heard before; what is put there meanwhile may be
        lost too."""
        self.ask()
        yield
        self.losses.append(datetime.now(UTC))

    def lost_since(self, time: datetime) -> bool:
        """Whether Redis lost what was put there at that time."""
        return any(loss >= time for loss in self.losses)

    def told_otherwise(self) -> dict[str, tuple[Answer, Answer]]:
        """Those who would hear something else now than they heard first."""
        now = self._asked(list(self.answers))
        return {each: (self.answers[each], now[each]) for each in now if now[each] != self.answers[each]}

    def _asked(self, start_ids: list[str]) -> dict[str, Answer]:
        from app.worker.celery_app import celery_app

        backend = celery_app.backend
        if not start_ids:
            return {}
        try:
            with redis.Redis.from_url(backend.url, socket_timeout=5) as client:
                stored = client.mget([backend.get_key_for_task(each) for each in start_ids])
        except redis.RedisError:
            return {}
        found = {each: backend.decode_result(told) for each, told in zip(start_ids, stored, strict=True) if told}
        return {each: _answer(told) for each, told in found.items() if told["status"] in READY_STATES}


def _answer(told: dict[str, Any]) -> Answer:
    result = told["result"]
    if isinstance(result, BaseException):
        return Answer(told["status"], error=(str(result), type(result).__name__))
    return Answer(told["status"], result)

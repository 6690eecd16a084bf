"""Results of tasks: where Redis keeps them, and what nobody asked for in time."""

from datetime import UTC, datetime, timedelta
from typing import Any

from celery import Celery
from celery.backends.database import DatabaseBackend
from celery.backends.redis import RedisBackend
from sqlalchemy import func, select

_BATCH = 1000


class RedisResults(RedisBackend):
    """Celery's, without its subscription to the result of every task that is sent: that would wait 20 seconds for a
    Redis that is away, then refuse to send. Whoever asks for a result subscribes then."""

    def on_task_call(self, producer: object, task_id: str) -> None:
        """Does nothing."""


def expire_results(app: Celery, *, dry_run: bool = False) -> int:
    """Removes results that are older than `result_expires`; returns their number. Redis forgets most by itself: what is
    found there was stored without a time to live."""
    oldest = datetime.now(UTC) - timedelta(seconds=app.conf.result_expires)
    if isinstance(app.backend, DatabaseBackend):
        return _in_database(app.backend, oldest, dry_run=dry_run)
    if isinstance(app.backend, RedisBackend):
        return _in_redis(app.backend, oldest, dry_run=dry_run)
    return 0


def _in_database(backend: DatabaseBackend, oldest: datetime, *, dry_run: bool) -> int:
    results: Any = backend.task_cls
    with backend.ResultSession() as session:
        expired: int = session.scalar(
            select(func.count()).select_from(results).where(results.date_done < oldest.replace(tzinfo=None))
        )
    if not dry_run:
        backend.cleanup()
    return expired


def _in_redis(backend: RedisBackend, oldest: datetime, *, dry_run: bool) -> int:
    removed = 0
    for key in backend.client.scan_iter(match=backend.get_key_for_task("*"), count=_BATCH):
        if backend.client.ttl(key) != -1:
            continue
        stored = backend.client.get(key)
        done = backend.decode(stored).get("date_done") if stored else None
        if done is not None and _time(done) < oldest:
            removed += 1 if dry_run else backend.client.delete(key)
    return removed


def _time(told: str) -> datetime:
    time = datetime.fromisoformat(told)
    return time if time.tzinfo else time.replace(tzinfo=UTC)

"""How tasks are sent and taken: beat's messages once for each slot, starts by way of the ledger."""

import inspect
import random
import time
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn, cast
from uuid import UUID, uuid4

import structlog
from celery import Celery, Task
from celery.exceptions import Ignore, Reject, Retry, SoftTimeLimitExceeded
from celery.result import AsyncResult
from kombu.exceptions import OperationalError
from sqlalchemy.exc import SQLAlchemyError

from app.core.config import get_settings
from app.core.errors import DiscoveryNodeError
from app.db.session import is_away
from app.ingestors.base import IngestionFailedError, IngestorError, ProcessingError
from app.ingestors.ingestion import STEPS
from app.ingestors.reports import IngestReport, TaskReport, task_report
from app.net.urls import shown
from app.services import losses, messages, schedules, starts
from app.services.messages import Sendable, Wanted
from app.services.starts import Ended, LeaseLostError, Start
from app.worker.node import node
from app.worker.queues import LONGEST_COUNTDOWN
from app.worker.schedulers import slot_of

log = structlog.get_logger()

# What ends a task from outside: its time is up, or its worker is told to stop.
INTERRUPTIONS = (SoftTimeLimitExceeded, SystemExit)
_PAUSE = 2.0  # seconds that a worker waits for its database before it puts a message back
_AGAIN = 30.0  # seconds after which a start looks again whether an organization is free

_current: ContextVar[Start | None] = ContextVar("start", default=None)


class TransientFailureError(IngestorError):
    """A start is tried again later."""


def current_start() -> Start | None:
    """The start that the running task holds; None where a task's function is simply called."""
    return _current.get()


class NodeTask(Task[..., Any]):
    """A task of the node. What beat sends is published only by the beat that took the slot. One whose child is killed
    is not done again: helpers and periodic tasks come again by themselves."""

    abstract = True
    reject_on_worker_lost = False

    def apply_async(  # type: ignore[override]  # options stand for Celery's many
        self, args: tuple[Any, ...] | None = None, kwargs: dict[str, Any] | None = None,
        task_id: str | None = None, **options: Any,
    ) -> AsyncResult[Any] | None:  # fmt: skip
        """Sends a message; None when another beat has sent one for the same slot."""
        slot = None if task_id else slot_of(options.get("headers"), datetime.now(UTC))
        if slot is None:
            return super().apply_async(args, kwargs, task_id=task_id, **options)
        with node().database.transaction() as connection:
            if not schedules.take_slot(connection, *slot):
                return None
            # One that cannot be sent leaves the slot free, for another try. A broker that is away keeps the transaction
            # open for seconds (`socket_connect_timeout`); of one that falls silent in mid-sentence
            # PostgreSQL ends it, as it does any that is idle for minutes.
            return super().apply_async(args, kwargs, task_id=task_id, **options)


class StartTask(Task[..., Any]):
    """A task that is a start of the ledger: written down before it is sent, claimed when its message arrives, tried
    again when it failed for the moment, sent again when its worker was lost.

    Its function does the work for `current_start()` and returns an `IngestReport`; the task's result is a `TaskReport`.
    A final failure raises.
    """

    abstract = True
    max_retries = 3
    default_retry_delay = get_settings().retry_delay
    app: Celery
    steps: Sequence[str] = STEPS

    def apply_async(  # type: ignore[override]  # options stand for Celery's many
        self, args: tuple[Any, ...] | None = None, kwargs: dict[str, Any] | None = None,
        task_id: str | None = None, **options: Any,
    ) -> AsyncResult[Any] | None:  # fmt: skip
        """Writes the start down and sends its message; None when another beat started it. A start that asks for what is
        queued already is told of that one's end. Without a broker it is sent as soon as there is one; with neither
        ledger nor broker Celery's `OperationalError` is raised."""
        if options.get("retries"):
            options.pop("expires", None)  # it was begun in time
        wanted = self._wanted(task_id or str(uuid4()), args, kwargs, options)
        slot = None if task_id else slot_of(options.get("headers"), datetime.now(UTC))
        try:
            with node().database.transaction() as connection:
                if slot is not None and not schedules.take_slot(connection, *slot):
                    return None
                is_own = messages.record(connection, wanted)
        except (DiscoveryNodeError, SQLAlchemyError) as error:
            if slot is not None or not is_away(error):
                raise
            log.warning("the ledger cannot be reached; the worker writes the start down", start=str(wanted.id))
            return super().apply_async(None, wanted.arguments, task_id=str(wanted.id), **options)
        return self._publish(wanted.id, wanted.arguments, **options) if is_own else self.AsyncResult(str(wanted.id))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.request.called_directly:
            return task_report(self.run(*args, **kwargs), self.steps)
        wanted = self._wanted(str(self.request.id), args, kwargs, {})
        claimed = self._claim(wanted)
        if claimed is None:
            raise Ignore
        if isinstance(claimed, Ended):
            return self._told(claimed)
        token = _current.set(claimed)
        try:
            return self._perform(claimed, args, kwargs)
        except LeaseLostError as error:
            raise Ignore from error  # whoever has it now tells how it ended
        finally:
            _current.reset(token)

    def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
        """Tells those who asked for the same."""
        self._announce(task_id, lambda other: self.backend.mark_as_done(other, retval))

    def on_failure(self, exc: Exception, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        """Tells those who asked for the same."""
        self._announce(task_id, lambda other: self.backend.mark_as_failure(other, exc))

    def send(self, start_id: UUID, arguments: Mapping[str, Any], **options: Any) -> bool:
        """Sends the message of a start that is in the ledger; False without a broker."""
        told = {name: shown(value) if isinstance(value, str) else value for name, value in arguments.items()}
        options["kwargsrepr"] = repr(told)
        try:
            super().apply_async(None, dict(arguments), task_id=str(start_id), **options)
        except OperationalError as error:
            log.warning("no broker; the start is sent when there is one", start=str(start_id), error=str(error))
            return False
        return True

    def _perform(self, start: Start, args: tuple[Any, ...], kwargs: dict[str, Any]) -> TaskReport:
        """Does the work of a start, and ends it or puts it back, whatever happens."""
        try:
            report: IngestReport = self.run(*args, **kwargs)
            return self._conclude(start, report)
        except (Ignore, Reject, Retry, LeaseLostError, IngestionFailedError, TransientFailureError):
            raise
        except BaseException as error:
            if (interruption := start.interruption(error)) is not None:
                self._interrupted(start, interruption)
            if is_away(error):
                self._wait_for_database(start)
            self._fail(start, error)
            raise

    def _publish(self, start_id: UUID, arguments: Mapping[str, Any], **options: Any) -> AsyncResult[Any]:
        if self.send(start_id, arguments, **options):
            _remember_sent([start_id])
        return self.AsyncResult(str(start_id))

    def _wanted(
        self, task_id: str, args: Sequence[Any] | None, kwargs: Mapping[str, Any] | None, options: Mapping[str, Any]
    ) -> Wanted:
        """What is asked for, by the names of the arguments. Raises `TypeError` for arguments that do not fit."""
        bound = inspect.signature(self.run).bind(*(args or ()), **(kwargs or {}))
        bound.apply_defaults()
        arguments = dict(bound.arguments)
        return Wanted(
            UUID(task_id), self.name, str(arguments.get("ingestor_name", "all")), arguments,
            expires_at=_time(options.get("expires")), due_at=_time(options.get("eta") or options.get("countdown")),
        )  # fmt: skip

    def _claim(self, wanted: Wanted) -> Start | Ended | None:
        """Claims the start. Without a database its message goes back to the queue."""
        try:
            return starts.claim(
                node().database, wanted, lease=node().settings.lease_seconds, max_failures=self.max_retries,
                interruptions=INTERRUPTIONS,
            )  # fmt: skip
        except (DiscoveryNodeError, SQLAlchemyError) as error:
            if not is_away(error):
                raise
            log.warning("the database is away; the message goes back", start=str(wanted.id))
            time.sleep(_PAUSE)
            raise Reject(requeue=True) from error

    def _told(self, ended: Ended) -> dict[str, Any]:
        """How a start ended that ended before, for whoever was not told."""
        if ended.status == "failed":
            raise IngestionFailedError(ended.error or "It failed")
        return ended.result or {"status": ended.status, "results": {}}

    def _conclude(self, start: Start, report: IngestReport) -> TaskReport:
        """Ends the start, or puts it back for another time."""
        if any(run["status"] == "waiting" for run in report["runs"]):
            self._try_again(start, report)
        if start.busy:
            starts.give_back(node().database, start, after=_AGAIN)
            raise Ignore
        result = task_report(report, self.steps)
        error = _told_failures(report) if report["status"] == "failed" else None
        waiting = starts.finish(
            node().database, start, report["status"], result=cast(dict[str, Any], result), error=error
        )
        send_again(self.app, waiting)
        if error is not None:
            raise IngestionFailedError(error)
        return result

    def _try_again(self, start: Start, report: IngestReport) -> NoReturn:
        wait = max(start.retry_after, backoff(self.default_retry_delay, start.failures))
        error = _told_failures(report)
        start.busy.clear()  # an organization that is free before does not cut the wait short
        starts.give_back(node().database, start, after=wait, failures=start.failures + 1, error=error)
        log.warning("tried again later", start=str(start.id), seconds=round(wait), failures=start.failures + 1)
        raise self.retry(exc=TransientFailureError(error), countdown=min(wait, LONGEST_COUNTDOWN))

    def _interrupted(self, start: Start, error: BaseException) -> NoReturn:
        log.warning("interrupted; it goes on where it was", start=str(start.id), by=type(error).__name__)
        starts.give_back(node().database, start)
        if isinstance(error, SystemExit):
            raise error  # the worker stops; its message goes back to the queue
        self._publish(start.id, self.request.kwargs or {}, retries=start.failures)
        raise Ignore from error

    def _wait_for_database(self, start: Start) -> NoReturn:
        """Its lease runs out, or is given back when the database is there again. One whose database is lost again and
        again counts as what does it."""
        time.sleep(_PAUSE)
        if start.lost >= losses.MAX_LOST:
            self._fail(start, ProcessingError(f"The database was lost {start.lost} times while it was worked on"))
        try:
            starts.give_back(node().database, start, lost=start.lost + 1)
        except (DiscoveryNodeError, SQLAlchemyError) as error:
            log.warning("the database is away; recovery sends the start again", start=str(start.id), error=str(error))
            raise Ignore from error
        raise Reject(requeue=True)

    def _fail(self, start: Start, error: BaseException) -> None:
        """Ends a start for which nothing foresaw what happened; raises in words what has some."""
        told = str(error).partition("\n")[0] if isinstance(error, DiscoveryNodeError) else type(error).__name__
        send_again(self.app, starts.finish(node().database, start, "failed", error=told))
        if isinstance(error, DiscoveryNodeError):
            raise IngestionFailedError(told) from error

    def _announce(self, task_id: str, tell: Callable[[str], None]) -> None:
        try:
            with node().database.transaction() as connection:
                others = messages.taken_in(connection, UUID(task_id))
            for other in others:
                tell(str(other))
            with node().database.transaction() as connection:
                messages.announced(connection, UUID(task_id))
        except Exception as error:  # noqa: BLE001 - whatever the backend raises: recovery has it told again
            log.warning("announced again later", start=task_id, error=type(error).__name__)


def _time(told: datetime | float | None) -> datetime | None:
    """A time that Celery takes as such or as seconds from now."""
    return datetime.now(UTC) + timedelta(seconds=told) if isinstance(told, int | float) else told


def send_again(app: Celery, sendables: Sequence[Sendable]) -> int:
    """Sends the messages of starts that are in the ledger, as long as there is a broker; returns their number. One of a
    task that this version does not know is another version's."""
    sent = []
    for each in sendables:
        task = app.tasks.get(each.task)
        if task is None:
            log.warning("no such task; another version may know it", start=str(each.id), task=each.task)
        elif cast(StartTask, task).send(each.id, each.arguments, retries=each.failures):
            sent.append(each.id)
        else:
            break
    if sent:
        _remember_sent(sent)
    return len(sent)


def _remember_sent(start_ids: list[UUID]) -> None:
    try:
        with node().database.transaction() as connection:
            messages.mark_sent(connection, start_ids)
    except (DiscoveryNodeError, SQLAlchemyError) as error:
        if not is_away(error):
            raise
        log.warning(
            "the ledger cannot be reached; messages may be sent twice", starts=[str(each) for each in start_ids]
        )


def backoff(delay: float, failures: int) -> float:
    """Seconds until the next try: twice as many after each failure, and up to a tenth more or less."""
    return delay * 2.0**failures * random.uniform(0.9, 1.1)  # noqa: S311 - nothing secret


def _told_failures(report: IngestReport) -> str:
    """What failed, with its step; beyond three the rest is counted."""
    failed = [run for run in report["runs"] if run["status"] in ("failed", "waiting")]
    told = []
    for run in failed[:3]:
        steps = ", ".join(step for step, status in run["steps"].items() if status in ("failed", "waiting"))
        told.append(
            f"{run['ingestor']}, step {steps or 'start'}, {run['organization'] or 'no organization'}: {run['error']}"
        )
    more = len(failed) - len(told)
    return "; ".join(told) + (f"; and {more} more" if more else "")

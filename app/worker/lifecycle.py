"""What a worker does when it comes, forks, is ready, and goes."""

import atexit
import logging
import threading
from collections.abc import Mapping
from contextvars import Token
from pathlib import Path
from typing import Any
from uuid import UUID

import click
import structlog
from celery import Celery, signals
from celery.utils.log import get_multiprocessing_logger
from click.core import ParameterSource
from sqlalchemy.exc import SQLAlchemyError

from app.core import process
from app.core.config import get_settings
from app.core.errors import ConfigurationError, DiscoveryNodeError
from app.core.logging import configure_logging
from app.db.session import LiveDatabase
from app.ingestors.base import IngestionFailedError
from app.services import losses, messages, workers
from app.worker import error_reports
from app.worker.metrics import PATIENCE, MetricsUnavailableError, NodeCollector, serve
from app.worker.node import node
from app.worker.recovery import Recovery

log = structlog.get_logger()

_SAYING = 15.0  # seconds between two signs of life


class Presence:
    """Says from a thread of its own that this worker lives."""

    def __init__(self, hostname: str) -> None:
        self._hostname = hostname
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._say, name="presence", daemon=True)

    def begin(self) -> bool:
        """True when this is the first worker of a system that was down."""
        self._thread.start()  # first: it goes on trying when the database is away now
        with node().database.transaction() as connection:
            return workers.join(connection, process.own_name(), self._hostname)

    def end(self) -> None:
        self._stop.set()
        self._thread.join()
        with node().database.transaction() as connection:
            workers.leave(connection, process.own_name())

    def _say(self) -> None:
        while not self._stop.wait(_SAYING):
            try:
                with node().database.transaction() as connection:
                    workers.stay(connection, process.own_name(), self._hostname)
            except (DiscoveryNodeError, SQLAlchemyError) as error:
                log.warning("no sign of life could be given; trying again", error=type(error).__name__)


_bound: dict[str, Mapping[str, Token[Any]]] = {}


def connect() -> None:
    """Connects the signals; called once, when the application is made."""
    signals.celeryd_init.connect(_begin)
    signals.beat_init.connect(_begin_beat)
    signals.setup_logging.connect(_set_up_logging)
    signals.task_prerun.connect(_name_task)
    signals.task_postrun.connect(_forget_task)
    signals.worker_init.connect(_come)
    signals.worker_process_init.connect(_forked)
    signals.worker_ready.connect(_ready)
    signals.task_revoked.connect(_revoked)


def _begin(options: Mapping[str, Any], **_: Any) -> None:
    """Before Celery does anything: what it warns of is an event already."""
    _set_up_logging(options.get("loglevel"), None)
    logging.captureWarnings(True)
    _report_errors()


def _begin_beat(**_: Any) -> None:
    _report_errors()


def _report_errors() -> None:
    try:
        error_reports.begin(get_settings())
    except ConfigurationError as error:
        raise SystemExit(f"error: {error}\n{error.remedy}") from None


def _set_up_logging(loglevel: int | None, logfile: str | None, **_: Any) -> None:
    """In place of Celery's own set-up: its lines become events like all others. `--loglevel` wins over LOG_LEVEL."""
    settings = get_settings()
    level = loglevel if loglevel and _is_given("loglevel") else settings.log_level
    configure_logging(level, libraries=level, form=settings.log_format, file=Path(logfile) if logfile else None)
    pool = get_multiprocessing_logger()
    assert pool is not None  # noqa: S101 - Celery needs billiard
    pool.propagate = True
    pool.setLevel(logging.ERROR)


def _is_given(option: str) -> bool:
    """Whether somebody asked for the option; Celery tells the same of one that has its default."""
    command = click.get_current_context(silent=True)
    return command is None or command.get_parameter_source(option) is not ParameterSource.DEFAULT


def _name_task(task_id: str, task: Any, **_: Any) -> None:
    """What a task logs has its name and id."""
    _bound[task_id] = structlog.contextvars.bind_contextvars(task=task.name, task_id=task_id)


def _forget_task(task_id: str, **_: Any) -> None:
    if task_id in _bound:
        structlog.contextvars.reset_contextvars(**_bound.pop(task_id))


def _come(**_: Any) -> None:
    """The database is there and has this version's schema, or the worker does not start."""
    try:
        node()
    except DiscoveryNodeError as error:
        raise SystemExit(f"error: {error}\n{error.remedy}") from None


def _forked(**_: Any) -> None:
    """A child has connections of its own: those of its parent stay its parent's."""
    node().database.engine.dispose(close=False)


def _ready(sender: Any, **_: Any) -> None:
    """Takes up what workers of this machine left when they were killed, and starts everything if that is wanted."""
    presence = Presence(sender.hostname)
    is_first = presence.begin()
    recovery = Recovery(sender.app, node().settings.recovery_interval)
    # Celery's own signal is not sent by a worker that gives its tasks back.
    atexit.register(_go, presence, recovery)
    recovery.begin()
    triggered = 0
    if is_first and node().settings.trigger_ingestion_on_startup:
        from app.worker.tasks.ingest import trigger_all

        triggered = trigger_all()
    _serve_metrics(sender.app)
    log.info("worker ready", worker=sender.hostname, first=is_first, triggered=triggered)


def _serve_metrics(app: Celery) -> None:
    """One worker of a machine does it; for the others the port is taken."""
    settings = node().settings
    if settings.metrics_port is None:
        return
    url = node().database.engine.url.render_as_string(hide_password=False)
    collector = NodeCollector(LiveDatabase(url, patience=PATIENCE), app)
    try:
        port = serve(collector, settings.metrics_host, settings.metrics_port)
    except MetricsUnavailableError as error:
        log.warning("no metrics are served here", error=str(error), remedy=error.remedy)
    else:
        log.info("metrics are served", host=settings.metrics_host, port=port)


def _go(presence: Presence, recovery: Recovery) -> None:
    """Gives back what children held that were ended before they could do so themselves."""
    recovery.end()
    try:
        presence.end()
        released = losses.release_lost(node().database)
    except (DiscoveryNodeError, SQLAlchemyError) as error:
        log.warning("the database is away; what this worker held is released by recovery", error=str(error))
        return
    log.info("worker gone", released=released)


def _revoked(sender: Any, request: Any, expired: bool, **_: Any) -> None:
    """A start that an operator revoked is over; one whose message expired may have another."""
    if not expired:
        with node().database.transaction() as connection:
            messages.revoke(connection, UUID(request.id))
        # Celery told whoever asked for this one; those who asked for the same are told here.
        sender.on_failure(IngestionFailedError("It was revoked"), request.id, (), {}, None)

"""What `doctor` finds about broker, workers and beat.

To who never used them that they are not there is worth a note; where tasks were sent it is something broken."""

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy.exc import SQLAlchemyError

from app.cli.findings import Finding, State
from app.cli.output import counted
from app.core.config import Settings
from app.core.errors import DiscoveryNodeError
from app.db.session import connect
from app.services import metrics
from app.services.metrics import Outcomes, Readings
from app.worker.celery_app import celery_app
from app.worker.metrics import PATIENCE
from app.worker.queues import waiting
from app.worker.redis_server import require_broker, require_results

_LAG = 300.0  # seconds
_MISSED = 3  # intervals of the recovery
_UP = "Run `discovery-node up`"


@dataclass(frozen=True)
class _Ledger:
    """What the database knows of workers."""

    now: Readings
    outcomes: Outcomes
    is_used: bool


def worker_findings(settings: Settings) -> Iterator[Finding]:
    """How it is with everything that works by itself. A database that cannot be asked is another finding's matter."""
    ledger = _ledger(settings)
    missing: State = "broken" if ledger is not None and ledger.is_used else "note"
    broker = _broker(settings, missing)
    yield broker
    if broker.state == "ok":
        yield from _results(settings, missing)
    if ledger is None:
        return
    yield _workers(ledger.now, missing)
    yield _beat(ledger.now, settings, missing)
    if ledger.is_used:
        yield _lag(ledger.now, _messages() if broker.state == "ok" else None)
        yield _outcomes(ledger.outcomes)


def _ledger(settings: Settings) -> _Ledger | None:
    try:
        with connect(settings, patience=PATIENCE).transaction() as connection:
            return _Ledger(metrics.read(connection), metrics.outcomes(connection), metrics.has_used_workers(connection))
    except (DiscoveryNodeError, SQLAlchemyError):
        return None


def _broker(settings: Settings, missing: State) -> Finding:
    try:
        place = require_broker(settings)
    except DiscoveryNodeError as error:
        remedy = f"{_UP}, which brings its own Redis. Or: {error.remedy}"
        return Finding(missing, "broker", str(error), remedy)
    return Finding("ok", "broker", f"{place} answers")


def _results(settings: Settings, missing: State) -> Iterator[Finding]:
    try:
        place = require_results(settings)
    except DiscoveryNodeError as error:
        yield Finding(missing, "results", str(error), error.remedy)
        return
    if place is not None:
        yield Finding("ok", "results", f"{place} answers")


def _workers(now: Readings, missing: State) -> Finding:
    if now.workers:
        return Finding("ok", "workers", f"{counted(now.workers, 'worker')} alive")
    told = "none was heard of within the last minute"
    return Finding(missing, "workers", told, f"{_UP}, or start `celery -A app.worker.celery_app worker`.")


def _beat(now: Readings, settings: Settings, missing: State) -> Finding:
    remedy = f"{_UP}, or start `celery -A app.worker.celery_app beat`."
    if now.beat_age is None:
        return Finding(missing, "beat", "none ever sent anything that was due", remedy)
    told = f"it sent something {counted(round(now.beat_age), 'second')} ago"
    if now.beat_age > _MISSED * settings.recovery_interval:
        return Finding(missing, "beat", f"{told}, and should every {settings.recovery_interval}", remedy)
    return Finding("ok", "beat", told)


def _messages() -> str | None:
    """How many wait where; None when that cannot be known."""
    depths = waiting(celery_app, patience=PATIENCE)
    return None if depths is None else ", ".join(f"{depth:,} in {queue}" for queue, depth in depths.items())


def _lag(now: Readings, messages: str | None) -> Finding:
    told = f"{counted(now.queued, 'start')} queued, {now.running:,} running"
    told += f", messages: {messages}" if messages else ""
    if now.oldest_queued > _LAG:
        told += f"; the one that waits longest was due {now.oldest_queued / 60:,.0f} minutes ago"
        return Finding("note", "lag", told, "See `discovery-node runs`; start more workers if they are all busy.")
    return Finding("ok", "lag", told)


def _outcomes(outcomes: Outcomes) -> Finding:
    failed, held = counted(outcomes.failed, "start"), outcomes.held
    if not (outcomes.failed or held):
        return Finding("ok", "starts", "none of the last day failed or is held")
    told = f"of the last day {failed} failed and {held:,} {'is' if held == 1 else 'are'} held"
    return Finding("note", "starts", told, "See `discovery-node runs` and `discovery-node issues`.")

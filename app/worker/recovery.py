"""Recovery of what was lost: every worker does it beside its children, so that it never waits for one of them to be
free, and the task `ingest:recover` does it for beat and whoever calls it. Many at once do no harm."""

import threading

import structlog
from celery import Celery

from app.ingestors.bulkhead import bulkhead, words_of
from app.services import losses, messages
from app.worker.node import node
from app.worker.queues import are_idle
from app.worker.tasks.base import send_again

log = structlog.get_logger()

_LEAVE = 5.0  # seconds


def recover(app: Celery) -> dict[str, int]:
    """Takes starts from lost workers, ends those that nobody began in time, and sends again what is due."""
    released = losses.release_lost(node().database)
    expired = messages.expire(node().database)
    idle = are_idle(app)
    with node().database.transaction() as connection:
        due = messages.due(connection, idle=idle)
    sent = send_again(app, due)
    if released or expired or sent:
        log.info("recovered", released=released, expired=expired, sent=sent)
    return {"released": released, "expired": expired, "sent": sent}


class Recovery:
    """Recovers from a thread of its own, at once and then every so many seconds, whatever goes wrong meanwhile."""

    def __init__(self, app: Celery, interval: float) -> None:
        self._app = app
        self._interval = interval
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._go_on, name="recovery", daemon=True)

    def begin(self) -> None:
        self._thread.start()

    def end(self) -> None:
        """What takes longer is dropped with the process: another worker does it."""
        self._stop.set()
        self._thread.join(_LEAVE)

    def _go_on(self) -> None:
        while not self._stop.is_set():
            with bulkhead(_put_off):
                recover(self._app)
            self._stop.wait(self._interval)


def _put_off(error: Exception) -> None:
    log.warning("nothing could be recovered; trying again", error=words_of(error)[0])

"""The queues of the broker."""

from typing import Any

from celery import Celery
from kombu.exceptions import ChannelError, OperationalError

CONTROL, INGEST, EMBED = "control", "ingest", "embed"
QUEUES = (CONTROL, INGEST, EMBED)

LONGEST_COUNTDOWN = 1320
"""Seconds that a message waits at a worker at most; for a longer wait the ledger has one sent when it is time."""

ROUTES = {
    "ingest:all": INGEST,
    "ingest:release": INGEST,
    "ingest:registry": INGEST,
    "ingest:feed": INGEST,
    "ingest:shard": INGEST,
    "ingest:vector": EMBED,
    "ingest:update_embeddings": EMBED,
    "ingest:embed": EMBED,
}
"""Where tasks wait; all others in `control`."""


def depths(app: Celery, *, patience: int = 5) -> dict[str, int]:
    """How many messages wait in each queue. Raises `OperationalError` when the broker does not answer, or not within
    some seconds' `patience`."""
    impatient = {"socket_connect_timeout": patience, "socket_timeout": patience}
    with app.connection_for_read(transport_options=impatient, connect_timeout=patience) as connection:
        connection.ensure_connection(max_retries=1, interval_start=0, timeout=patience)
        try:
            with connection.channel() as channel:
                return {name: _depth(channel, name) for name in QUEUES}
        except connection.connection_errors as error:
            raise OperationalError(str(error)) from error


def waiting(app: Celery, *, patience: int) -> dict[str, int] | None:
    """The same; None when the broker does not answer."""
    try:
        return depths(app, patience=patience)
    except OperationalError:
        return None


def are_idle(app: Celery) -> bool:
    """Whether no message for an ingestion waits."""
    found = waiting(app, patience=5)
    return found is not None and found[INGEST] == found[EMBED] == 0


def _depth(channel: Any, queue: str) -> int:
    try:
        depth: int = channel.queue_declare(queue=queue, passive=True).message_count
    except ChannelError:
        return 0  # an empty queue is no queue to Redis
    return depth

"""Metrics for Prometheus: the ledger and the queues as they are when somebody asks, so that every machine of a node
tells the same."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

import structlog
from celery import Celery
from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric, SummaryMetricFamily
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from app.core.errors import DiscoveryNodeError
from app.db.session import LiveDatabase
from app.services import metrics
from app.services.metrics import Pending, Readings
from app.worker import queues

log = structlog.get_logger()

T = TypeVar("T")

DEFAULT_PORT = 9808
PATIENCE = 2  # seconds that a scrape waits for a database, or a broker, that does not answer
_PAUSES = 20  # looking at what is pending takes up no more than this part of the time


class MetricsUnavailableError(DiscoveryNodeError):
    """The metrics cannot be served where they should be."""

    def __init__(self, host: str, port: int, error: OSError) -> None:
        super().__init__(
            f"Metrics cannot be served at {host}:{port}: {error.strerror or error}",
            remedy="Choose another METRICS_PORT or METRICS_HOST; one server tells about the whole node.",
        )


class _Family(NamedTuple):
    """A counter of the ledger as Prometheus sees it."""

    name: str
    told: str
    labels: tuple[str, ...] = ()


_COUNTERS = {
    "runs": _Family("cmp_runs", "Runs that ended, each an organization's part of a start", ("ingestor", "status")),
    "starts": _Family("cmp_starts", "Starts that ended", ("ingestor", "status")),
    "items": _Family("cmp_items", "Items of feeds by what became of them", ("kind", "verdict")),
    "products_indexed": _Family("cmp_products_indexed", "Products embedded and put into the search index"),
    "index_requests": _Family("cmp_index_requests", "Requests to an index outside of the database", ("index",)),
    "index_records": _Family("cmp_index_records", "Records it acknowledged", ("index",)),
    "index_bytes": _Family("cmp_index_bytes", "Bytes it was sent", ("index",)),
    "index_throttled": _Family("cmp_index_throttled", "Times it said to slow down", ("index",)),
    "leases_lost": _Family("cmp_leases_lost", "Starts taken from workers that were lost"),
}


@dataclass(eq=False)
class NodeCollector:
    """Reads everything anew for each scrape, but for what is pending, which is remembered for a while where it took
    long to find out. What cannot be known now is left out."""

    database: LiveDatabase
    app: Celery
    _scraping: threading.Lock = field(default_factory=threading.Lock, init=False)
    _pending: Pending | None = field(default=None, init=False)
    _due: float = field(default=0.0, init=False)
    _trouble: str | None = field(default=None, init=False)

    def collect(self) -> Iterator[Metric]:
        with self._scraping:
            readings = self._ask(metrics.read)
            pending = self._look_for_pending() if readings else None
            depths = queues.waiting(self.app, patience=PATIENCE)
        yield _gauge("cmp_database_up", "Whether the database answers", float(readings is not None))
        yield _gauge("cmp_broker_up", "Whether the broker answers", float(depths is not None))
        if readings is not None:
            yield from _of_ledger(readings)
        if pending is not None:
            yield _gauge("cmp_products_pending", "Products to be put into the search index", pending.products)
            yield _gauge("cmp_oldest_pending_seconds", "Since the oldest of them changed", pending.oldest)
        if depths is not None:
            yield _gauges("cmp_queue_depth", "Messages that wait in the broker", "queue", depths)

    def describe(self) -> list[Metric]:
        """Nothing: what is collected is not known beforehand, and need not be read to be registered."""
        return []

    def _look_for_pending(self) -> Pending | None:
        began = time.monotonic()
        if began >= self._due:
            self._pending = self._ask(metrics.pending)
            ended = time.monotonic()
            self._due = ended + (ended - began) * _PAUSES
        return self._pending

    def _ask(self, question: Callable[[Connection], T]) -> T | None:
        """None when the database is away, or refuses; that is logged once."""
        try:
            with self.database.transaction() as connection:
                answer = question(connection)
        except (DiscoveryNodeError, SQLAlchemyError) as error:
            told = str(error).partition("\n")[0]
            if told != self._trouble:
                log.warning("the ledger cannot be read", error=told)
            self._trouble = told
            return None
        self._trouble = None
        return answer


def registry_of(collector: NodeCollector) -> CollectorRegistry:
    """What Prometheus' library asks when somebody asks it."""
    registry = CollectorRegistry()
    registry.register(collector)
    return registry


def serve(collector: NodeCollector, host: str, port: int) -> int:
    """Serves metrics from threads of this process, until it ends; returns the port, which is another when it is 0.
    Raises `MetricsUnavailableError`."""
    try:
        server, _ = start_http_server(port, host, registry_of(collector))
    except OSError as error:
        raise MetricsUnavailableError(host, port, error) from error
    return server.server_port


def _of_ledger(readings: Readings) -> Iterator[Metric]:
    yield from _counted(readings.counters)
    opened = {"queued": readings.queued, "running": readings.running}
    yield _gauges("cmp_open_starts", "Starts that are queued or running", "status", opened)
    yield _gauge("cmp_oldest_queued_seconds", "Since the start that waits longest was due", readings.oldest_queued)
    told = "Since the feed of the organization was last applied"
    yield _gauges("cmp_feed_age_seconds", told, "organization", readings.feed_ages)
    yield _gauge("cmp_feeds_held", "Feeds whose last publication would delete too much", readings.feeds_held)
    yield _gauge("cmp_workers_alive", "Workers that were heard of within the last minute", readings.workers)
    if readings.beat_age is not None:
        yield _gauge("cmp_beat_age_seconds", "Since a beat last sent the recovery of lost work", readings.beat_age)


def _counted(counters: list[tuple[str, dict[str, str], float]]) -> Iterator[Metric]:
    """The counters; one without labels that counted nothing yet is 0."""
    families = {
        name: CounterMetricFamily(family.name, family.told, labels=family.labels) for name, family in _COUNTERS.items()
    }
    values = {(name, tuple(labels[each] for each in sorted(labels))): value for name, labels, value in counters}
    for name, family in _COUNTERS.items():
        if not family.labels:
            values.setdefault((name, ()), 0.0)
    steps = SummaryMetricFamily("cmp_step_seconds", "Time that steps of runs took", labels=["step"])
    for (name, labels), value in values.items():
        if name in families:
            families[name].add_metric(labels, value)
        elif name == "step_seconds":
            steps.add_metric(labels, count_value=int(values["steps", labels]), sum_value=value)
    yield from families.values()
    yield steps


def _gauge(name: str, told: str, value: float) -> Metric:
    return GaugeMetricFamily(name, told, value=value)


def _gauges(name: str, told: str, label: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(name, told, labels=[label])
    for labelled, value in values.items():
        family.add_metric([labelled], value)
    return family

"""Metrics as Prometheus reads them: over HTTP, in its own format, from a worker and from a process that does nothing
else."""

import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from uuid import uuid4

from prometheus_client.openmetrics.parser import text_string_to_metric_families

from app.db.session import LiveDatabase
from app.services import messages
from app.services.messages import Wanted
from tests.acceptance.conftest import COMMAND, CommandLine
from tests.support.feeds import ORGANIZATION, FeedFolder, product
from tests.support.processes import Process, Processes, processes, until

Samples = dict[tuple[str, ...], float]


def scrape(port: int) -> Samples:
    """The samples by name and label values, as Prometheus asks for them and takes them apart."""
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    told = connection.getresponse().read().decode()
    connection.close()
    return {
        (sample.name, *(sample.labels[label] for label in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(told)
        for sample in family.samples
    }


def port_of(worker: Process) -> int:
    (told,) = worker.events("metrics are served")
    return int(told["port"])


@contextmanager
def exporter(node: Processes, **variables: str) -> Iterator[tuple[int, subprocess.Popen[str]]]:
    """`discovery-node metrics`, and the port it serves them at."""
    process = subprocess.Popen(
        [COMMAND, "metrics", "--port", "0"], cwd=node.folder, env=node.environment | variables, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        said = process.stdout.readline()
        yield int(said.partition("127.0.0.1:")[2].partition("/")[0]), process
    finally:
        process.kill()
        process.communicate()


def test_a_worker_tells_of_the_whole_node(tmp_path: Path, database: LiveDatabase, database_url: str) -> None:
    arguments = {"ingestor_name": "acme", "source_type": "local", "registry_path": None}
    with database.transaction() as connection:
        # Nobody serves its queue; the worker's first recovery sends its message.
        messages.record(connection, Wanted(uuid4(), "ingest:vector", "acme", arguments))
    folder = FeedFolder(tmp_path / "publisher")
    folder.publish([product(1), product(2), product(3, name="")])
    with processes(tmp_path, database_url) as node:
        worker = node.worker("--queues=ingest,control", METRICS_PORT="0")
        node.call("ingest:feed", "acme", "local", str(folder.index))
        until(lambda: worker.events("run ended"))
        port = port_of(worker)
        found = until(lambda: now if (now := scrape(port)).get(("cmp_starts_total", "acme", "success")) else None)

        second = node.worker("-n", "second@%h", "--queues=ingest", METRICS_PORT=str(port))
        (warning,) = second.events("no metrics are served here")
        both = scrape(port)
    assert found["cmp_database_up",] == found["cmp_broker_up",] == found["cmp_workers_alive",] == 1
    assert found["cmp_runs_total", "acme", "success"] == 1
    assert found["cmp_items_total", "products", "inserted"] == found["cmp_products_indexed_total",] == 2
    assert found["cmp_items_total", "products", "rejected"] == 1
    assert found["cmp_step_seconds_count", "feed"] == 1
    assert 0 < found["cmp_step_seconds_sum", "feed"] < 20
    assert 0 <= found["cmp_feed_age_seconds", ORGANIZATION] < 20
    assert found["cmp_queue_depth", "embed"] == found["cmp_open_starts", "queued"] == 1
    assert 0 < found["cmp_oldest_queued_seconds",] < 20
    assert found["cmp_products_pending",] == found["cmp_oldest_pending_seconds",] == 0
    assert found["cmp_leases_lost_total",] == found["cmp_feeds_held",] == found["cmp_open_starts", "running"] == 0
    assert ("cmp_beat_age_seconds",) not in found
    assert both["cmp_workers_alive",] == 2
    assert f"127.0.0.1:{port}" in warning["error"]


def test_a_port_that_is_taken_is_named(command: CommandLine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        told = command.refused("metrics", code=1, METRICS_PORT=port, DATABASE_URL="postgresql://127.0.0.1:1/none")
    assert f"127.0.0.1:{port}" in told
    assert "METRICS_PORT" in told


def test_what_is_away_is_told_at_once(tmp_path: Path, database: LiveDatabase, database_url: str) -> None:
    with database.transaction() as connection:
        connection.exec_driver_sql("INSERT INTO beat_slots VALUES ('recover', now(), now() - interval '1 hour')")
    with processes(tmp_path, database_url) as node, exporter(node) as (port, process):
        found = scrape(port)
        assert 3600 <= found["cmp_beat_age_seconds",] < 3620
        assert found["cmp_workers_alive",] == found["cmp_products_pending",] == 0
        process.send_signal(signal.SIGINT)
        assert process.wait(5) == 0

        away = {
            "DATABASE_URL": "postgresql://me:secret@127.0.0.1:1/none", "CELERY_BROKER_URL": "redis://127.0.0.1:1/0"
        }  # fmt: skip
        with exporter(node, **away) as (port, process):
            began = time.monotonic()
            assert scrape(port) == scrape(port) == {("cmp_database_up",): 0, ("cmp_broker_up",): 0}
            assert time.monotonic() - began < 2
            process.terminate()
            assert process.wait(5) == 0
            assert process.stderr is not None
            said = process.stderr.read()
    assert said.count("does not answer") == 1
    assert "Traceback" not in said
    assert "secret" not in said

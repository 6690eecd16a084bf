"""What a real worker sends to a server that takes Sentry's envelopes."""

import gzip
import json
import platform
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import brotli
import psycopg
import pytest

from tests.support.faulty_app import CONTENT
from tests.support.feeds import FeedFolder, encode, organization_entry, product
from tests.support.processes import processes, until

APP = "tests.support.faulty_app"
UNPACKING = {"gzip": gzip.decompress, "br": brotli.decompress, None: bytes}


class Sentry(HTTPServer):
    """Keeps what it is sent."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.received: list[bytes] = []

    @property
    def dsn(self) -> str:
        return f"http://key@127.0.0.1:{self.server_port}/1"


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        assert isinstance(self.server, Sentry)
        self.server.received.append(UNPACKING[self.headers["Content-Encoding"]](body))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def sentry() -> Iterator[Sentry]:
    with Sentry() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_only_what_nobody_foresaw_is_reported_and_nothing_of_what_was_worked_on(
    tmp_path: Path, database_url: str, sentry: Sentry
) -> None:
    with processes(tmp_path, database_url) as node:
        worker = node.worker(app=APP, SENTRY_DSN=sentry.dsn)
        node.call("test:foreseen", app=APP)
        task_id = node.call("test:unforeseen", CONTENT, app=APP)
        until(lambda: sentry.received)
        assert worker.stop() == 0
    (envelope,) = sentry.received
    event = json.loads(envelope.splitlines()[2])
    values = event["exception"]["values"]
    assert [(each["type"], each["value"]) for each in values] == [
        ("KeyError", "KeyError"), ("RuntimeError", "RuntimeError"),
    ]  # fmt: skip
    assert values[1]["stacktrace"]["frames"][-1]["function"] == "unforeseen"
    assert event["server_name"] == platform.node()
    assert event["tags"] == {"task": "test:unforeseen", "task_id": task_id}
    assert CONTENT.encode() not in envelope
    assert str(tmp_path).encode() not in envelope  # the environment and the command line stay here


def test_what_breaks_one_brand_is_reported_and_stops_no_other(
    tmp_path: Path, database_url: str, sentry: Sentry
) -> None:
    organizations = [f"urn:cmp:org:{name}.example" for name in ("broken", "sound")]
    for urn in organizations:
        FeedFolder(tmp_path / urn[12:], urn).publish([product(1, urn, name=CONTENT)])
    entries = [
        organization_entry(urn, name=urn, productFeed={"@type": "DataFeed", "url": f"{urn[12:]}/feed/index.json"})
        for urn in organizations
    ]
    registry = tmp_path / "registry.json"
    registry.write_bytes(encode(entries))
    with processes(tmp_path, database_url) as node:
        with psycopg.connect(database_url.replace("+psycopg", "")) as connection:
            connection.execute(f"""
                CREATE FUNCTION no_idea() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                    IF starts_with(NEW.urn, '{organizations[0]}') THEN RAISE '{CONTENT} is out of stock'; END IF;
                    RETURN NEW;
                END $$;
                CREATE TRIGGER no_idea BEFORE INSERT ON products FOR EACH ROW EXECUTE FUNCTION no_idea();
                """)
        worker = node.worker(SENTRY_DSN=sentry.dsn)
        task_id = node.call("ingest:all", "mall", "local", str(registry))
        until(lambda: sentry.received)
        until(lambda: len(worker.events("run ended")) == 2)
        assert worker.stop() == 0
    assert [event["status"] for event in worker.events("run ended")] == ["failed", "success"]
    (defect,) = worker.events("nobody foresaw this error")
    assert "Traceback" in defect["exception"]
    (envelope,) = sentry.received
    event = json.loads(envelope.splitlines()[2])
    assert event["tags"] == {"task": "ingest:all", "task_id": task_id}
    assert CONTENT.encode() not in envelope


def test_beat_reports_what_ends_it(tmp_path: Path, database_url: str, sentry: Sentry) -> None:
    with processes(tmp_path, database_url) as node:
        beat = node.start("beat", f"--scheduler={APP}:FaultyScheduler", SENTRY_DSN=sentry.dsn)
        until(beat.ended)
        until(lambda: sentry.received)
    (envelope,) = sentry.received
    (error,) = json.loads(envelope.splitlines()[2])["exception"]["values"]
    assert (error["type"], error["value"]) == ("RuntimeError", "RuntimeError")
    assert CONTENT.encode() not in envelope


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"SENTRY_DSN": "http://nonsense:secret"}, "SENTRY_DSN is not a DSN"),
        ({"SENTRY_DSN": "http://key@127.0.0.1/1", "PYTHONPATH": "{without}"}, "pip install discovery-node[sentry]"),
    ],
)
def test_what_cannot_be_done_is_told(tmp_path: Path, database_url: str, variables: dict[str, str], told: str) -> None:
    with processes(tmp_path, database_url) as node:
        # A package that is not installed is one that cannot be imported.
        (tmp_path / "without" / "sentry_sdk").mkdir(parents=True)
        (tmp_path / "without" / "sentry_sdk" / "__init__.py").write_text("raise ImportError")
        without = f"{tmp_path / 'without'}:{node.environment['PYTHONPATH']}"
        worker = node.start("worker", **{name: value.format(without=without) for name, value in variables.items()})
        assert worker.process.wait(20) == 1
    assert told in worker.said()
    assert "Traceback" not in worker.said()
    assert "secret" not in worker.said()

"""Logs: one line for an event, whoever logs it."""

import json
import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from app.core.logging import configure_logging, in_this_context

log = structlog.get_logger()


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root, own = logging.getLogger(), logging.getLogger("app")
    before = root.handlers[:], root.level, own.level
    yield
    for handler in root.handlers:
        handler.close()
    root.handlers[:] = before[0]
    root.setLevel(before[1])
    own.setLevel(before[2])
    structlog.reset_defaults()


def logged(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_own_events_and_those_of_libraries_look_alike(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", libraries="info")
    with structlog.contextvars.bound_contextvars(run="1"):
        log.info("shard read", items=3)
        logging.getLogger("kombu").info("connected to %s", "redis")
    log.debug("too much")
    own, foreign = logged(capsys)
    assert (own["event"], own["items"], own["run"], own["level"]) == ("shard read", 3, "1", "info")
    assert (foreign["event"], foreign["logger"], foreign["run"]) == ("connected to redis", "kombu", "1")
    assert own.keys() - foreign.keys() == {"items"}


def test_libraries_are_quiet_unless_they_are_asked(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("debug")
    log.debug("seen")
    logging.getLogger("alembic").info("not seen")
    logging.getLogger("alembic").warning("seen too")
    assert [event["event"] for event in logged(capsys)] == ["seen", "seen too"]


def test_of_what_celery_tells_along_only_the_task_is_taken(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", libraries="info")
    data = {"id": "7", "name": "ingest:all", "args": "['secret']"}
    logging.getLogger("celery").info("Task %(name)s received", data, extra={"data": data})
    (event,) = logged(capsys)
    assert (event["task"], event["task_id"], event["event"]) == ("ingest:all", "7", "Task ingest:all received")
    assert "secret" not in str(event)


def test_a_traceback_shows_no_variables(capsys: pytest.CaptureFixture[str]) -> None:
    for form in ("json", "console"):
        configure_logging("info", form=form)
        try:
            document = "content " * 3
            raise ValueError(len(document))
        except ValueError:
            logging.getLogger("celery").exception("it failed")
        said = capsys.readouterr().err
        assert "ValueError: 24" in said
        assert "content content" not in said


def test_a_thread_has_the_fields_of_who_started_it(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info")
    with structlog.contextvars.bound_contextvars(run="1"):
        thread = threading.Thread(target=in_this_context(log.info), args=("from a thread",))
    thread.start()
    thread.join()
    assert [event["run"] for event in logged(capsys)] == ["1"]


def test_a_file_can_be_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", file=tmp_path / "node.log")
    log.info("written")
    assert json.loads((tmp_path / "node.log").read_text())["event"] == "written"
    assert logged(capsys) == []

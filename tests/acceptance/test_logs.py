"""What worker and beat say: events with fields, in one form."""

from pathlib import Path

from tests.support.feeds import ORGANIZATION, FeedFolder, product
from tests.support.processes import processes, until

FIELDS = {"task", "task_id", "start", "run", "ingestor", "organization", "shard"}


def test_every_line_is_an_event_and_says_whose_it_is(tmp_path: Path, database_url: str) -> None:
    folder = FeedFolder(tmp_path / "publisher")
    # Enough to be done by several threads; the last is broken.
    folder.publish(*([product(number)] for number in range(9)), b"{")
    with processes(tmp_path, database_url) as node:
        worker = node.worker()
        task_id = node.call("ingest:feed", "acme", "local", str(folder.index))
        until(lambda: worker.events("tried again later") or worker.events("run ended"))
        beat = node.start("beat", LOG_LEVEL="debug")
        until(lambda: beat.events("beat: Starting..."))
        beat.stop()
        worker.stop()
        (unread,) = worker.events("shard not read")
        (ended,) = worker.events("run ended")
        (received,) = (each for each in worker.events() if each["event"] == f"Task ingest:feed[{task_id}] received")
    assert unread.keys() >= FIELDS
    assert (unread["task_id"], unread["start"], unread["ingestor"]) == (task_id, task_id, "acme")
    assert (unread["organization"], unread["shard"], unread["code"]) == (ORGANIZATION, "j.json", "shard-unreadable")
    assert (ended["run"], ended["organization"]) == (unread["run"], ORGANIZATION)
    assert (received["task"], received["task_id"]) == ("ingest:feed", task_id)
    assert {"debug", "info"} <= {event["level"] for event in beat.events()}


def test_the_option_wins_over_the_setting(tmp_path: Path, database_url: str) -> None:
    with processes(tmp_path, database_url) as node:
        worker = node.start("worker", "--loglevel=warning", "--pool=solo", LOG_LEVEL="debug")
        quiet = node.start("worker", "--pool=solo", "-n", "other@%h", LOG_LEVEL="info", LOG_FORMAT="console")
        until(lambda: " ready." in quiet.said())
    assert {event["level"] for event in worker.events()} == {"warning"}
    assert '"event"' not in quiet.said()

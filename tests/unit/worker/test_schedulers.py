"""What is scheduled, how it is told to Celery, and which due time a message is for."""

import pickle
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from celery.schedules import crontab
from hypothesis import given
from hypothesis import strategies as st

from app.core.config import Settings
from app.core.errors import ConfigurationError
from app.worker.celery_app import create
from app.worker.schedulers import get_beat_schedule, slot_of

NOW = datetime(2025, 3, 9, 12, 34, 56, 789_000, UTC)  # a Sunday
INGESTION = """
ingestion:
  - name: acme
    source_type: local
    registry: a/registry.json
    feed_path: a/feed.json
    schedule: "*/20 8-18/5 * jan,MAR 5-7"
  - {name: brand, source_type: local, feed_path: b.json, schedule: "0 4 * * *"}
  - {name: by-hand, source_type: local, registry: c.json}
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    path = tmp_path / "ingestion.yaml"
    path.write_text(INGESTION)
    return Settings(
        _env_file=None, data_dir=tmp_path / "data", ingestion_config_path=path, feed_check_interval=301,
        embedding_update_interval=302, cleanup_interval=303, recovery_interval=31,
    )  # fmt: skip


def test_everything_is_scheduled(settings: Settings) -> None:
    said = get_beat_schedule(settings)
    assert {name: (entry["task"], entry["args"], entry["schedule"]) for name, entry in said.items()} == {
        "check-feed-updates": ("ingest:check_feed_updates", [], 301),
        "ingest-all-acme": (
            "ingest:all",
            ["acme", "local", "a/registry.json", "a/feed.json"],
            crontab("0,20,40", "8,13,18", "0,5,6", "*", "1,3"),
        ),
        "ingest-all-brand": ("ingest:all", ["brand", "local", None, "b.json"], crontab("0", "4")),
        "update-embeddings": ("ingest:update_embeddings", [], 302),
        "cleanup-old-products": ("cleanup:old_products", [], crontab("0", "3")),
        "cleanup-orphaned-data": ("cleanup:orphaned_data", [], 303),
        "cleanup-celery-tasks": ("cleanup:celery_tasks", [], 303),
        "recover": ("ingest:recover", [], 31),
    }
    assert {entry["options"]["expires"] for entry in said.values()} == {3600}
    assert said["recover"]["options"]["headers"] == {"slot": {"name": "recover", "every": 31}}
    assert said["ingest-all-brand"]["options"]["headers"] == {"slot": {"name": "ingest-all-brand", "cron": "0 4 * * *"}}


def test_beat_finds_it_and_workers_do_without(settings: Settings) -> None:
    app = create(settings)
    settings.ingestion_config_path.unlink()
    app.finalize()
    assert app.conf.task_acks_late
    with pytest.raises(ConfigurationError, match=r"ingestion\.yaml does not exist"):
        dict(app.conf.beat_schedule)
    settings.ingestion_config_path.write_text(INGESTION)
    assert app.conf.beat_schedule == get_beat_schedule(settings)
    assert pickle.loads(pickle.dumps(app.conf.beat_schedule)) == app.conf.beat_schedule  # noqa: S301
    assert Path(app.conf.beat_schedule_filename).parent == settings.data_dir


@pytest.mark.parametrize(
    ("timing", "due"),
    [
        ({"every": 1}, datetime(2025, 3, 9, 12, 34, 56, tzinfo=UTC)),
        ({"every": 0.25}, datetime(2025, 3, 9, 12, 34, 56, 750_000, tzinfo=UTC)),
        ({"every": 300}, datetime(2025, 3, 9, 12, 30, tzinfo=UTC)),
        ({"every": 86_400.0}, datetime(2025, 3, 9, tzinfo=UTC)),
        ({"cron": "*/10 * * * *"}, datetime(2025, 3, 9, 12, 30, tzinfo=UTC)),
        ({"cron": "0 13 * * 7"}, datetime(2025, 3, 2, 13, tzinfo=UTC)),
    ],
)
def test_a_message_is_for_the_latest_due_time(timing: dict[str, Any], due: datetime) -> None:
    assert slot_of({"slot": {"name": "mine", **timing}, "other": 1}, NOW) == ("mine", due)


@pytest.mark.parametrize("headers", [None, {}, {"other": 1}, {"slot": {"name": "never", "cron": "0 0 30 2 *"}}])
def test_a_message_need_not_have_a_slot(headers: dict[str, Any] | None) -> None:
    assert slot_of(headers, NOW) is None


@given(st.floats(1, 1e7), st.datetimes(datetime(1971, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001
def test_slots_of_an_interval_follow_each_other(every: float, now: datetime) -> None:
    headers = {"slot": {"name": "mine", "every": every}}
    interval = timedelta(seconds=every)
    found = slot_of(headers, now)
    assert found is not None
    due = found[1]
    assert due <= now < due + interval
    assert slot_of(headers, due) == ("mine", due)
    assert slot_of(headers, due + interval) == ("mine", due + interval)

"""When tasks are started: the schedule, and beats that follow it.

A due time of a schedule is a slot. What beat sends carries the schedule's name and timing in its headers; the task base
class finds out with `slot_of` which slot a message is for, and publishes it only when that was free. So the same run is
started once, however many beats there are and of whatever kind."""

import time
from collections import UserDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import structlog
from celery import Celery
from celery.beat import PersistentScheduler, ScheduleEntry, Scheduler, SchedulingError
from celery.schedules import crontab, schedstate
from celery.schedules import schedule as interval
from kombu import Producer
from sqlalchemy.exc import SQLAlchemyError

from app.core.config import Settings, get_settings
from app.core.errors import ConfigurationError, DiscoveryNodeError
from app.db import schema
from app.db.session import connect
from app.ingestors.config import IngestionConfig, load_config
from app.ingestors.cron import latest, latest_multiple, simplify
from app.services import schedules
from app.services.schedules import Listed, Planned

EXPIRES = 3600  # seconds after which a message that nobody took is dropped
LOOK_INTERVAL = 2.0  # seconds between two looks at the table and at `ingestion.yaml`
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LONGEST_INTERVAL = 10 * 365 * 86_400  # seconds

log = structlog.get_logger()


def get_beat_schedule(settings: Settings | None = None) -> dict[str, dict[str, Any]]:
    """The schedule of `ingestion.yaml` and the settings in the form of Celery's `beat_schedule`. Raises
    `ConfigurationError`."""
    settings = settings or get_settings()
    return {
        entry.name: {
            "task": entry.task,
            "schedule": crontab.from_string(simplify(entry.cron)) if entry.cron is not None else entry.every,
            "args": list(entry.args),
            "options": _options(entry),
        }
        for entry in plan(settings, load_config(settings.ingestion_config_path))
    }


def plan(settings: Settings, config: IngestionConfig) -> list[Planned]:
    """What is started when, as far as files and settings say."""
    ingestions = [
        Planned(
            f"ingest-all-{entry.name}",
            "ingest:all",
            [entry.name, entry.source_type, entry.registry, entry.feed_path],
            cron=entry.schedule,
        )
        for entry in config.ingestion
        if entry.schedule is not None
    ]
    return [
        *ingestions,
        Planned("check-feed-updates", "ingest:check_feed_updates", every=settings.feed_check_interval),
        Planned("update-embeddings", "ingest:update_embeddings", every=settings.embedding_update_interval),
        Planned("cleanup-old-products", "cleanup:old_products", cron="0 3 * * *"),
        Planned("cleanup-orphaned-data", "cleanup:orphaned_data", every=settings.cleanup_interval),
        Planned("cleanup-celery-tasks", "cleanup:celery_tasks", every=settings.cleanup_interval),
        Planned("recover", "ingest:recover", every=settings.recovery_interval),
    ]


def slot_of(headers: Mapping[str, Any] | None, now: datetime) -> tuple[str, datetime] | None:
    """Schedule and due time that a message of beat is for: the latest at or before `now`. Intervals are due at their
    multiples since 1970, so that all beats agree. None for a message that has no slot."""
    slot = (headers or {}).get("slot")
    if slot is None:
        return None
    if (cron := slot.get("cron")) is not None:
        due = latest(cron, now)
        return None if due is None else (slot["name"], due)
    return slot["name"], latest_multiple(slot["every"], now)


def _options(entry: Planned) -> dict[str, Any]:
    timing = {"cron": entry.cron} if entry.cron is not None else {"every": entry.every}
    return {"expires": EXPIRES, "headers": {"slot": {"name": entry.name, **timing}}}


class DeclaredSchedule(UserDict[str, dict[str, Any]]):
    """`get_beat_schedule()`, asked when somebody looks: only beat does, and a worker needs no `ingestion.yaml`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @cached_property
    def data(self) -> dict[str, dict[str, Any]]:  # type: ignore[override]
        return get_beat_schedule(self._settings)


@contextmanager
def _told_shortly() -> Iterator[None]:
    """Ends the process with the two lines that help; Celery would print the error's traceback, twice."""
    try:
        yield
    except DiscoveryNodeError as error:
        raise SystemExit(f"error: {error}\n{error.remedy}") from None


class FileScheduler(PersistentScheduler):
    """The scheduler of plain `celery beat`: Celery's own. It reads `ingestion.yaml` once, when it starts."""

    schedule_filename: str

    def setup_schedule(self) -> None:
        with _told_shortly():
            len(self.app.conf.beat_schedule)
        Path(self.schedule_filename).parent.mkdir(parents=True, exist_ok=True)
        super().setup_schedule()


class SlotEntry(ScheduleEntry):
    """Its `last_run_at` is the slot it was started for, not the moment of that: however late a start is, the next one
    is on time, and what is due can be compared with the slots that were taken."""

    app: Celery
    name: str
    schedule: crontab | interval
    options: dict[str, Any]
    last_run_at: datetime

    def is_due(self) -> tuple[bool, float]:
        due = self._latest()
        wait = self.schedule.remaining_estimate(due).total_seconds()
        return schedstate(due > self.last_run_at, max(wait, 0.0))

    def __next__(self, last_run_at: datetime | None = None) -> ScheduleEntry:
        return super().__next__(last_run_at or self._latest())

    @property
    def slot(self) -> dict[str, Any]:
        """Name and timing. Celery adds another header of its own."""
        slot: dict[str, Any] = self.options["headers"]["slot"]
        return slot

    def _latest(self) -> datetime:
        found = slot_of(self.options["headers"], datetime.now(UTC))
        assert found is not None  # noqa: S101 - `_entry` makes none that is never due
        return found[1]


class Seeds:
    """What `ingestion.yaml` and the settings plan, while the file changes."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._seen: tuple[int, ...] | None = ()
        self.entries: list[Planned] = []
        self.stale = False  # whether the table has not been told of `entries` yet

    def look(self) -> None:
        """Reads the file if it is another than last time. One that is wrong changes nothing."""
        path = self._settings.ingestion_config_path
        seen = _signature(path)
        if seen == self._seen:
            return
        self._seen = seen
        try:
            entries = plan(self._settings, load_config(path))
        except ConfigurationError as error:
            log.error("schedule kept as it was", error=str(error), remedy=error.remedy)
            return
        self.stale = self.stale or entries != self.entries
        self.entries = entries


def _signature(path: Path) -> tuple[int, ...] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


class DatabaseScheduler(Scheduler):
    """Keeps the schedule in the table `schedules`, which `ingestion.yaml` and the settings seed, and follows both. An
    entry is due when its latest slot is not taken yet: so a run that was missed while no beat was up is started once,
    and one that could not be sent is tried again."""

    Entry = SlotEntry
    max_interval = int(LOOK_INTERVAL)
    schedule: dict[str, SlotEntry]  # type: ignore[assignment]

    def setup_schedule(self) -> None:
        self._settings = get_settings()
        with _told_shortly():
            self._database = connect(self._settings)
        self._seeds = Seeds(self._settings)
        self._rows: dict[str, Listed] | None = None  # as they were read last; None before the first time
        self._unsent: dict[str, datetime] = {}
        self._trouble: str | None = None  # why the table could not be read last
        self._look()

    def tick(self, *args: Any, **kwargs: Any) -> float:
        """Celery's, after a look at table and file when it is time for one. It does one entry a call."""
        if time.monotonic() >= self._next_look:
            self._look()
        return min(super().tick(*args, **kwargs), max(self._next_look - time.monotonic(), 0.0))

    def apply_entry(self, entry: ScheduleEntry, producer: Producer | None = None) -> None:
        assert isinstance(entry, SlotEntry)  # noqa: S101 - there are no others here
        try:
            sent = self.apply_async(entry, producer=producer, advance=False)
        except SchedulingError as error:
            log.error("due run not sent", schedule=entry.name, task=entry.task, error=str(error))
            self._unsent[entry.name] = entry.last_run_at
        else:
            self._unsent.pop(entry.name, None)
            tell = log.info if sent else log.debug
            tell("due run sent" if sent else "due run is another beat's", schedule=entry.name, task=entry.task)

    def close(self) -> None:
        super().close()
        self._database.engine.dispose()

    def _look(self) -> None:
        self._seeds.look()
        try:
            rows, slots = self._read()
        except (DiscoveryNodeError, SQLAlchemyError) as error:
            if str(error) != self._trouble:
                log.error("schedule kept as it was", error=str(error), remedy=getattr(error, "remedy", None))
            self._trouble = str(error)
        else:
            if self._trouble is not None:
                log.info("schedule is followed again")
            self._trouble = None
            self._adopt({row.name: row for row in rows if row.enabled}, slots)
        self._next_look = time.monotonic() + LOOK_INTERVAL

    def _read(self) -> tuple[list[Listed], dict[str, datetime]]:
        if self._rows is None:
            schema.prepare(self._database, upgrade_it=self._settings.database_url is None)
        with self._database.transaction() as connection:
            if self._seeds.stale:
                schedules.seed(connection, self._seeds.entries)
            found = schedules.listed(connection), schedules.last_slots(connection)
        self._seeds.stale = False
        return found

    def _adopt(self, rows: dict[str, Listed], slots: dict[str, datetime]) -> None:
        """Makes the rows the schedule. Entries of rows that are as they were stay; Celery's queue is built anew when
        anything is not, because it holds on to the entries it was built from."""
        if rows == self._rows and not self._unsent:
            return
        known = self._rows or {}
        entries = {
            name: self.schedule.get(name) if known.get(name) == row else self._entry(row, slots)
            for name, row in rows.items()
        }
        self.schedule = {name: entry for name, entry in entries.items() if entry is not None}
        for name, last_run_at in self._unsent.items():
            if name in self.schedule:
                self.schedule[name].last_run_at = last_run_at
        self._rows, self._unsent = rows, {}
        self._heap = None

    def _entry(self, row: Listed, slots: dict[str, datetime]) -> SlotEntry | None:
        """None for a row that an operator got wrong."""
        try:
            timing = self._timing(row)
        except ValueError as error:
            log.error("schedule is skipped", schedule=row.name, error=str(error))
            return None
        return SlotEntry(
            name=row.name,
            task=row.task,
            args=tuple(row.args),
            schedule=timing,
            options=_options(row),
            last_run_at=self._last_run_at(row, slots),
            app=self.app,
        )

    def _timing(self, row: Listed) -> crontab | interval:
        if row.task not in self.app.tasks:
            raise ValueError(f"there is no task {row.task!r}")
        if not isinstance(row.args, list):
            raise ValueError("args is not a list")
        if row.cron is not None and row.every is None:
            return crontab.from_string(simplify(row.cron))
        if row.every is not None and row.cron is None and 1 <= row.every <= _LONGEST_INTERVAL:
            return interval(row.every)
        raise ValueError(f"one of cron and every is needed, every from 1 to {_LONGEST_INTERVAL} seconds")

    def _last_run_at(self, row: Listed, slots: dict[str, datetime]) -> datetime:
        """The time after which it is due. When beat starts that is the slot taken last, by whichever beat. Without one,
        an interval is due at once, so that a new node begins by looking at its feeds, and a time of day from when the
        row was written on; a row that is timed anew or enabled while beat looks on is due from then on."""
        known = self.schedule.get(row.name)
        if known is not None and known.slot == _options(row)["headers"]["slot"]:
            return known.last_run_at
        if self._rows is not None:
            return datetime.now(UTC)
        return slots.get(row.name, row.updated_at if row.cron is not None else _EPOCH)

"""Tasks as a user sends them, and workers as a user runs them."""

import signal
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from celery import Celery
from sqlalchemy import text

from tests.conftest import _TEMPLATE, _administrate, _named
from tests.support.feeds import FeedFolder, product
from tests.support.nodes import counters
from tests.support.workers import Client, System, TaskFailedError, system, wait_until

MANY = 24  # shards, of so many items each
ITEMS = 150


@pytest.fixture(scope="module")
def module_url(server_url: str) -> Iterator[str]:
    _administrate(server_url, f"CREATE DATABASE workers TEMPLATE {_TEMPLATE}")
    yield _named(server_url, "workers")
    _administrate(server_url, "DROP DATABASE workers WITH (FORCE)")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, module_url: str) -> Iterator[System]:
    """A system with one worker of two children."""
    folder = tmp_path_factory.mktemp("system")
    (folder / "ingestion.yaml").write_text("ingestion: []\n")
    with system(folder, module_url, LEASE_SECONDS="5", RETRY_DELAY="1", RECOVERY_INTERVAL="1") as started:
        started.start_worker()
        yield started


@pytest.fixture(scope="module")
def client(running: System) -> Iterator[Client]:
    client = Client(running.environment, running.folder)
    yield client
    client.close()


class Brand:
    """A publisher with an ingestor of the same name."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        self.organization = f"urn:cmp:org:{name}.example"
        self.files = FeedFolder(folder / name, self.organization)
        self.arguments = [name, "local", str(self.files.registry), str(self.files.index)]

    def publish(self, *shards: list[Any] | bytes) -> None:
        self.files.publish(*shards)

    def publish_many(self, name: str) -> None:
        """So much that it takes a while, each file put in the place of the one before in one step."""
        items = [[self.product(f"{shard}-{n}", name=f"{name} {n}") for n in range(ITEMS)] for shard in range(MANY)]
        new = FeedFolder(self.files.path.with_name(f"{self.name}-{name}"), self.organization)
        new.publish(*items)
        for file in (*sorted(new.index.parent.glob("?.json")), new.index, new.registry):
            file.replace(self.files.path / file.relative_to(new.path))

    def product(self, key: int | str, **changes: Any) -> dict[str, Any]:
        return product(key, self.organization, description=None, **changes)


@pytest.fixture
def brand(running: System, request: pytest.FixtureRequest) -> Brand:
    return Brand(running.folder, f"b{uuid.uuid4().hex[:12]}")


def live(running: System, brand: Brand) -> dict[str, str]:
    found = running.rows(
        "SELECT p.urn, p.name FROM products p JOIN organizations o ON o.id = p.organization_id "
        "WHERE o.urn = :urn AND p.deleted_at IS NULL",
        urn=brand.organization,
    )
    return {row["urn"].rpartition(":")[2]: row["name"] for row in found}


def assert_whole(running: System, brand: Brand, name: str) -> None:
    """The publication of `publish_many` is what is live, and nothing else."""
    found = live(running, brand)
    assert len(found) == MANY * ITEMS
    assert {each.rpartition(" ")[0] for each in found.values()} == {name}
    with running.database.transaction() as connection:
        said, counted = counters(connection, brand.organization)
    assert said == counted


# --- what a task does ----------------------------------------------------------------------------------------------


def test_everything_in_one_task(running: System, client: Client, brand: Brand) -> None:
    brand.publish([brand.product(1), brand.product(2)])
    report = client.call("ingest:all", *brand.arguments)
    assert report["status"] == "success"
    assert list(report["results"]) == ["registry", "feed", "vector"]
    assert {step["status"] for step in report["results"].values()} == {"success"}
    assert report["results"]["registry"]["result"]["organizations"]["inserted"] == 1
    assert report["results"]["feed"]["result"]["products"]["inserted"] == 2
    assert report["results"]["vector"]["result"]["indexed"] == 2
    assert live(running, brand) == {"1": "Lamp 1", "2": "Lamp 2"}


def test_step_by_step(client: Client, brand: Brand) -> None:
    brand.publish([brand.product(1)])
    name, source, registry, feed = brand.arguments
    assert list(client.call("ingest:registry", name, source, registry)["results"]) == ["registry"]
    report = client.call("ingest:feed", name, source, feed)
    assert report["results"]["feed"]["result"]["products"]["inserted"] == 1
    assert report["results"]["vector"]["result"]["indexed"] == 1  # by itself
    assert client.call("ingest:vector", name, source, registry)["results"]["vector"]["status"] == "success"
    assert client.call("ingest:vector", name, source)["status"] == "success"


def test_without_a_registry_the_feed_and_its_vectors(client: Client, brand: Brand) -> None:
    brand.publish([brand.product(1)])
    report = client.call("ingest:all", brand.name, "local", None, brand.arguments[3])
    assert report["results"]["registry"]["status"] == "skipped"
    assert report["results"]["vector"]["result"]["indexed"] == 1


def test_arguments_that_do_not_fit_are_refused_where_they_are_sent(running: System, client: Client) -> None:
    before = running.rows("SELECT count(*) AS n FROM starts")
    with pytest.raises(TaskFailedError, match="TypeError: missing a required argument"):
        client.delay("ingest:all", "x")
    assert running.rows("SELECT count(*) AS n FROM starts") == before


# --- once ----------------------------------------------------------------------------------------------------------


def test_simultaneous_starts_are_one_or_two_and_all_are_told(running: System, client: Client, brand: Brand) -> None:
    brand.publish([brand.product(1)])
    sent = [client.delay("ingest:all", *brand.arguments) for _ in range(6)]
    reports = [client.get(each) for each in sent]
    assert {report["status"] for report in reports} == {"success"}
    statuses = [start["status"] for start in running.starts(brand.name)]
    assert 1 <= statuses.count("success") <= 3
    assert statuses.count("success") + statuses.count("coalesced") == 6
    assert running.rows(
        "SELECT revision FROM feeds WHERE ingestor = :name", name=brand.name
    ) == [{"revision": 1}]  # fmt: skip


def test_a_message_that_comes_twice_or_late_does_nothing_twice(running: System, client: Client, brand: Brand) -> None:
    brand.publish([brand.product(1)])
    first = client.delay("ingest:all", *brand.arguments)
    report = client.get(first)
    client.delay("ingest:all", *brand.arguments, task_id=first)
    client.call("ingest:recover")  # by now the message was taken
    assert client.get(first) == report
    start = running.start_of(first)
    assert (start["attempt"], start["status"]) == (1, "success")


def test_a_message_of_somebody_who_only_knows_names(running: System, brand: Brand) -> None:
    brand.publish([brand.product(1)])
    stranger = Celery(
        broker=running.environment["CELERY_BROKER_URL"], backend=running.environment["CELERY_RESULT_BACKEND"]
    )
    report = stranger.send_task("ingest:all", brand.arguments, queue="ingest").get(timeout=30)
    assert report["status"] == "success"
    assert [start["status"] for start in running.starts(brand.name)] == ["success"]


def test_a_publication_that_comes_during_a_run_is_not_lost(running: System, client: Client, brand: Brand) -> None:
    brand.publish_many("Old")
    first = client.delay("ingest:all", *brand.arguments)
    running.busy_child(brand.name)
    brand.publish_many("New")
    second = client.delay("ingest:all", *brand.arguments)
    third = client.delay("ingest:all", *brand.arguments)
    assert [client.get(each, timeout=60)["status"] for each in (first, second, third)] == ["success"] * 3
    assert_whole(running, brand, "New")
    assert [start["status"] for start in running.starts(brand.name)] == ["success", "success", "coalesced"]


# --- what fails ----------------------------------------------------------------------------------------------------


def test_a_malformed_feed_is_final_at_once(running: System, client: Client, brand: Brand) -> None:
    brand.publish(b"{")
    sent = client.delay("ingest:all", *brand.arguments)
    with pytest.raises(TaskFailedError, match=rf"IngestionFailedError: {brand.name}, step feed, {brand.organization}"):
        client.get(sent)
    assert client.state(sent) == "FAILURE"
    start = running.start_of(sent)
    assert (start["status"], start["failures"]) == ("failed", 0)


def test_what_cannot_be_reached_is_tried_again_and_then_failed(running: System, client: Client, brand: Brand) -> None:
    brand.publish([brand.product(1)], [brand.product(2)])
    brand.files.shard("b.json").unlink()
    sent = client.delay("ingest:all", *brand.arguments)
    with pytest.raises(TaskFailedError, match="step feed"):
        client.get(sent)
    start = running.start_of(sent)
    assert (start["status"], start["failures"], start["attempt"]) == ("failed", 3, 4)
    assert [run["status"] for run in running.rows("SELECT status FROM runs WHERE start_id = :id", id=sent)] == [
        "failed"
    ]
    assert live(running, brand) == {}


def test_what_can_be_reached_again_goes_on_where_it_was(running: System, client: Client, brand: Brand) -> None:
    brand.publish([brand.product(1)], [brand.product(2)])
    brand.files.shard("b.json").rename(brand.files.path / "away")
    sent = client.delay("ingest:all", *brand.arguments)
    wait_until(lambda: running.start_of(sent)["failures"] > 0)
    (brand.files.path / "away").rename(brand.files.shard("b.json"))
    report = client.get(sent)
    assert report["status"] == "success"
    assert report["results"]["feed"]["result"]["shards"] == {"read": 2, "unchanged": 0, "failed": 0}
    assert live(running, brand) == {"1": "Lamp 1", "2": "Lamp 2"}


def test_a_start_that_nobody_begins_in_time_is_failed(running: System, client: Client, brand: Brand) -> None:
    sent = client.delay("ingest:all", *brand.arguments, queue="control", expires=0.001, countdown=3)
    wait_until(lambda: client.call("ingest:recover") and running.start_of(sent)["status"] == "failed")
    assert "No worker began it in time" in running.start_of(sent)["error"]


# --- what is lost --------------------------------------------------------------------------------------------------


def test_a_killed_child_costs_no_attempt_and_what_it_staged_is_taken_over(
    running: System, client: Client, brand: Brand
) -> None:
    brand.publish_many("Lamp")
    sent = client.delay("ingest:all", *brand.arguments)
    child = running.busy_child(brand.name)
    wait_until(lambda: staged(running, sent) >= 5)
    child.kill()
    report = client.get(sent, timeout=60)
    assert report["status"] == "success"
    start = running.start_of(sent)
    assert (start["failures"], start["lost"] >= 1, start["attempt"] >= 2) == (0, True, True)
    assert "going on with staged shards" in running.log()
    assert_whole(running, brand, "Lamp")


def test_a_worker_that_stops_softly_gives_back_what_it_holds(running: System, client: Client, brand: Brand) -> None:
    other = running.start_worker("-Q", "ingest", concurrency=1)
    brand.publish_many("Lamp")
    running.control(0, "cancel_consumer", queue="ingest")
    sent = client.delay("ingest:all", *brand.arguments)
    holder = running.busy_child(brand.name)
    assert holder.ppid() == other.pid
    wait_until(lambda: staged(running, sent) >= 2)
    psutil.Process(other.pid).send_signal(signal.SIGTERM)
    holder.send_signal(signal.SIGTERM)  # as the worker does to its children when its time is up
    running.control(0, "add_consumer", queue="ingest")
    report = client.get(sent, timeout=60)
    assert report["status"] == "success"
    assert (running.start_of(sent)["failures"], running.start_of(sent)["lost"]) == (0, 0)
    assert "interrupted; it goes on where it was" in running.log(len(running.running) - 1)
    other.wait(30)


def test_time_that_is_up_spends_no_attempt(running: System, client: Client, brand: Brand) -> None:
    brand.publish_many("Lamp")
    sent = client.delay("ingest:all", *brand.arguments, soft_time_limit=1)
    report = client.get(sent, timeout=60)
    assert report["status"] == "success"
    start = running.start_of(sent)
    assert (start["failures"], start["lost"]) == (0, 0)
    assert_whole(running, brand, "Lamp")


def forget_message(running: System, brand: Brand) -> None:
    """As if it had been sent to a Redis that was emptied."""
    running.rows(
        "INSERT INTO starts (id, ingestor, task, arguments, key, status, due_at, sent_at) VALUES (gen_random_uuid(), "
        "CAST(:name AS text), 'ingest:all', jsonb_build_object('ingestor_name', CAST(:name AS text), "
        "'source_type', 'local', "
        "'registry_path', CAST(:registry AS text), 'feed_path', NULL, 'organizations', NULL), :name, 'queued', "
        "now() - interval '1 hour', now() - interval '1 hour') RETURNING id",
        name=brand.name, registry=str(brand.files.registry),
    )  # fmt: skip


def test_a_message_that_redis_forgot_is_sent_again_by_the_worker_itself(running: System, brand: Brand) -> None:
    brand.publish([brand.product(1)])
    forget_message(running, brand)
    wait_until(lambda: running.starts(brand.name)[0]["status"] == "success")
    assert live(running, brand) == {"1": "Lamp 1"}


def test_recovery_waits_for_no_child(running: System, client: Client, brand: Brand) -> None:
    """All children are at work for long; what a lost worker held, and what Redis forgot, is sent again all the same."""
    busy, lost = [brand, Brand(running.folder, f"{brand.name}x")], Brand(running.folder, f"{brand.name}y")
    forgotten = Brand(running.folder, f"{brand.name}z")
    for each in (*busy, lost, forgotten):
        each.publish([each.product(1)])
    for each in busy:
        client.call("ingest:registry", *each.arguments[:3])
    with running.database.transaction() as holder:
        urns = [each.organization for each in busy]
        holder.execute(text("SELECT id FROM organizations WHERE urn = ANY(:urns) FOR UPDATE"), {"urns": urns})
        sent = [client.delay("ingest:all", *each.arguments) for each in busy]
        children = {running.busy_child(each.name).pid for each in busy}
        forget_message(running, forgotten)
        forget_message(running, lost)
        running.rows(
            "UPDATE starts SET status = 'running', attempt = 1, worker = 'elsewhere:1:1', "
            "lease_expires_at = now() + interval '1 s' WHERE ingestor = :name RETURNING id",
            name=lost.name,
        )
        for each in (lost, forgotten):
            wait_until(lambda name=each.name: was_sent_again(running, name))  # type: ignore[misc]
        assert {running.start_of(each)["status"] for each in sent} == {"running"}
        assert children == {each.pid for each in running.children(running.running[0])}
    assert [client.get(each)["status"] for each in sent] == ["success", "success"]
    for each in (lost, forgotten):
        wait_until(lambda name=each.name: running.starts(name)[0]["status"] == "success")  # type: ignore[misc]


def was_sent_again(running: System, ingestor: str) -> bool:
    (start,) = running.starts(ingestor)
    return start["status"] == "queued" and start["sent_at"] is not None and start["sent_at"] > start["created_at"]


def test_a_start_of_a_task_that_nobody_knows_keeps_no_other_from_being_sent(
    running: System, client: Client, brand: Brand
) -> None:
    running.rows(
        "INSERT INTO starts (id, ingestor, task, arguments, key, status, due_at) VALUES (gen_random_uuid(), 'gone', "
        "'ingest:gone', '{}', 'gone', 'queued', now() - interval '1 day') RETURNING id"
    )
    brand.publish([brand.product(1)])
    forget_message(running, brand)
    wait_until(lambda: running.starts(brand.name)[0]["status"] == "success")
    running.rows("DELETE FROM starts WHERE task = 'ingest:gone' RETURNING id")


def test_a_start_that_loses_its_database_again_and_again_fails(running: System, client: Client, brand: Brand) -> None:
    brand.publish_many("Lamp")
    running.control(0, "cancel_consumer", queue="ingest")
    sent = client.delay("ingest:all", *brand.arguments)
    running.rows("UPDATE starts SET lost = 20 WHERE id = :id RETURNING id", id=sent)
    with running.database.transaction() as connection:
        connection.exec_driver_sql("LOCK TABLE products IN EXCLUSIVE MODE")  # no merge gets past it
        running.control(0, "add_consumer", queue="ingest")
        wait_until(lambda: running.rows("SELECT pid FROM pg_locks WHERE NOT granted"))
        connection.exec_driver_sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE starts_with(application_name, 'discovery-node') AND datname = current_database() "
            "AND pid <> pg_backend_pid()"
        )
    with pytest.raises(TaskFailedError, match="The database was lost 20 times"):
        client.get(sent)
    assert running.start_of(sent)["status"] == "failed"


def staged(running: System, start_id: str) -> int:
    """Shards that stand in staging."""
    run = running.rows("SELECT id FROM runs WHERE start_id = :id", id=start_id)
    if not run:
        return 0
    table = f"staging.shards_{run[0]['id'].hex}"
    if running.rows("SELECT to_regclass(:name) IS NULL AS missing", name=table)[0]["missing"]:
        return 0
    return int(running.rows(f"SELECT count(*) AS n FROM {table}")[0]["n"])


# --- together ------------------------------------------------------------------------------------------------------


def test_an_idle_child_helps_with_shards_and_texts(running: System, client: Client, brand: Brand) -> None:
    brand.publish_many("Lamp")
    before = running.log().count("helped with")
    report = client.call("ingest:all", *brand.arguments, timeout=60)
    assert report["results"]["feed"]["result"]["shards"] == {"read": MANY, "unchanged": 0, "failed": 0}
    assert report["results"]["vector"]["result"]["indexed"] == MANY * ITEMS
    assert_whole(running, brand, "Lamp")
    helped = running.log()
    assert helped.count("helped with") > before
    assert "helped with shards" in helped
    assert "helped with texts" in helped
    assert running.rows("SELECT count(*) AS n FROM pieces") == [{"n": 0}]


def test_two_starts_of_one_organization_take_turns(running: System, client: Client, brand: Brand) -> None:
    brand.publish_many("Lamp")
    first = client.delay("ingest:all", *brand.arguments)
    wait_until(lambda: staged(running, first) >= 1)
    name, source, _, feed = brand.arguments
    second = client.delay("ingest:feed", name, source, feed)
    assert client.get(first, timeout=60)["status"] == "success"
    report = client.get(second, timeout=60)
    assert report["results"]["feed"]["result"]["shards"]["unchanged"] == MANY
    assert running.start_of(second)["failures"] == 0


# --- changes -------------------------------------------------------------------------------------------------------


def test_what_changed_is_found_and_started_once(running: System, client: Client, brand: Brand) -> None:
    other = Brand(running.folder, f"{brand.name}x")
    for each in (brand, other):
        each.publish([each.product(1)])
    config = running.folder / "ingestion.yaml"
    config.write_text(
        "ingestion:\n"
        f"  - {{name: {brand.name}, source_type: local, registry: {brand.files.registry}}}\n"
        f"  - {{name: {other.name}, source_type: local, registry: {other.files.registry},"
        f" feed_path: {other.files.index}}}\n"
    )
    try:
        found = client.call("ingest:check_feed_updates")
        assert (found["checked"], found["triggered"]) == (0, 2)
        wait_until(lambda: len(live(running, brand)) == len(live(running, other)) == 1)
        wait_until(lambda: not running.rows("SELECT 1 FROM starts WHERE status IN ('queued', 'running')"))
        quiet = {"status": "success", "checked": 2, "changed": 0, "triggered": 0, "errors": []}
        assert client.call("ingest:check_feed_updates") == quiet

        brand.publish([brand.product(1), brand.product(2)])
        other.files.index.unlink()
        found = client.call("ingest:check_feed_updates")
        assert found["status"] == "degraded"
        assert (found["checked"], found["changed"], found["triggered"]) == (2, 1, 1)
        assert [(error["ingestor"], error["feed"]) for error in found["errors"]] == [
            (other.name, str(other.files.index))
        ]
        wait_until(lambda: len(live(running, brand)) == 2)

        other.publish(b"{")
        assert client.call("ingest:check_feed_updates")["triggered"] == 1
        wait_until(lambda: running.starts(other.name)[-1]["status"] == "failed")
        assert client.call("ingest:check_feed_updates") == quiet  # tried already
    finally:
        config.write_text("ingestion: []\n")


def test_everything_is_started_once_when_a_system_comes_up(tmp_path: Path, database_url: str) -> None:
    brand = Brand(tmp_path, "first")
    brand.publish([brand.product(1)])
    (tmp_path / "ingestion.yaml").write_text(
        f"ingestion:\n  - {{name: first, source_type: local, registry: {brand.files.registry}}}\n"
    )
    with system(tmp_path, database_url, TRIGGER_INGESTION_ON_STARTUP="true") as started:
        started.start_workers(2, concurrency=1)
        wait_until(lambda: bool(live(started, brand)))
        assert len(started.starts("first")) == 1
        assert len(started.rows("SELECT name FROM workers")) == 2

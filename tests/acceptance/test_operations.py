"""What docs/operations.md says is so: each setting and each queue it lists, and each command, run as written."""

import ast
import inspect
import platform
import re
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from sqlalchemy import text

from app.core.config import Settings
from app.db.session import LiveDatabase
from app.ingestors.config import IngestionConfig
from app.worker import celery_app
from app.worker.queues import CONTROL, QUEUES, ROUTES
from app.worker.schedulers import plan
from tests.acceptance.conftest import ROOT
from tests.support.services import BIN, Services, services, until

OPERATIONS = (ROOT / "docs/operations.md").read_text("utf-8")
README = (ROOT / "README.md").read_text("utf-8")
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", OPERATIONS, re.MULTILINE | re.DOTALL))
COMPOSE = yaml.safe_load((ROOT / "deploy/compose.yaml").read_text("utf-8"))
UNITS = sorted((ROOT / "deploy").glob("*.service"))
RUN_ALWAYS = re.search(r"^## Run it all the time\n(.*?)(?=^## )", README, re.MULTILINE | re.DOTALL)
READY = {
    "worker": '"worker ready"',
    "beat": "is starting",
    "flower": "Visit me at",
    "serve": "Ctrl-C",
    "up": '"worker ready"',
}


def rows(section: str, table: int = 0) -> list[list[str]]:
    """The cells of a table."""
    tables = re.findall(r"(?:^\|.*\n)+", SECTIONS[section], re.MULTILINE)
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in tables[table].splitlines()[2:]]


def coded(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def blocks(text: str, language: str = "") -> list[str]:
    found = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [block for name, block in found if name == language]


def test_every_setting_of_the_node_is_listed_and_no_other() -> None:
    listed = [name for row in rows("Settings of the node") for name in coded(row[0])]
    named = {("vector_provider" if name.startswith("chosen") else name).upper() for name in Settings.model_fields}
    assert sorted(listed) == sorted(named)


def _passed_to_celery() -> set[str]:
    """The names that `create` passes to `app.conf.update`."""
    calls = [node for node in ast.walk(ast.parse(inspect.getsource(celery_app.create))) if isinstance(node, ast.Call)]
    (update,) = (call for call in calls if isinstance(call.func, ast.Attribute) and call.func.attr == "update")
    return {keyword.arg for keyword in update.keywords if keyword.arg}


def test_every_setting_of_celery_is_listed_with_its_value_and_no_other() -> None:
    conf = celery_app.create(Settings(_env_file=None)).conf
    listed = {coded(name)[0]: value for name, value, _ in rows("Settings of Celery")}
    assert set(listed) == _passed_to_celery()
    said = {name: coded(value)[0] for name, value in listed.items() if value}
    assert len(said) > 20
    assert said == {name: str(conf[name]) for name in said}


def test_every_setting_has_a_reason() -> None:
    reasons = [row[-1] for section in ("Settings of the node", "Settings of Celery") for row in rows(section)]
    assert [reason for reason in reasons if len(reason) < 10] == []


def test_every_task_is_in_the_queue_that_is_said() -> None:
    celery_app.celery_app.loader.import_default_modules()
    tasks = {name for name in celery_app.celery_app.tasks if name.startswith(("ingest:", "cleanup:"))}
    listed = {task: coded(queue)[0] for queue, told in rows("Queues") for task in coded(told)}
    assert listed == {task: ROUTES.get(task, CONTROL) for task in tasks}
    assert set(listed.values()) == set(QUEUES)


def test_every_schedule_is_listed() -> None:
    entry = {"name": "NAME", "source_type": "local", "feed_path": "f", "schedule": "0 4 * * *"}
    planned = plan(Settings(_env_file=None), IngestionConfig.model_validate({"ingestion": [entry]}))
    listed = {coded(name)[0]: coded(task)[0] for name, task, _ in rows("Schedules")}
    assert listed == {each.name: each.task for each in planned}


@pytest.fixture
def node() -> Iterator[Services]:
    """A folder with the samples, which the user that PostgreSQL runs as can enter; the node's own PostgreSQL in it."""
    folder = Path(tempfile.mkdtemp(prefix="node-operations-"))
    shutil.copytree(ROOT / "samples", folder / "samples")
    shutil.copy(ROOT / "ingestion.yaml", folder)
    with services(folder, HOSTNAME=platform.node(), RECOVERY_INTERVAL="2", API_PORT="0") as found:
        yield found
    shutil.rmtree(folder, ignore_errors=True)


def _commands() -> list[list[str]]:
    """Every command once, in the order of the documents."""
    assert RUN_ALWAYS
    found = [line for text in (RUN_ALWAYS[1], OPERATIONS) for block in blocks(text) for line in block.splitlines()]
    known = ("celery ", "discovery-node ")
    return [shlex.split(line, comments=True) for line in dict.fromkeys(found) if line.startswith(known)]


def _what(command: list[str]) -> str:
    """What a command starts, if it is something that goes on: a worker, a beat, Flower, a whole node."""
    return next((word for word in command if word in READY), "")


def _health_check(service: str) -> str:
    """The one of the compose file, as the container's shell gets it."""
    check: str = COMPOSE["services"][service]["healthcheck"]["test"]
    return check.replace("$$", "$")


def _listens(port: int) -> bool:
    with socket.socket() as asking:
        return asking.connect_ex(("127.0.0.1", port)) == 0


def test_every_command_runs_as_written(node: Services) -> None:
    commands = _commands()
    assert {"worker", "beat", "flower", "serve", "up", ""} == {_what(command) for command in commands}
    lasting = [command for command in commands if _what(command) not in ("", "up")]
    until(lambda: not _listens(5555), 120)  # another test may have a Flower there
    running = [(node.start(*command), READY[_what(command)]) for command in lasting]
    for service, ready in running:
        service.says(ready)
    assert RUN_ALWAYS
    programs = [*blocks(RUN_ALWAYS[1], "python"), *blocks(OPERATIONS, "python")]
    assert len(programs) >= 3
    for program in programs:
        node.python(program)
    for command in commands:
        if not _what(command):
            node.run(*command)
    for check in ("worker", "beat", "flower"):
        node.run("sh", "-c", _health_check(check))
    for service, _ in running:
        service.process.send_signal(signal.SIGTERM)
    assert [service.process.wait(30) for service, _ in running] == [0] * len(running)

    up = node.start("discovery-node", "up")
    up.says(READY["up"])
    assert up.end(signal.SIGINT) == 0


def test_every_statement_about_schedules_works(database: LiveDatabase) -> None:
    (statements,) = blocks(OPERATIONS, "sql")
    with database.transaction() as connection:
        for name in ("ingest-all-acme-corp", "update-embeddings"):
            connection.execute(
                text("INSERT INTO schedules (name, task, every, seed) VALUES (:name, 'ingest:recover', 60, '{}')"),
                {"name": name},
            )
        for statement in statements.strip().splitlines():
            assert connection.exec_driver_sql(statement).rowcount == 1, statement


def test_every_link_and_file_is_there() -> None:
    anchors = {re.sub(r"[^a-z -]", "", title.lower()).replace(" ", "-") for title in SECTIONS}
    assert set(re.findall(r"\]\(#([^)]+)\)", OPERATIONS)) <= anchors
    files = re.findall(r"`((?:deploy|app)/[\w./-]+)`", OPERATIONS)
    assert files
    assert [name for name in files if not (ROOT / name).exists()] == []


def test_what_is_deployed_runs_documented_commands() -> None:
    """But for options that only there make sense."""
    known = {tuple(command[:4]) for command in _commands()}
    composed = [service["command"].split() for service in COMPOSE["services"].values() if "build" in service]
    units = [re.search(r"^ExecStart=.*/bin/(.*)$", unit.read_text(), re.MULTILINE)[1].split() for unit in UNITS]
    assert len(composed) == 5
    assert len(units) == 3
    assert [command for command in composed + units if tuple(command[:4]) not in known] == []


def test_everything_that_stays_up_has_a_health_check() -> None:
    lasting = {name for name, service in COMPOSE["services"].items() if service["restart"] != "no"}
    assert lasting == {"postgres", "redis", "worker", "beat", "api", "flower"}
    assert all(COMPOSE["services"][name]["healthcheck"]["test"] for name in lasting)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="this machine has no systemd to ask")
def test_the_units_are_what_systemd_understands(tmp_path: Path) -> None:
    for unit in UNITS:
        here = unit.read_text().replace("/srv/discovery-node/.venv/bin", str(BIN)).replace("/srv/", "/")
        (tmp_path / unit.name.replace("@", "@1")).write_text(here.replace("User=discovery-node", "User=daemon"))
    asked = ["systemd-analyze", "verify", *map(str, tmp_path.iterdir())]
    done = subprocess.run(asked, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, [line for line in done.stderr.splitlines() if str(tmp_path) in line]) == (0, [])


def test_what_was_not_run_says_so() -> None:
    files = [*UNITS, ROOT / "deploy/Containerfile", ROOT / "deploy/compose.yaml"]
    assert [file.name for file in files if "Not run here" not in file.read_text("utf-8")] == []

"""What a user is told when a publication is held, broken or gone, and when the database is."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from app.core.config import Settings
from app.db import embedded
from app.db.session import LiveDatabase
from app.ingestors.ingestion import STEPS
from tests.acceptance.conftest import COMMAND, CommandLine
from tests.support.feeds import FeedFolder, product
from tests.support.nodes import Node

PRODUCTS = 30


class Publisher:
    """A publisher with an organization of its own, and a node that ingests it."""

    def __init__(self, path: Path, node: CommandLine, domain: str) -> None:
        self.organization = f"urn:cmp:org:{domain}"
        self.folder = FeedFolder(path, self.organization)
        self.node = node
        self.config = path / "ingestion.yaml"
        self.config.write_text(
            f"ingestion: [{{name: {domain}, source_type: local, registry: registry.json}}]", encoding="utf-8"
        )

    def publish(self, *numbers: int) -> None:
        self.folder.publish([product(number, self.organization) for number in numbers])

    def arguments(self, *options: str) -> list[str | Path]:
        return ["ingest", "--config", self.config, *options]


@pytest.fixture
def publisher(tmp_path: Path, node: CommandLine, request: pytest.FixtureRequest) -> Publisher:
    """A publisher whose products are in the catalogue."""
    domain = re.sub(r"\W|_", "-", request.node.name).strip("-") + ".example"
    publisher = Publisher(tmp_path / "publisher", node, domain)
    publisher.publish(*range(PRODUCTS))
    database = LiveDatabase(embedded.start(Path(node.environment["DATA_DIR"])))
    entry = {"name": domain, "registry": "registry.json"}
    first = Node(database, Settings(_env_file=None, log_level="error"), publisher.folder.path, [entry])
    assert first.start(steps=STEPS)["status"] == "success"
    database.engine.dispose()
    return publisher


def test_held_and_released(publisher: Publisher, node: CommandLine) -> None:
    publisher.publish(0)
    printed = node(*publisher.arguments())
    assert printed.returncode == 1
    assert f"held Acme: {PRODUCTS - 1} of {PRODUCTS} products would be deleted" in printed.stdout
    assert "--accept-deletions" in printed.stdout
    assert "Traceback" not in printed.stderr
    report = node.json(*publisher.arguments("--accept-deletions"))
    assert report["runs"][0]["feed"]["products"]["deleted"] == PRODUCTS - 1
    gone = f"{publisher.organization}:sku:1"
    assert "no longer offered" in node.refused("product", gone, code=1)


def test_a_dry_run_keeps_nothing(publisher: Publisher, node: CommandLine) -> None:
    publisher.publish(*range(PRODUCTS + 1))
    assert node.json(*publisher.arguments("--dry-run"))["runs"][0]["feed"]["products"]["inserted"] == 1
    printed = node.done(*publisher.arguments("--dry-run"))
    assert "1 inserted" in printed
    assert "nothing was stored" in printed


@pytest.mark.parametrize("size", [10, 9_000_000])
def test_a_broken_shard_fails_with_its_byte(publisher: Publisher, node: CommandLine, size: int) -> None:
    publisher.folder.publish(b'[{"@type": "Product", "name": "' + b"x" * size)
    result = node(*publisher.arguments())
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert "a.json: is truncated (at byte " in result.stdout
    assert "discovery-node issues --severity error" in result.stdout
    printed = node.done("issues", "--organization", publisher.organization, "--severity", "error")
    assert "in the publication that was not applied" in printed
    assert "error shard-unreadable" in printed


def test_progress_is_shown_on_a_terminal(publisher: Publisher, node: CommandLine) -> None:
    screen, terminal = os.openpty()
    environment = {"PATH": os.environ["PATH"], "TERM": "xterm", "LOG_LEVEL": "info", **node.environment}
    command = [str(COMMAND), *map(str, publisher.arguments("--full", "--json"))]
    result = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=terminal, timeout=120, check=True)
    os.close(terminal)
    shown = os.read(screen, 100_000).decode()
    os.close(screen)
    assert json.loads(result.stdout)["status"] == "success"
    assert "reading shards" in shown
    assert "1/1" in shown
    assert "run ended" in shown


def test_an_unreachable_registry_degrades(publisher: Publisher, node: CommandLine) -> None:
    publisher.folder.registry.unlink()
    printed = node.done(*publisher.arguments())
    assert "degraded Acme: The registry could not be read" in printed


def test_a_missing_feed_fails_and_names_it(publisher: Publisher, node: CommandLine) -> None:
    publisher.folder.index.unlink()
    report = node.json(*publisher.arguments(), code=1)
    assert str(publisher.folder.index) in report["runs"][0]["error"]


def test_an_unreachable_database_is_one_line(command: CommandLine) -> None:
    for arguments in (["search", "tea", "--json"], ["db", "upgrade"]):
        told = command.refused(*arguments, code=1, DATABASE_URL="postgresql://me:secret@localhost:1/none")
        assert "does not answer" in told
        assert "secret" not in told


def test_the_doctor_says_what_is_broken(command: CommandLine) -> None:
    result = command("doctor", DATABASE_URL="postgresql://localhost:1/none", EMBEDDING_MODEL_PATH="nowhere")
    assert result.returncode == 1
    assert "broken ingestion: ingestion.yaml does not exist" in result.stdout
    assert "broken database: PostgreSQL at " in result.stdout
    assert "broken embedding model: " in result.stdout
    assert result.stdout.splitlines()[-1] == "3 things to mend."


def test_the_doctor_reads_what_is_configured(command: CommandLine) -> None:
    (command.folder / "ingestion.yaml").write_text("ingestion: [{name: a, source_type: local, registry: gone.json}]")
    result = command("doctor", DATABASE_URL="postgresql://localhost:1/none")
    assert "broken ingestor a: registry cannot be read: gone.json" in result.stdout


def test_a_fresh_node_says_what_to_do(command: CommandLine) -> None:
    assert "Run `discovery-node ingest`" in command.done("search", "tea")
    assert "is at revision" in command.done("db", "upgrade")
    assert (command.folder / "data" / "postgres").is_dir()

"""The installed command as a user runs it: another process, a folder of its own, nothing of this one's environment."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from app.db import embedded

ROOT = Path(__file__).parents[2]
COMMAND = Path(sys.executable).with_name("discovery-node")


@dataclass
class CommandLine:
    """Runs `discovery-node` in `folder` with the variables of `environment`."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    def __call__(self, *arguments: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
        own = {"PATH": os.environ["PATH"], "HOME": str(self.folder), "PYTHONPATH": str(ROOT)}
        environment = {**own, **self.environment, **variables}
        command = [str(COMMAND), *map(str, arguments)]
        return subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, encoding="utf-8", timeout=120, check=False
        )

    def done(self, *arguments: str | Path, **variables: str) -> str:
        """What a command prints that has to succeed."""
        result = self(*arguments, **variables)
        assert result.returncode == 0, result.stderr
        return result.stdout

    def json(self, *arguments: str | Path, code: int = 0, **variables: str) -> Any:
        """The one document of a command with `--json`."""
        result = self(*arguments, "--json", **variables)
        assert result.returncode == code, result.stderr
        assert "Traceback" not in result.stderr
        return json.loads(result.stdout)

    def refused(self, *arguments: str | Path, code: int = 2, **variables: str) -> str:
        """What a command says on stderr that must not succeed; a traceback is no answer."""
        result = self(*arguments, **variables)
        assert result.returncode == code, result.stdout + result.stderr
        assert result.stdout == ""
        assert "Traceback" not in result.stderr
        return result.stderr


@pytest.fixture
def command(tmp_path: Path) -> CommandLine:
    """The command line in an empty folder."""
    return CommandLine(tmp_path)


@dataclass
class Sampled:
    """A node that has ingested the samples, and what it said of that."""

    command: CommandLine
    first: subprocess.CompletedProcess[str]


@pytest.fixture(scope="session")
def sampled(tmp_path_factory: pytest.TempPathFactory) -> Sampled:
    """One for all tests of this process: they may add to it, and leave the samples alone."""
    folder = tmp_path_factory.mktemp("node")
    data = folder / "data"
    command = CommandLine(folder, {"DATA_DIR": str(data), "INGESTION_CONFIG_PATH": str(ROOT / "ingestion.yaml")})
    first = command("ingest", "--json")
    embedded.start(data)  # stays up between the commands, which spares each of them a start
    return Sampled(command, first)


@pytest.fixture
def node(sampled: Sampled) -> CommandLine:
    """The command line of a node that has ingested the samples."""
    return sampled.command

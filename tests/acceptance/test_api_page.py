"""docs/api.md: each command is run as written, and what it names exists."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.api.application import create_app
from app.core.config import Settings
from app.services.filters import Filter
from tests.acceptance.conftest import ROOT, CommandLine
from tests.support.services import Services, environment, until

PAGE = (ROOT / "docs" / "api.md").read_text("utf-8")
BLOCKS = re.findall(r"^```\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
ADDRESS = "localhost:8000"


@pytest.fixture
def served(node: CommandLine, tmp_path: Path) -> Iterator[tuple[Services, str]]:
    """The samples, served; and where."""
    found = Services(node.folder, environment(node.folder, **node.environment))
    service = found.start("discovery-node", "serve", "--port", "0", "--workers", "1")
    service.says("Ctrl-C")
    place = service.said().partition("http://")[2].partition(",")[0]
    (tmp_path / ".curlrc").write_text("fail-with-body\nsilent\nshow-error\nretry-connrefused\nretry = 9\n")
    found.environment["CURL_HOME"] = str(tmp_path)
    until(lambda: found.run("curl", f"{place}/livez"))
    yield found, place
    found.end()


@pytest.mark.skipif(shutil.which("curl") is None, reason="this machine has no curl to run the page's commands with")
def test_every_command_runs_as_written(served: tuple[Services, str]) -> None:
    services, place = served
    assert len(BLOCKS) >= 7
    for block in BLOCKS:
        assert ADDRESS in block or "discovery-node" in block
        written = block.replace(ADDRESS, place).replace("samples/", f"{ROOT}/samples/")
        assert services.run("bash", "-euc", written).strip()


def test_every_filter_and_setting_it_names_exists() -> None:
    table = PAGE.partition("| filter |")[2].partition("\n\n")[0]
    assert set(re.findall(r"`(\w+)`", table.replace("`Food & Drink > Coffee`", ""))) == set(Filter.model_fields)
    named = set(re.findall(r"`([A-Z][A-Z_]{6,})`", PAGE))
    assert len(named) > 8
    assert named <= {name.upper() for name in Settings.model_fields}


def test_every_route_is_on_it(settings: Settings) -> None:
    paths = create_app(settings).openapi()["paths"]
    told = re.sub(r"\$?(URN|ID|NAME|TOKEN|FORM)\b", "{}", PAGE)
    assert [path for path in paths if re.sub(r"\{\w+\}", "{}", path) not in told] == []

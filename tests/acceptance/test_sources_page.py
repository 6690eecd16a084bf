"""What docs/sources.md shows can be written so."""

import re
from pathlib import Path

import pytest

from app.core.config import Settings
from app.ingestors.config import load_config

PAGE = (Path(__file__).parents[2] / "docs" / "sources.md").read_text()
BLOCKS = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS)
def test_the_examples_are_entries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: str) -> None:
    for name in re.findall(r"\$\{(\w+)\}", block):
        monkeypatch.setenv(name, "secret")
    path = tmp_path / "ingestion.yaml"
    path.write_text(block)
    for entry in load_config(path).ingestion:
        entry.source(Settings(_env_file=None))


def test_the_settings_it_names_exist() -> None:
    named = set(re.findall(r"`(?:[^`]*?)([A-Z][A-Z_]{6,})(?:=[^`]*)?`", PAGE)) - {"VARIABLE"}
    assert {"MAX_NESTING", "ALLOWED_PRIVATE_HOSTS", "CONTACT"} <= named
    named = {name for name in named if not name.startswith("AWS_")}  # boto3's own
    assert named <= {name.upper() for name in Settings.model_fields}

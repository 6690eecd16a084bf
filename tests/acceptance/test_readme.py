"""The README's commands do what it says, and its transcript is what a demo prints."""

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

from tests.acceptance.conftest import COMMAND, ROOT, CommandLine

README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def test_every_command_of_the_readme_runs(command: CommandLine) -> None:
    shutil.copytree(ROOT / "samples", command.folder / "samples")
    shutil.copy(ROOT / "ingestion.yaml", command.folder)
    lines = [line for language, block in BLOCKS if not language for line in block.splitlines()]
    commands = [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("discovery-node ")]
    commands.remove(["up"])  # goes on; what goes on is started by `test_operations`
    assert len(commands) >= 6
    for arguments in commands:
        assert command.done(*arguments), arguments


def test_the_transcript_is_what_make_demo_prints(tmp_path: Path) -> None:
    (transcript,) = (block for language, block in BLOCKS if language == "text")
    done = subprocess.run(
        ["make", "--no-print-directory", "demo"],
        cwd=ROOT,
        env=os.environ
        | {"DATA_DIR": str(tmp_path), "COLUMNS": "200", "PATH": f"{COMMAND.parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=240,
        check=True,
    )
    assert _without_seconds(done.stdout).endswith(_without_seconds(transcript))


def test_every_picture_is_shown_somewhere_and_none_is_large() -> None:
    documents = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    shown = {
        (document.parent / place).resolve()
        for document in documents
        for place in re.findall(r"!\[[^\]]+\]\(([^)]+)\)", document.read_text("utf-8"))
    }
    assert shown == set((ROOT / "docs" / "images").iterdir())
    assert all(picture.stat().st_size < 150_000 for picture in shown)


def _without_seconds(printed: str) -> str:
    """Text without times and the width of rules, which are not the same twice."""
    printed = re.sub(r"─+", "─", printed)
    return "\n".join(re.sub(r" +\d+\.\d$", "", line.rstrip()) for line in printed.strip().splitlines())

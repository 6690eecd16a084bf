"""A short play of `make chaos`: every kind of fault once, and the node comes to what it would be without them."""

import signal
import subprocess
import sys

import pytest

from tests.acceptance.conftest import ROOT

_LONGEST = 150  # seconds on a machine that does much else; some 35 otherwise


@pytest.mark.timeout(_LONGEST + 60)
def test_a_node_under_fire_converges_and_loses_nothing() -> None:
    play = subprocess.Popen(
        [sys.executable, "-m", "tests.chaos", "--seed", "3", "--kills", "6", "--pace", "0.6"],
        cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        said, _ = play.communicate(timeout=_LONGEST)
    except subprocess.TimeoutExpired:
        play.send_signal(signal.SIGTERM)  # it ends all that it started
        said, _ = play.communicate(timeout=50)
    assert play.returncode == 0, said
    assert "as a clean ingestion" in said

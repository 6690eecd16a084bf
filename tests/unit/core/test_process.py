"""Processes by name: which of them are known to be gone."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from app.core import process

SAY_AND_STAY = [
    sys.executable, "-c",
    "from app.core import process; print(process.own_name(), flush=True); input()",
]  # fmt: skip
APART = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc"]


@contextmanager
def named(command: list[str]) -> Iterator[str]:
    """The name of a process that lives as long as the block."""
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as started:
        assert started.stdout is not None
        yield started.stdout.readline().strip()


def test_a_process_of_this_machine_is_dead_when_it_is_gone() -> None:
    with named(SAY_AND_STAY) as name:
        assert not process.is_dead(name)
    assert process.is_dead(name)
    assert not process.is_dead(process.own_name())


def test_of_a_process_of_another_machine_nothing_is_known() -> None:
    assert not process.is_dead("elsewhere:1:1")
    _, number, started = process.own_name().rsplit(":", 2)
    assert not process.is_dead(f"elsewhere:{number}:{started}")


@pytest.mark.skipif(
    shutil.which("unshare") is None or subprocess.run([*APART, "true"], capture_output=True).returncode != 0,
    reason="no namespaces can be made here",
)
def test_of_a_process_of_another_container_nothing_is_known_though_the_host_name_is_the_same() -> None:
    with named([*APART, *SAY_AND_STAY]) as name:
        place, number, started = process.own_name().rsplit(":", 2)
        other, its_number, _ = name.rsplit(":", 2)
        assert place.partition("/")[0] == other.partition("/")[0]
        assert its_number == "1"
        assert not process.is_dead(name)
        assert process.is_dead(f"{place}:{number}0:{started}")

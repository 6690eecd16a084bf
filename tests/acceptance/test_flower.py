"""Flower as a user runs it: who is let in, and from where."""

import base64
import re
import socket
from http.client import HTTPConnection
from pathlib import Path

import psutil
import pytest

from tests.support.processes import Process, processes, until

ANYWHERE = "0.0.0.0"  # noqa: S104 - told so for a test


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def status(port: int, credentials: str | None = None) -> int:
    """What the front page answers; 0 while nobody does."""
    headers = {"Authorization": f"Basic {base64.b64encode(credentials.encode()).decode()}"} if credentials else {}
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/", headers=headers)
        return connection.getresponse().status
    except ConnectionRefusedError:
        return 0
    finally:
        connection.close()


def addresses(flower: Process) -> set[str]:
    """Where it listens."""
    connections = psutil.Process(flower.process.pid).net_connections("tcp")
    return {each.laddr.ip for each in connections if each.status == psutil.CONN_LISTEN}


def test_nobody_told_it_anything(tmp_path: Path, database_url: str) -> None:
    port = free_port()
    with processes(tmp_path, database_url) as node:
        flower = node.start("flower", f"--port={port}", FLOWER_ADDRESS="")
        until(lambda: status(port))
        told = re.findall(r"the user (\S+) with the password (\S+)", flower.said())
        assert len(told) == 1
        assert len(told[0][1]) >= 20
        assert [status(port), status(port, "node:guessed"), status(port, ":".join(told[0]))] == [401, 401, 200]
        assert addresses(flower) == {"127.0.0.1"}


@pytest.mark.parametrize(
    ("options", "variables", "config"),
    [
        ([f"--address={ANYWHERE}", "--basic-auth=me:mine"], {"FLOWER_BASIC_AUTH": "other:other"}, ""),
        ([], {"FLOWER_ADDRESS": ANYWHERE, "FLOWER_BASIC_AUTH": "me:mine"}, ""),
        (["--conf=own.py"], {}, f"address = '{ANYWHERE}'\nbasic_auth = ['me:mine']\n"),
    ],
)
def test_what_it_is_told_wins(
    tmp_path: Path, database_url: str, options: list[str], variables: dict[str, str], config: str
) -> None:
    port = free_port()
    (tmp_path / "own.py").write_text(config)
    with processes(tmp_path, database_url) as node:
        flower = node.start("flower", f"--port={port}", *options, **variables)
        until(lambda: status(port))
        assert [status(port), status(port, "me:mine")] == [401, 200]
        assert addresses(flower) == {ANYWHERE}
        assert "password" not in flower.said()


def test_other_commands_are_left_alone(tmp_path: Path, database_url: str) -> None:
    with processes(tmp_path, database_url) as node:
        report = node.start("report")
        until(report.ended)
        assert "password" not in report.said()

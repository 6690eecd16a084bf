"""Names that turn against the node, told by a real name server to the real resolver, in a network of its own."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.rebinding import PUBLIC, PUBLIC_6, SCENES

ROOT = Path(__file__).parents[2]
_SCRIPT = """
set -e
ip link set lo up
ip address add "$1/32" dev lo
ip address add "$2/128" dev lo
mount --bind "$3" /etc/resolv.conf
mount --bind "$4" /etc/nsswitch.conf
shift 4
exec "$@"
"""


def _isolated(folder: Path) -> list[str]:
    """A command before which to write another, for it to run in a network of its own."""
    resolver, order = folder / "resolv.conf", folder / "nsswitch.conf"
    resolver.write_text("nameserver 127.0.0.1\noptions timeout:2 attempts:1\n")
    order.write_text("hosts: files dns\n")
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    return [
        "unshare",
        *user,
        "--mount",
        "--net",
        "sh",
        "-c",
        _SCRIPT,
        "sh",
        PUBLIC,
        PUBLIC_6,
        str(resolver),
        str(order),
    ]


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What came of each scene."""
    if not (shutil.which("unshare") and shutil.which("ip")):
        pytest.skip("needs unshare (util-linux) and ip (iproute2)")
    isolated = _isolated(tmp_path_factory.mktemp("resolver"))
    if subprocess.run([*isolated, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine lets nobody make a network of their own (unshare --mount --net)")
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "AWS_EC2_METADATA_DISABLED": "true"}
    command = [*isolated, sys.executable, "-m", "tests.support.rebinding"]
    done = subprocess.run(command, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("scene", SCENES)
def test_nothing_inside_is_ever_connected_to(reports: dict[str, Any], scene: str) -> None:
    assert reports[scene]["inside"] == 0


@pytest.mark.parametrize(("scene", "inside"), [("turns", "127.0.0.1"), ("turns-6", "::1"), ("store", "127.0.0.1")])
def test_a_name_is_asked_for_once_and_what_was_checked_is_visited(
    reports: dict[str, Any], scene: str, inside: str
) -> None:
    """The first answer is public and is visited; the next one is another, for the next connection."""
    report = reports[scene]
    first, second = report["said"]
    assert first == "[1]"
    assert f"{scene}.example ({inside}) is loopback" in second
    assert report["resolved"] == {f"{scene}.example": 2}
    assert report["public"] == 1


def test_data_of_ftp_come_from_the_address_that_was_checked(reports: dict[str, Any]) -> None:
    """Control and data are two connections, and the name turned between them."""
    first, second = reports["files"]["said"]
    assert first == "[1]"
    assert "files.example (127.0.0.1) is loopback" in second
    assert reports["files"]["resolved"] == {"files.example": 2}


def test_a_feed_whose_name_turns_between_its_shards_is_told(reports: dict[str, Any]) -> None:
    assert any("feed.example (127.0.0.1) is loopback" in said for said in reports["turns-between-shards"]["said"])
    assert reports["turns-between-shards"]["public"] == 1


@pytest.mark.parametrize(
    ("scene", "told"),
    [
        ("mixed", "(127.0.0.1) is loopback"),
        ("mixed-6", "(::1) is loopback"),
        ("mapped", "(::ffff:7f00:1) is loopback"),
        ("nat64", "(64:ff9b::7f00:1) is loopback"),
        ("link", "(fe80::1) is link-local"),
        ("chain", "(127.0.0.1) is loopback"),
        ("chain-of-many", "(169.254.169.254) is link-local"),
        ("nothing", "cannot be resolved"),
        ("circle", "cannot be resolved"),
        ("silent", "cannot be resolved: no answer within 0.5 seconds"),
    ],
)
def test_one_bad_address_closes_a_name(reports: dict[str, Any], scene: str, told: str) -> None:
    (said,) = reports[scene]["said"]
    assert told in said
    assert reports[scene]["public"] == 0


def test_a_redirect_to_a_mixed_name_is_not_followed(reports: dict[str, Any]) -> None:
    (said,) = reports["redirect"]["said"]
    assert "mixed.example (127.0.0.1) is loopback" in said
    assert reports["redirect"]["public"] == 1

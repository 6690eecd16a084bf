"""The page about the API: every route, with commands that work, and nothing from elsewhere."""

import html
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from html.parser import HTMLParser

import pytest

from tests.support.api import Api, api
from tests.support.nodes import Node


@pytest.fixture
def served(node: Node) -> Iterator[Api]:
    with api(node.database, node.settings, api_keys_required=True) as client:
        yield client


class _Addresses(HTMLParser):
    """What a page loads, links to or sends something to; scripts and styles within it."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.named: list[str] = []
        self.inline: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        told = dict(attributes)
        self.named += [told[name] or "" for name in ("src", "href", "action", "srcset", "data") if name in told]
        if tag == "style" or (tag == "script" and "src" not in told):
            self.inline.append(tag)
        self.inline += [name for name in told if name == "style" or name.startswith("on")]


def test_the_page_comes_whole_from_the_node_under_the_strict_policy(served: Api) -> None:
    answer = served.get("/docs")
    assert answer.status_code == 200
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'; script-src 'self'; style-src 'self'" in policy
    assert "unsafe" not in policy
    found = _Addresses(answer.text)
    assert [each for each in found.named if not each.startswith(("/", "#")) or each.startswith("//")] == []
    assert found.inline == []
    for each in sorted({each for each in found.named if each.startswith("/static/")}):
        assert served.get(each).status_code == 200


def test_it_tells_of_every_route_and_parameter(served: Api) -> None:
    answer = served.get("/docs").text
    assert "send <code>Authorization: Bearer KEY</code>" in answer
    page = html.unescape(answer)
    document = served.get("/openapi.json").json()
    for path, operations in document["paths"].items():
        for method, told in operations.items():
            (section,) = re.findall(
                rf"<h3><code>{method.upper()} {re.escape(path)}</code>.*?</section>", page, re.DOTALL
            )
            for parameter in told.get("parameters", []):
                assert f"<code>{parameter['name']}</code>" in section, (path, parameter["name"])
            assert ("Bearer KEY" in section) == bool(told.get("security"))
    assert "integer, 1 to 100, else 20" in page
    assert "error or warning" in page


def test_programs_get_the_document(served: Api) -> None:
    answer = served.get("/docs", headers={"Accept": "application/json"}, follow_redirects=True)
    assert answer.json()["openapi"].startswith("3.1")


@pytest.mark.skipif(shutil.which("curl") is None, reason="this machine has no curl to run the page's commands with")
def test_its_commands_ask_what_they_say(served: Api) -> None:
    """Each reaches its route: what is refused is refused for a word in capitals, not for how it was asked."""
    page = html.unescape(served.get("/docs").text)
    commands = re.findall(r"<pre>(curl .*?)</pre>", page)
    assert len(commands) > 15
    key = served.key()["Authorization"].removeprefix("Bearer ")
    for command in commands:
        written = shlex.split(command.replace("Bearer KEY", f"Bearer {key}").replace("@FILE", "{}"))
        run = subprocess.run(
            [*written, "-s", "-o", "-", "-w", "\n%{http_code}", "-H", f"Authorization: Bearer {key}"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        body, _, status = run.stdout.rpartition("\n")
        assert int(status) in (200, 201, 202, 404, 422), (command, body)
        assert "no-such-route" not in body, command
        if command.endswith("under $25'"):
            assert status == "200", body

"""The API as it is run: `serve` with several processes, keys from the command line, starts that a worker takes."""

import json
import re
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest

from tests.integration.test_unlisted import Mesh
from tests.support.feeds import ORGANIZATION, OTHER_ORGANIZATION, FeedFolder, product
from tests.support.services import Service, Services, entries, services, until

DONE = ("success", "degraded", "held", "failed")


@pytest.fixture
def node(database_url: str) -> Iterator[Services]:
    """A folder with a publisher's feed; nothing runs yet."""
    folder = Path(tempfile.mkdtemp(prefix="node-api-"))
    (folder / "ingestion.yaml").write_text(entries(("acme", "publisher/registry.json")))
    with services(folder, DATABASE_URL=database_url, RECOVERY_INTERVAL="1") as found:
        yield found
    shutil.rmtree(folder, ignore_errors=True)


def serve(node: Services, *options: str) -> tuple[Service, str]:
    service = node.start("discovery-node", "serve", "--port", "0", *options)
    service.says("Ctrl-C")
    place = service.said().partition("The API at ")[2].partition(",")[0]
    until(lambda: _answers(place))
    return service, place


def _answers(place: str) -> bool:
    try:
        return ask(f"{place}/livez")[0] == 200
    except httpx2.TransportError:
        return False


def ask(url: str, key: str | None = None, method: str = "GET") -> tuple[int, Any]:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    answer = httpx2.request(method, url, headers=headers, timeout=20)
    return answer.status_code, answer.json()


def test_an_ingestor_is_started_and_a_held_run_released(node: Services) -> None:
    folder = FeedFolder(node.folder / "publisher")
    folder.publish([product(number) for number in range(40)])
    key = json.loads(node.run("discovery-node", "keys", "create", "--scope", "admin", "--name", "ops", "--json"))["key"]
    node.worker()
    service, place = serve(node, "--workers", "1")

    def started(path: str) -> list[dict[str, Any]]:
        code, document = ask(f"{place}{path}", key, "POST")
        assert code == 202, document
        return until(lambda: _ended(place, document["runs"]), 60)

    assert ask(f"{place}/ingestors/nobody/runs", key, "POST")[0] == 404
    (run,) = started("/ingestors/acme/runs")
    assert (run["status"], run["feed"]["products"]["inserted"]) == ("success", 40)
    folder.publish([product(0)])
    (held,) = started("/ingestors/acme/runs")
    assert held["status"] == "held"
    assert ask(f"{place}/runs/{held['id']}")[1]["releasable"] is True
    (run,) = started(f"/runs/{held['id']}/release")
    assert (run["status"], run["feed"]["products"]["deleted"]) == ("success", 39)
    assert ask(f"{place}/runs/{held['id']}/release", key, "POST")[0] == 409
    assert service.end(signal.SIGINT) == 0


def test_a_registry_that_an_organization_left_is_released_by_a_form(node: Services) -> None:
    mesh = Mesh(node.folder / "publisher")
    mesh.publish(ORGANIZATION, *[product(key) for key in range(30)])
    mesh.publish(OTHER_ORGANIZATION, product(1, OTHER_ORGANIZATION))
    mesh.register(ORGANIZATION, OTHER_ORGANIZATION)
    node.environment["UNLISTED_RETENTION_DAYS"] = "0"
    key = json.loads(node.run("discovery-node", "keys", "create", "--scope", "admin", "--json"))["key"]
    node.worker()
    _, place = serve(node, "--workers", "1")
    with httpx2.Client(base_url=place, headers={"Accept": "text/html"}, follow_redirects=True, timeout=20) as browser:
        browser.post("/sign-in", data={"key": key})

        def sent(path: str, page: str) -> list[dict[str, Any]]:
            """The runs of what the form of a page starts."""
            shown = browser.get(page).text
            assert f'action="{path}"' in shown
            csrf = re.findall(r'name="csrf" value="(\w+)"', shown)[0]
            started = browser.post(path, data={"csrf": csrf})
            assert started.status_code == 202, started.text
            return until(lambda: _ended(place, started.headers["location"]), 60)

        assert {run["status"] for run in sent("/ingestors/acme/runs", "/ingestors")} == {"success"}
        mesh.register(OTHER_ORGANIZATION)
        (held,) = [run for run in sent("/ingestors/acme/runs", "/ingestors") if run["status"] == "held"]
        assert (held.get("organization"), held["steps"]["registry"]) == (None, "held")
        page = f"/runs/{held['id']}"
        assert ORGANIZATION in browser.get(page).text
        assert len(ask(f"{place}/products?limit=100")[1]["products"]) == 31

        assert {run["status"] for run in sent(f"{page}/release", page)} == {"success"}
        (left,) = ask(f"{place}/products?limit=100")[1]["products"]
        assert left["offers"]["seller"]["@id"] == OTHER_ORGANIZATION
        assert ask(f"{place}{page}/release", key, "POST")[0] == 409
        assert f'action="{page}/release"' not in browser.get(page).text


def _ended(place: str, runs: str) -> list[dict[str, Any]]:
    found = ask(f"{place}{runs}")[1]
    return [run for run in found["runs"] if run["status"] in DONE] if not found["starts"] else []


def test_processes_share_what_they_sign_with_and_all_end(node: Services) -> None:
    folder = FeedFolder(node.folder / "publisher")
    folder.publish([product(number) for number in range(30)])
    node.run("discovery-node", "ingest", "--only", "registry")
    node.run("discovery-node", "ingest", "--only", "feed")
    service, place = serve(node, "--workers", "2")
    others = psutil.Process(service.process.pid).children(recursive=True)
    assert len(others) >= 2
    token = ask(f"{place}/products?limit=10")[1]["nextPageToken"]
    for _ in range(20):  # some of them of the other process
        assert ask(f"{place}/products?pageToken={token}")[0] == 200
    _revoke_links(node, place)
    service.process.kill()
    until(lambda: not [each for each in others if each.is_running() and each.status() != psutil.STATUS_ZOMBIE])


def _revoke_links(node: Services, place: str) -> None:
    key = json.loads(node.run("discovery-node", "keys", "create", "--scope", "admin", "--json"))["key"]
    made = ask(f"{place}/organizations/{ORGANIZATION}/issues/links", key, "POST")[1]["url"]
    assert ask(f"{place}{made}")[0] == 200
    assert ORGANIZATION in node.run("discovery-node", "links", "revoke", ORGANIZATION)
    for _ in range(5):
        assert ask(f"{place}{made}")[0] == 410
    assert "all organizations" in node.run("discovery-node", "links", "revoke", "--all")
    for wrong in ([], [OTHER_ORGANIZATION], ["--all", ORGANIZATION], ["acme"]):
        service = node.start("discovery-node", "links", "revoke", *wrong)
        assert service.process.wait(30) in (1, 2)
        assert "Traceback" not in service.said()


def test_keys_are_made_listed_and_revoked(node: Services) -> None:
    told = node.run("discovery-node", "keys", "create", "--scope", "read", "--expires", "90d").strip()
    assert told.startswith("cmp_")
    (listed,) = json.loads(node.run("discovery-node", "keys", "list", "--json"))["keys"]
    assert (listed["scope"], listed["state"], listed["id"]) == ("read", "valid", told.split("_")[1])
    assert told not in node.run("discovery-node", "keys", "list")
    node.run("discovery-node", "keys", "revoke", listed["id"])
    assert json.loads(node.run("discovery-node", "keys", "list", "--json"))["keys"][0]["state"] == "revoked"
    for wrong in (["revoke", "nobody"], ["create", "--scope", "read", "--expires", "2001-01-01"], ["create"]):
        service = node.start("discovery-node", "keys", *wrong)
        assert service.process.wait(30) in (1, 2)
        assert "Traceback" not in service.said()


def test_a_place_that_is_taken_is_named(node: Services) -> None:
    _, place = serve(node, "--workers", "1")
    port = place.rpartition(":")[2]
    other = node.start("discovery-node", "serve", "--port", port)
    assert other.process.wait(30) == 1
    assert f"127.0.0.1:{port}" in other.said()
    assert "Traceback" not in other.said()

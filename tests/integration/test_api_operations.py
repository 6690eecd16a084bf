"""Runs, issues, validation and health over HTTP."""

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
import yaml
from sqlalchemy.exc import InternalError, OperationalError

from app.db import schema
from app.db.session import LiveDatabase
from tests.support.api import Api, api
from tests.support.feeds import ORGANIZATION, FeedFolder, encode, item_list, offer, product
from tests.support.nodes import Node, node_of
from tests.support.services import until
from tests.support.web import Exchange, Site, WebServer

FORMULA = '=HYPERLINK("https://evil.example")'


@pytest.fixture(scope="module")
def node(module_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node with three runs, of which the last one is held, and some issues."""
    root = tmp_path_factory.mktemp("operated")
    node = node_of(module_url, root)
    entry = {"name": "acme", "source_type": "local", "registry": "publisher/registry.json", "schedule": "0 4 * * *"}
    (root / "ingestion.yaml").write_text(yaml.safe_dump({"ingestion": [entry]}))
    node.settings = node.settings.model_copy(update={"ingestion_config_path": root / "ingestion.yaml"})
    folder = FeedFolder(root / "publisher")
    folder.publish([product(number) for number in range(40)])
    node.run()
    bad = product(41, offers=[offer(price=FORMULA)], id=..., sku="x", brand={"name": FORMULA})
    folder.publish([*(product(number) for number in range(40)), bad])
    node.run()
    folder.publish([product(0)])
    assert node.run()["status"] == "held"
    yield node
    node.database.engine.dispose()


@pytest.fixture(scope="module")
def served(node: Node) -> Iterator[Api]:
    with api(node.database, node.settings) as client:
        yield client


def test_runs_are_listed_newest_first(served: Api) -> None:
    document = served.get("/runs").json()
    assert [run["status"] for run in document["runs"]] == ["held", "success", "success"]
    assert document["runs"][2]["feed"]["products"]["inserted"] == 40
    assert document["starts"] == []
    first = served.get("/runs", params={"limit": 2}).json()
    rest = served.get("/runs", params={"limit": 2, "pageToken": first["nextPageToken"]}).json()
    assert [run["id"] for run in first["runs"] + rest["runs"]] == [run["id"] for run in document["runs"]]
    (held,) = served.get("/runs", params={"status": "held", "organization": ORGANIZATION}).json()["runs"]
    assert served.get("/runs", params={"start": held["start"]}).json()["runs"] == [held]
    assert served.get("/runs", params={"ingestor": "nobody"}).json()["runs"] == []


def test_a_run_says_whether_it_can_be_released(served: Api) -> None:
    runs = served.get("/runs").json()["runs"]
    told = [served.get(f"/runs/{run['id']}").json() for run in runs]
    assert [run["releasable"] for run in told] == [True, False, False]
    assert told[0]["feed"]["vanishing"]["count"] == 40
    assert len(told[0]["feed"]["vanishing"]["products"]) == 40
    assert "vanishing" not in runs[0]["feed"]
    served.problem(404, "GET", f"/runs/{uuid4()}")
    assert served.problem(422, "GET", "/runs/first")["errors"][0]["parameter"] == "run"


def test_only_what_is_held_can_be_released(served: Api) -> None:
    admin = served.key()
    applied = served.get("/runs", params={"status": "success"}).json()["runs"][0]["id"]
    assert served.problem(409, "POST", f"/runs/{applied}/release", headers=admin)["runStatus"] == "success"
    served.problem(404, "POST", f"/runs/{uuid4()}/release", headers=admin)


def test_issues_are_had_in_every_form(served: Api) -> None:
    issues = served.get("/issues").json()["issues"]
    assert issues
    assert all(issue["hint"] for issue in issues)
    errors = served.get("/issues", params={"severity": "error", "organization": ORGANIZATION}).json()["issues"]
    assert {issue["severity"] for issue in errors} == {"error"}
    some = served.get("/issues", params={"code": errors[0]["code"]}).json()["issues"]
    assert {issue["code"] for issue in some} == {errors[0]["code"]}
    lines = served.get("/issues", headers={"Accept": "application/x-ndjson"}).text.splitlines()
    assert [json.loads(line) for line in lines] == issues
    table = served.get("/issues", headers={"Accept": "text/csv"}).text
    rows = list(csv.DictReader(io.StringIO(table)))
    assert [row["code"] for row in rows] == [issue["code"] for issue in issues]
    assert not [cell for row in rows for cell in row.values() if cell.startswith("=")]
    assert served.problem(422, "GET", "/issues", params={"code": "x"})["errors"][0]["parameter"] == "code"


def test_issues_are_leafed_through(served: Api) -> None:
    whole = served.get("/issues").json()["issues"]
    first = served.get("/issues", params={"limit": 1}, headers={"Accept": "text/csv"})
    assert first.links["next"]["url"].startswith("/issues?")
    second = served.get(first.links["next"]["url"]).json()["issues"]
    assert second == whole[1:2]


def test_ingestors_tell_operators_where_they_read_from(served: Api) -> None:
    (told,) = served.get("/ingestors").json()["ingestors"]
    assert told == {"name": "acme", "source_type": "local", "schedule": "0 4 * * *"}
    (told,) = served.get("/ingestors", headers=served.key()).json()["ingestors"]
    assert told["registry"] == "publisher/registry.json"


def test_a_document_is_validated_and_nothing_is_stored(served: Api, node: Node) -> None:
    before = node.value("SELECT count(*) FROM issues")
    shard = encode(item_list(product(1), product(2, name=...)))
    document = served.post("/validate", content=shard).json()
    assert (document["kind"], document["valid"]) == ("shard", False)
    assert "name" in {issue["path"] for issue in document["issues"] if issue["severity"] == "error"}
    assert served.post("/validate", content=encode(item_list(product(1)))).json()["valid"] is True
    assert served.post("/validate", content=b"{").json()["valid"] is False
    assert node.value("SELECT count(*) FROM issues") == before


def test_an_index_that_is_sent_leads_nowhere(served: Api, tmp_path: Path) -> None:
    secret = tmp_path / "secret.json"
    secret.write_bytes(encode(item_list(product(1, name="secret"))))
    index = {"@type": "ProductFeedIndex", "orgid": ORGANIZATION, "shards": [str(secret), "/etc/passwd"]}
    document = served.post("/validate", content=encode(index)).json()
    assert (document["kind"], document["counts"]["products"]) == ("feed", 0)
    assert not [issue for issue in document["issues"] if "secret" in (issue["shard"] or "")]


def test_one_of_the_two_is_validated(served: Api) -> None:
    for options in ({}, {"content": b"[]", "params": {"url": "https://example.com/feed.json"}}):
        assert served.problem(422, "POST", "/validate", **options)["errors"][0]["parameter"] == "url"


def test_operators_validate_what_is_published_in_their_network(node: Node, tmp_path: Path) -> None:
    folder = FeedFolder(tmp_path / "shop")
    folder.publish([product(1)], [product(2, name=...)])
    with WebServer(Site(folder.path)) as web, api(
        node.database, node.settings, allowed_private_hosts=f"127.0.0.1:{web.port}"
    ) as client:  # fmt: skip
        asked = {"params": {"url": f"{web.url}/feed/index.json"}}
        document = client.post("/validate", headers=client.key(), **asked).json()
        assert (document["kind"], document["counts"]["products"], document["valid"]) == ("feed", 1, False)
        web.forget()
        client.problem(422, "POST", "/validate", **asked)
        client.problem(422, "POST", "/validate", headers=client.key("read"), **asked)
        assert web.asked == []


def test_a_feed_of_too_many_shards_is_not_validated_here(node: Node) -> None:
    def respond(exchange: Exchange) -> None:
        shards = [f"{number}.json" for number in range(101)]
        index = {"@type": "ProductFeedIndex", "orgid": ORGANIZATION, "shards": shards}
        exchange.reply(200, encode(index if exchange.path == "/index.json" else []))

    with WebServer(respond) as web, api(node.database, node.settings, allowed_private_hosts="127.0.0.1") as client:
        asked = {"params": {"url": f"{web.url}/index.json"}, "headers": client.key()}
        assert client.problem(422, "POST", "/validate", **asked)["type"].endswith("too-much")
        assert len(web.asked) == 2


def test_it_lives_and_is_ready(served: Api) -> None:
    assert served.get("/livez").json() == {"status": "ok"}
    assert served.get("/readyz").json() == {"status": "ok", "missing": {}}
    assert "cmp_database_up 1.0" in served.get("/metrics").text


def test_reading_changes_nothing(node: Node) -> None:
    with pytest.raises(InternalError, match="read-only"), node.database.reading(5) as connection:
        connection.exec_driver_sql("DELETE FROM organizations")
    with pytest.raises(OperationalError, match="statement timeout"), node.database.reading(1) as connection:
        connection.exec_driver_sql("SELECT pg_sleep(20)")
    with node.database.reading(5) as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM organizations").scalar() == 1
    assert node.value("SELECT count(*) FROM organizations") == 1


def test_what_is_missing_is_named(node: Node, database: LiveDatabase) -> None:
    with api(database, node.settings) as client:
        with database.transaction() as connection:
            connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0001'")
        response = client.get("/readyz")
        assert (response.status_code, list(response.json()["missing"])) == (503, ["schema"])
        with database.transaction() as connection:
            connection.exec_driver_sql(f"UPDATE alembic_version SET version_num = '{schema.REVISION}'")
        assert client.get("/readyz").status_code == 200
    gone = LiveDatabase("postgresql+psycopg://nobody@127.0.0.1:1/nothing")
    with api(gone, node.settings) as client:
        response = client.get("/readyz")
        assert (response.status_code, list(response.json()["missing"])) == (503, ["database"])
        problem = client.problem(503, "GET", "/products")
        assert "127.0.0.1" not in json.dumps(problem)
        assert client.get("/livez").status_code == 200


def test_a_server_that_ends_keeps_no_connection(node: Node) -> None:
    """Nor one by which it sends starts."""
    settings = node.settings.model_copy(update={"ingestion_config_path": node.root / "ingestion.yaml"})
    before = connections(node)
    with api(node.database, settings) as client:
        client.problem(404, "POST", "/ingestors/none/runs", headers=client.key())
        assert connections(node) >= before + 2
    until(lambda: connections(node) == before)


def connections(node: Node) -> int:
    found: int = node.value("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")
    return found

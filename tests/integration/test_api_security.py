"""What strangers try: keys that are none, bodies and heads without end, requests that do not come, private hosts."""

import gzip
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import text

from app.core.config import Settings
from app.db.session import LiveDatabase
from app.services import keys
from tests.support.api import Api, api
from tests.support.redis import redis_server
from tests.support.web import Site, WebServer

ADMIN = "/runs/00000000-0000-0000-0000-000000000000/release"


@pytest.fixture(scope="module")
def database(module_url: str) -> Iterator[LiveDatabase]:
    """An empty catalogue."""
    database = LiveDatabase(module_url)
    yield database
    database.engine.dispose()


@pytest.fixture(scope="module")
def settings(module_url: str, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    data = tmp_path_factory.mktemp("data")
    nowhere = "redis://127.0.0.1:1/0"
    return Settings(_env_file=None, database_url=module_url, data_dir=data, celery_broker_url=nowhere)


@pytest.fixture(scope="module")
def served(database: LiveDatabase, settings: Settings) -> Iterator[Api]:
    with api(database, settings, api_max_body_bytes=2000, api_client_timeout=0.5) as client:
        yield client


# --- keys ----------------------------------------------------------------------------------------------------------


def test_a_key_is_stored_hashed_and_its_use_is_noted_once_a_minute(served: Api, database: LiveDatabase) -> None:
    headers = served.key("read", name="shop")
    key = headers["Authorization"].removeprefix("Bearer ")
    assert len(key) >= 43 + 12

    def stored() -> dict[str, object]:
        with database.transaction() as connection:
            row = connection.execute(text("SELECT * FROM api_keys WHERE id = :id"), {"id": key.split("_")[1]}).one()
            return dict(row._mapping)

    before = stored()
    assert key not in str(before)
    assert before["last_used_at"] is None
    assert served.get("/brands", headers=headers).status_code == 200
    used = stored()["last_used_at"]
    assert used is not None
    served.get("/brands", headers=headers)
    assert stored()["last_used_at"] == used


def _expired(client: Api) -> dict[str, str]:
    return client.key(expires_at=datetime.now(UTC) - timedelta(seconds=1))


def _revoked(client: Api) -> dict[str, str]:
    headers = client.key()
    with client.database.transaction() as connection:
        assert keys.revoke(connection, headers["Authorization"].split("_")[1])
    return headers


def _forged(client: Api) -> dict[str, str]:
    key = client.key()["Authorization"]
    return {"Authorization": key[:-1] + ("A" if key[-1] != "A" else "B")}


def _unknown(client: Api) -> dict[str, str]:
    return {"Authorization": f"Bearer cmp_{'0' * 12}_{'A' * 43}"}


def _nonsense(client: Api) -> dict[str, str]:
    return {"Authorization": "Bearer ' OR 1=1 --"}


def _basic(client: Api) -> dict[str, str]:
    return {"Authorization": "Basic YTpi"}


@pytest.mark.parametrize("headers", [_expired, _revoked, _forged, _unknown, _nonsense, _basic])
def test_a_key_that_is_no_good_opens_nothing(served: Api, headers: Callable[[Api], dict[str, str]]) -> None:
    sent = headers(served)
    for method, path in (("POST", ADMIN), ("GET", "/products")):
        problem = served.problem(401, method, path, headers=sent)
        assert sent["Authorization"] not in str(problem)
    assert served.get("/products", headers=sent).headers["www-authenticate"].startswith("Bearer")


def test_scopes_are_kept_apart(served: Api) -> None:
    for method, path in (("POST", ADMIN), ("POST", "/ingestors/acme/runs")):
        served.problem(401, method, path)
        served.problem(403, method, path, headers=served.key("read"))
    served.problem(404, "POST", ADMIN, headers=served.key("admin"))


def test_reading_can_be_for_those_with_a_key(database: LiveDatabase, settings: Settings) -> None:
    with api(database, settings, api_keys_required=True) as client:
        reads = [path for path, operations in client.openapi["paths"].items() if "get" in operations]
        assert len(reads) > 10
        for path in reads:
            if path not in ("/livez", "/readyz") and "{token}" not in path:  # a link is its own key
                asked = path.replace("{run}", ADMIN.split("/")[2]).replace("{form}", "csv")
                client.problem(401, "GET", asked)
        client.problem(401, "POST", "/validate", content=b"[]")
        assert client.get("/products", headers=client.key("read")).status_code == 200
        assert client.get("/readyz").status_code == 200


def test_a_problem_repeats_what_it_is_about_and_nothing_else(served: Api) -> None:
    private = "s3cret"
    for path, parameters in (
        ("/products", {"q": private * 200}), ("/products", {"filter": private}), ("/products", {"limit": private}),
        ("/products", {"filter": f'{{"currency": "{private}"}}'}), ("/products", {"currency": private}),
        ("/products", {"pageToken": private}), ("/runs", {"status": private}), ("/runs", {"organization": private}),
    ):  # fmt: skip
        assert private not in str(served.problem(422, "GET", path, params=parameters)), parameters
    assert private in str(served.problem(422, "GET", "/products", params={private: "1"}))
    assert served.problem(404, "GET", "/compare", params={"urn": ["urn:a", "urn:b"]})["urns"] == ["urn:a", "urn:b"]


# --- limits --------------------------------------------------------------------------------------------------------


def test_an_address_is_told_when_it_may_come_again(database: LiveDatabase, settings: Settings) -> None:
    with api(database, settings, api_rate_limit=5, api_key_rate_limit=7) as client:
        headers = client.key("read")
        assert 1 <= int(_until_limited(client, "/brands")) <= 61
        assert _until_limited(client, "/brands", _forged(client))  # so that keys are not guessed
    with api(database, settings, api_rate_limit=5, api_key_rate_limit=20) as client:
        assert client.get("/brands", headers=headers).status_code == 200
        _until_limited(client, "/brands")
        assert client.get("/brands", headers=headers).status_code == 200
        _until_limited(client, "/brands", headers)


def _until_limited(client: Api, path: str, headers: dict[str, str] | None = None) -> str:
    """Asks until that is too much; returns what is said of another time."""
    for _ in range(60):
        response = client.get(path, headers=headers)
        if response.status_code == 429:
            return response.headers["retry-after"]
    raise AssertionError("nothing limits it")


def test_processes_count_together_where_there_is_a_redis(
    database: LiveDatabase, settings: Settings, tmp_path: Path
) -> None:
    with redis_server(tmp_path) as url:
        shared = {"celery_broker_url": SecretStr(f"{url}/0"), "api_rate_limit": 30}
        with api(database, settings, **shared) as one, api(database, settings, **shared) as other:
            for _ in range(30):
                one.get("/brands")
            codes = {other.get("/brands").status_code for _ in range(3)}
            assert codes == {429} or one.get("/brands").status_code == 200  # or a minute has begun between


@pytest.mark.parametrize("chunked", [False, True])
def test_a_large_body_is_refused(served: Api, chunked: bool) -> None:
    content = iter([b"[" + b" " * 1500, b" " * 1500 + b"]"]) if chunked else b"[" + b" " * 3000 + b"]"
    served.problem(413, "POST", "/validate", content=content)
    assert served.post("/validate", content=b"[" + b" " * 1500 + b"]").status_code == 200


def test_a_body_that_unpacks_to_more_than_is_read_is_refused(database: LiveDatabase, settings: Settings) -> None:
    bomb = gzip.compress(b"[" + b" " * 100 * 1024**2 + b"]")
    with api(database, settings) as client:
        document = client.post("/validate", content=bomb).json()
    assert (document["valid"], document["counts"]["shards"]) == (False, 0)
    assert "unpacks to more" in document["issues"][0]["message"]


def _conversation(client: Api, *sent: bytes, seconds: float = 10) -> bytes:
    """What the server says until it hangs up, to pieces that are sent one after the other."""
    with closing(socket.create_connection(("127.0.0.1", client.port), seconds)) as connection:
        for piece in sent:
            connection.sendall(piece)
        said = b""
        while piece := connection.recv(65536):
            said += piece
        return said


def test_a_long_head_is_refused(served: Api) -> None:
    long = b"GET /brands HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Long: " + b"x" * 20_000 + b"\r\n\r\n"
    assert _conversation(served, long).startswith((b"HTTP/1.1 400", b"HTTP/1.1 431"))  # as it comes in pieces
    assert _conversation(served, b"GET /" + b"x" * 20_000).startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize(
    "sent", [b"", b"GET /brands HTTP/1.1\r\nHost: x\r\n", b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\nGET /brands HT"]
)
def test_a_head_that_does_not_come_is_given_up(served: Api, sent: bytes) -> None:
    said = _conversation(served, sent)  # returns, so that the server has hung up
    assert said.count(b"HTTP/1.1 200") == sent.count(b"\r\n\r\n")


def test_a_body_that_does_not_come_is_given_up(served: Api) -> None:
    head = b"POST /validate HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n[ "
    assert _conversation(served, head).startswith(b"HTTP/1.1 408")


def test_clients_that_dawdle_do_not_keep_others_out(served: Api) -> None:
    slow = [socket.create_connection(("127.0.0.1", served.port)) for _ in range(100)]
    try:
        for each in slow:
            each.sendall(b"GET /products HTTP/1.1\r\n")
        assert served.get("/brands").status_code == 200
    finally:
        for each in slow:
            each.close()


def test_more_connections_than_are_held_are_told_so(database: LiveDatabase, settings: Settings) -> None:
    with api(database, settings, api_max_connections=5) as client:
        many = [socket.create_connection(("127.0.0.1", client.port)) for _ in range(10)]
        deadline = time.monotonic() + 10
        while client.get("/livez").status_code != 503:
            assert time.monotonic() < deadline
        for each in many:
            each.close()
        while client.get("/livez").status_code != 200:
            assert time.monotonic() < deadline


# --- what leads elsewhere ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:{port}/", "http://localhost:{port}/", "http://[::1]:{port}/", "http://2130706433:{port}/",
        "http://0.0.0.0:{port}/", "http://169.254.169.254/latest/meta-data", "http://10.0.0.1/", "file:///etc/passwd",
        "/etc/passwd", "ftp://127.0.0.1/feed.json", "s3://bucket/feed.json", "gopher://127.0.0.1:{port}/",
        "http://me:secret@127.0.0.1:{port}/", "http://127.0.0.1.nip.io.:{port}/\r\nX: y", "", "x" * 3000,
    ],
)  # fmt: skip
def test_validation_leads_to_no_private_address(served: Api, tmp_path: Path, url: str) -> None:
    (tmp_path / "index.html").write_text("[]")
    with WebServer(Site(tmp_path)) as web:
        problem = served.problem(422, "POST", "/validate", params={"url": url.format(port=web.port)})
        assert problem["errors"][0]["parameter"] == "url"
        assert "secret" not in str(problem)
        assert web.asked == []


def test_other_origins_read_when_they_are_listed(database: LiveDatabase, settings: Settings) -> None:
    def allowed(client: Api, origin: str) -> tuple[str | None, str | None]:
        headers = client.get("/brands", headers={"Origin": origin}).headers
        return headers.get("access-control-allow-origin"), headers.get("access-control-allow-credentials")

    with api(database, settings) as client:
        assert allowed(client, "https://shop.example") == (None, None)
    with api(database, settings, api_cors_origins="https://shop.example, https://other.example") as client:
        assert allowed(client, "https://other.example") == ("https://other.example", None)
        assert allowed(client, "https://evil.example") == (None, None)
        agent = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "mcp-protocol-version"}
        assert client.request("OPTIONS", "/mcp", headers={"Origin": "https://shop.example"} | agent).status_code == 200
    with api(database, settings, api_cors_origins="*") as client:
        assert allowed(client, "https://evil.example") == ("*", None)


def test_a_proxy_is_believed_only_when_it_is_trusted(database: LiveDatabase, settings: Settings) -> None:
    limited = {"api_rate_limit": 3}

    def limited_as(client: Api, address: str) -> bool:
        sent = {"X-Forwarded-For": address}
        return [client.get("/brands", headers=sent).status_code for _ in range(8)].count(429) > 0

    with api(database, settings, **limited) as client:
        assert limited_as(client, "192.0.2.1")
        assert limited_as(client, "192.0.2.2")
        assert limited_as(client, "192.0.2.3")
    with api(database, settings, **limited, api_trusted_proxies="127.0.0.1") as client:
        assert limited_as(client, "192.0.2.1")
        assert limited_as(client, "2001:db8:1::1")
        neighbour = {"X-Forwarded-For": "2001:db8:1::2"}  # of the same network
        assert 429 in {client.get("/brands", headers=neighbour).status_code for _ in range(4)}
        others = [{"X-Forwarded-For": f"192.0.2.{number}"} for number in range(2, 9)]
        assert {client.get("/brands", headers=other).status_code for other in others} == {200}


def test_every_answer_has_the_headers_that_browsers_obey(served: Api) -> None:
    for path in ("/products", "/nothing", "/openapi.json", "/docs", "/livez"):
        headers = served.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert "server" not in headers

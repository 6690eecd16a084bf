"""The door to the network, before real servers."""

import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
import trustme

from app.core.config import Settings
from app.core.errors import ConfigurationError
from app.net.addresses import OpenedHosts
from app.net.door import Credentials, Door, Policy, door
from app.net.errors import ForbiddenError, NetworkError
from app.net.slots import slots
from tests.support.web import Exchange, Respond, WebServer

OPEN = OpenedHosts.of(["127.0.0.1", "shop.example", "other.example"])


def policy(**changes: object) -> Policy:
    defaults: dict = {"opened": OPEN, "connect_timeout": 0.5}
    return Policy(**defaults | changes)


@pytest.fixture
def serve() -> Iterator:
    """Starts servers."""
    with ExitStack() as stack:
        yield lambda respond, **options: stack.enter_context(WebServer(respond, **options))


@pytest.fixture
def open_door() -> Iterator:
    """Makes doors, and closes them."""
    with ExitStack() as stack:

        def make(policy: Policy, **options: object) -> Door:
            made = Door(policy, **options)
            stack.callback(made.close)
            return made

        yield make


def ask(
    through: Door, url: str, *, headers: Mapping[str, str] | None = None, credentials: Credentials | None = None,
    seconds: float = 5, method: str = "GET",
) -> tuple[int, bytes]:  # fmt: skip
    with through.request(
        method, url, headers=headers or {}, credentials=credentials or Credentials(), until=time.monotonic() + seconds
    ) as answer:
        return answer.status, b"".join(answer.chunks())


def hello(exchange: Exchange) -> None:
    exchange.reply(200, b"hello")


def redirect(*places: str) -> Respond:
    """Redirects along places; there hello."""
    following = {f"/{number}": place for number, place in enumerate(places)}

    def respond(exchange: Exchange) -> None:
        place = following.get(exchange.path)
        hello(exchange) if place is None else exchange.reply(302, location=place)

    return respond


def test_a_request_is_answered_and_says_who_asks(serve, open_door) -> None:
    server = serve(hello)
    assert ask(open_door(policy(user_agent="node (me@example.com)")), server.url + "/a?b=c") == (200, b"hello")
    (asked,) = server.requests
    assert (asked.method, asked.target) == ("GET", "/a?b=c")
    assert asked.headers["user-agent"] == "node (me@example.com)"
    assert asked.headers["host"] == f"127.0.0.1:{server.port}"


def test_a_body_is_sent_and_goes_nowhere_else(serve, open_door) -> None:
    server = serve(lambda exchange: exchange.reply(307, b"there", location="/other") if exchange.body else None)
    through = open_door(policy())
    for body in (b"a question", b"x" * 300_000):
        with through.request(
            "POST", server.url + "/ask", headers={}, credentials=Credentials(), until=time.monotonic() + 5, body=body
        ) as answer:
            assert (answer.status, answer.read(5)) == (307, b"there")
        assert server.requests[-1].body == body
    assert server.asked == [("POST", "/ask")] * 2
    assert server.connections == 1


def test_an_answer_is_read_up_to_what_is_expected(serve, open_door) -> None:
    server = serve(hello)
    through = open_door(policy())
    for limit, is_read in ((5, True), (4, False)):
        with through.request(
            "GET", server.url, headers={}, credentials=Credentials(), until=time.monotonic() + 5
        ) as answer:
            if is_read:
                assert answer.read(limit) == b"hello"
            else:
                with pytest.raises(NetworkError, match="more than 4 bytes"):
                    answer.read(limit)


def test_connections_are_kept(serve, open_door) -> None:
    server, through = serve(hello), open_door(policy())
    for _ in range(5):
        ask(through, server.url)
    assert server.connections == 1


def test_this_machine_is_closed(serve, open_door) -> None:
    server = serve(hello)
    for host in ("127.0.0.1", "localhost", "127.0.0.1.", "[::ffff:127.0.0.1]"):
        with pytest.raises(ForbiddenError, match="the node does not connect there"):
            ask(open_door(policy(opened=OpenedHosts())), f"http://{host}:{server.port}/")
    assert server.connections == 0


def test_a_name_is_resolved_once_and_what_was_checked_is_connected_to(serve, open_door) -> None:
    """A resolver that says something else the second time."""
    inside, outside = serve(hello, host="127.0.0.2"), serve(hello)
    told: list[str] = []

    def rebinding(host: str, port: int) -> list[str]:
        told.append(host)
        return ["127.0.0.1"] if len(told) == 1 else ["10.0.0.1"]

    through = open_door(policy(opened=OPEN, stall_timeout=0.3), resolve=rebinding)
    assert ask(through, f"http://shop.example:{outside.port}/") == (200, b"hello")
    assert told == ["shop.example"]
    through.close()
    with pytest.raises(ForbiddenError, match=r"shop\.example \(10\.0\.0\.1\) is private"):
        ask(open_door(policy(opened=OpenedHosts()), resolve=rebinding), f"http://shop.example:{inside.port}/")
    assert inside.connections == 0


def test_every_connection_is_checked_anew(serve, open_door) -> None:
    server, answers = (
        serve(lambda exchange: (hello(exchange), exchange.hang_up())),
        iter(["127.0.0.1", "169.254.169.254"]),
    )
    through = open_door(policy(), resolve=lambda host, port: [next(answers)])
    assert ask(through, f"http://shop.example:{server.port}/")[0] == 200
    time.sleep(0.05)
    with pytest.raises(ForbiddenError, match="metadata"):
        ask(through, f"http://shop.example:{server.port}/")


def test_the_next_address_is_tried_when_one_does_not_answer(serve, open_door) -> None:
    server = serve(hello)
    through = open_door(policy(), resolve=lambda host, port: ["127.0.0.3", "127.0.0.1"])
    assert ask(through, f"http://shop.example:{server.port}/") == (200, b"hello")


def test_proxies_of_the_environment_are_ignored(serve, monkeypatch: pytest.MonkeyPatch, open_door) -> None:
    server, proxy = serve(hello), serve(hello)
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, proxy.url)
    ask(open_door(policy()), server.url)
    assert (server.connections, proxy.connections) == (1, 0)


def test_nothing_of_this_machine_logs_in_anywhere(
    serve, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, open_door
) -> None:
    """Neither a `.netrc`, nor the cookie of an earlier answer."""
    (tmp_path / ".netrc").write_text("default login me password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    monkeypatch.setenv("HOME", str(tmp_path))
    server = serve(lambda exchange: exchange.reply(200, b"hello", set_cookie="session=1; Path=/"))
    through = open_door(policy())
    for _ in range(2):
        ask(through, server.url)
    assert [{"authorization", "cookie"} & set(exchange.headers) for exchange in server.requests] == [set(), set()]


@pytest.mark.parametrize("headers", [{"X": "a\r\nY: b"}, {"X\r\nY": "b"}, {"X": "a\0"}, {"X Y": "a"}])
def test_no_header_makes_two(serve, open_door, headers: dict[str, str]) -> None:
    server = serve(hello)
    with pytest.raises(NetworkError, match="cannot be sent as HTTP"):
        ask(open_door(policy()), server.url, headers=headers)
    assert server.requests == []


def test_extensions_of_chunks_do_not_take_all_there_is(serve, open_door) -> None:
    def flood(exchange: Exchange) -> None:
        exchange.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(2000):
            exchange.send(b"1;" + b"x" * 60_000 + b"\r\n \r\n")

    server = serve(flood)
    with pytest.raises(NetworkError, match="more about its chunks than is in them"):
        ask(open_door(policy()), server.url)
    assert server.sent < 10 * 1024**2


def test_redirects_are_followed_and_counted(serve, open_door) -> None:
    server = serve(redirect("/1", "2", "./3?x=1", "/x/../4", "/5"))
    assert ask(open_door(policy()), f"{server.url}/0") == (200, b"hello")
    with pytest.raises(NetworkError, match="redirects more than 5 times"):
        ask(open_door(policy()), f"{serve(redirect(*(f'/{each}' for each in range(1, 8)))).url}/0")


@pytest.mark.parametrize(
    ("place", "told"),
    [
        ("http://10.0.0.1/", "10.0.0.1 is private"),
        ("http://169.254.169.254/latest/meta-data/", "metadata"),
        ("http://[::1]:6379/", "loopback"),
        ("http://0x7f000001/", "odd spelling"),
        ("file:///etc/passwd", "the scheme 'file'"),
        ("gopher://127.0.0.1:6379/_FLUSHALL", "the scheme 'gopher'"),
        ("http://user:secret@127.0.0.1/", "user or password"),
        ("http://[::1/", "no URL"),
        ("", "nowhere"),
        ("http://a.example:0/", "port 0"),
    ],
)
def test_redirects_lead_nowhere_else(serve, place: str, told: str, open_door) -> None:
    server = serve(redirect(place))
    with pytest.raises(NetworkError, match=told) as caught:
        ask(open_door(policy()), f"{server.url}/0")
    assert not caught.value.transient
    assert "secret" not in str(caught.value)


def test_credentials_stay_with_their_origin(serve, open_door) -> None:
    other = serve(redirect("/back"))
    server = serve(redirect(f"{other.url}/0"))
    credentials = Credentials({"Authorization": "Bearer secret"}, frozenset({f"{server.url}"}))
    ask(open_door(policy()), f"{server.url}/0", credentials=credentials, headers={"X-Plain": "1"})
    assert server.requests[0].headers["authorization"] == "Bearer secret"
    assert [exchange.headers.get("authorization") for exchange in other.requests] == [None, None]
    assert other.requests[0].headers["x-plain"] == "1"
    ask(open_door(policy()), f"{other.url}/x", credentials=credentials)
    assert "authorization" not in other.requests[-1].headers
    assert "secret" not in repr(credentials)


def test_credentials_do_not_come_back_with_a_redirect(serve, open_door) -> None:
    """What sent the node away does not get it back with a URL of its choice."""
    places = iter(["", "/final"])
    server = serve(
        lambda exchange: exchange.reply(302, location=next(places)) if exchange.path == "/0" else hello(exchange)
    )
    other = serve(lambda exchange: exchange.reply(302, location=f"{server.url}/2"))
    places = iter([other.url])
    ask(open_door(policy()), f"{server.url}/0", credentials=Credentials({"X-Key": "secret"}, frozenset({server.url})))
    assert [("x-key" in exchange.headers) for exchange in server.requests] == [True, False]


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def tls(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    return context


@pytest.fixture
def trusting(authority: trustme.CA, tmp_path: Path) -> Policy:
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    return policy(ca_bundle=tmp_path / "ca.pem", first_byte_timeout=2, stall_timeout=2, connect_timeout=2)


def test_tls_asks_for_the_name_and_connects_to_the_address(
    serve, authority: trustme.CA, trusting: Policy, open_door
) -> None:
    server = serve(hello, tls=tls(authority, "shop.example"))
    through = open_door(trusting, resolve=lambda host, port: ["127.0.0.1"])
    assert ask(through, f"https://shop.example:{server.port}/") == (200, b"hello")
    assert server.requests[0].headers["host"] == f"shop.example:{server.port}"


def test_a_redirect_asks_for_the_name_it_leads_to(serve, authority: trustme.CA, trusting: Policy, open_door) -> None:
    """In TLS and in the request alike: no server gets a name that is another's."""
    names: list[str] = []
    context = tls(authority, "shop.example", "other.example")
    context.sni_callback = lambda connection, name, context: names.append(name)
    other = serve(hello, tls=context)
    server = serve(redirect(f"https://other.example:{other.port}/"), tls=context)
    through = open_door(trusting, resolve=lambda host, port: ["127.0.0.1"])
    assert ask(through, f"https://shop.example:{server.port}/0") == (200, b"hello")
    assert names == ["shop.example", "other.example"]
    assert other.requests[0].headers["host"] == f"other.example:{other.port}"


def test_a_certificate_of_another_name_or_authority_is_refused(
    serve, authority: trustme.CA, trusting: Policy, open_door
) -> None:
    wrong_name = serve(hello, tls=tls(authority, "evil.example"))
    stranger = serve(hello, tls=tls(trustme.CA(), "shop.example"))
    through = open_door(trusting, resolve=lambda host, port: ["127.0.0.1"])
    for server in (wrong_name, stranger):
        with pytest.raises(NetworkError, match=r"TLS failed: .*certificate verify failed") as caught:
            ask(through, f"https://shop.example:{server.port}/")
        assert not caught.value.transient
        assert server.requests == []


def test_https_does_not_fall_back_to_http(serve, authority: trustme.CA, trusting: Policy, open_door) -> None:
    plain = serve(hello)
    server = serve(redirect(plain.url), tls=tls(authority, "shop.example"))
    through = open_door(trusting, resolve=lambda host, port: ["127.0.0.1"])
    with pytest.raises(ForbiddenError, match="redirects from https to http"):
        ask(through, f"https://shop.example:{server.port}/0")
    assert plain.connections == 0


def test_http_may_lead_to_https(serve, authority: trustme.CA, trusting: Policy, open_door) -> None:
    server = serve(hello, tls=tls(authority, "shop.example"))
    plain = serve(redirect(f"https://shop.example:{server.port}/"))
    through = open_door(trusting, resolve=lambda host, port: ["127.0.0.1"])
    assert ask(through, f"http://other.example:{plain.port}/0") == (200, b"hello")


def drip(exchange: Exchange, data: bytes, pause: float = 0.05) -> None:
    for byte in data:
        exchange.send(bytes([byte]))
        time.sleep(pause)


@pytest.mark.parametrize(
    ("respond", "patience", "told"),
    [
        (lambda exchange: time.sleep(3), "first_byte_timeout", "did not answer within 1"),
        (
            lambda exchange: drip(exchange, b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 50),
            "first_byte_timeout", "did not answer within 1",
        ),
        (
            lambda exchange: (exchange.reply(200, b"he", content_length="5"), time.sleep(3)),
            "stall_timeout", "sent nothing for 1",
        ),
        (
            lambda exchange: drip(exchange, b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 200, 0.02),
            "connect_timeout", "took longer than",
        ),
        (
            lambda exchange: [exchange.send(b"HTTP/1.1 100 Continue\r\n\r\n") for _ in range(10**6)],
            "first_byte_timeout", "did not answer",
        ),
    ],
    ids=["silent", "slow headers", "stalls", "a byte at a time", "only interim answers"],
)  # fmt: skip
def test_slow_servers_are_left(serve, respond: Respond, patience: str, told: str, open_door) -> None:
    server, began = serve(respond), time.monotonic()
    with pytest.raises(NetworkError, match=told) as caught:
        ask(open_door(policy(**{patience: 1})), server.url, seconds=3)
    assert caught.value.transient
    assert time.monotonic() - began < 10


def test_a_server_that_is_not_there_is_a_passing_fault(serve, open_door) -> None:
    with WebServer(hello) as server:
        url = server.url
    with pytest.raises(NetworkError, match="no connection") as caught:
        ask(open_door(policy()), url)
    assert caught.value.transient


def test_a_name_that_cannot_be_resolved_is_a_passing_fault(open_door) -> None:
    with pytest.raises(NetworkError, match="cannot be resolved") as caught:
        ask(open_door(policy()), "https://nowhere.invalid/")
    assert caught.value.transient


def test_a_name_server_that_keeps_silent_is_not_waited_for(open_door) -> None:
    over = threading.Event()
    through = open_door(policy(), resolve=lambda host, port: ["127.0.0.1"] if over.wait(30) else [])
    with pytest.raises(NetworkError, match=r"cannot be resolved: no answer within 0\.2 seconds") as caught:
        ask(through, "https://shop.example/", seconds=0.2)
    over.set()
    assert caught.value.transient


def test_a_server_gets_few_requests_at_once(serve, open_door) -> None:
    server = serve(lambda exchange: (time.sleep(0.05), hello(exchange)))
    through = open_door(policy(connections_per_host=2, first_byte_timeout=2))
    with ThreadPoolExecutor(8) as pool:
        assert all(status == 200 for status, _ in pool.map(lambda _: ask(through, server.url), range(8)))
    assert server.most_at_once == 2


def test_servers_that_nobody_waits_for_are_forgotten(serve, open_door) -> None:
    """However many a feed leads to, one after the other."""
    server = serve(hello)
    through = open_door(policy(connections_per_host=3), resolve=lambda host, port: ["127.0.0.1"])
    for number in range(5):
        assert ask(through, f"http://host-{number}.example:{server.port}/") == (200, b"hello")
    assert len(slots(3)) == 0


def test_the_door_is_one_for_a_policy() -> None:
    assert door(policy()) is door(policy())
    assert door(policy()) is not door(policy(user_agent="other"))


def test_the_policy_is_that_of_the_settings(tmp_path: Path) -> None:
    settings = Settings(_env_file=None, allowed_private_hosts="intranet, 10.0.0.1:80", contact="me@example.com")
    found = Policy.of(settings)
    assert found.opened.holds("intranet", 443)
    assert found.user_agent.endswith("(me@example.com)")
    with pytest.raises(ConfigurationError, match=r"ALLOWED_PRIVATE_HOSTS.*'http://x'"):
        Policy.of(Settings(_env_file=None, allowed_private_hosts="http://x"))


def test_a_deadline_is_that_of_its_thread_alone(serve, open_door) -> None:
    slow, fast = serve(lambda exchange: (time.sleep(0.2), hello(exchange))), serve(hello)
    through, results = open_door(policy(first_byte_timeout=2)), []
    thread = threading.Thread(target=lambda: results.append(ask(through, slow.url)))
    thread.start()
    assert ask(through, fast.url, seconds=0.15) == (200, b"hello")
    thread.join()
    assert results == [(200, b"hello")]

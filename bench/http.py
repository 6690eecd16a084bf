"""The API as it is served, asked by clients that do next to nothing themselves: distinct queries, each embedded
anew."""

import itertools
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote, urlencode

from sqlalchemy import text

from app.db.session import LiveDatabase
from bench.catalogues import Catalogue, catalogue
from bench.place import Bench
from bench.queries import distinct_queries
from bench.table import REPEATS, Answers, Row, answers, console, load, median

CLIENTS = (1, 16, 64)
_TEXTS = 20_000  # that queries are cut from
_PRODUCTS = 20_000
_WARM_UP = 400
_REQUESTS = {1: 400, 16: 1_600, 64: 1_600}
_CHUNK = 1 << 16


def measure_http(bench: Bench, products: int) -> Iterator[Row]:
    """Searches and products as `discovery-node serve` answers them."""
    made = catalogue(bench, products)
    for route, targets in _targets(made).items():
        rounds: dict[int, list[Answers]] = {clients: [] for clients in CLIENTS}
        loads = []
        with _served(made.url) as port:
            _ask(port, 16, list(itertools.islice(targets, _WARM_UP)))
            for _ in range(REPEATS):
                loads.append(load())
                console.print(f"bench: {route} over HTTP, at a load of {loads[-1]:.1f}")
                for clients in CLIENTS:
                    asked = list(itertools.islice(targets, _REQUESTS[clients]))
                    rounds[clients].append(_ask(port, clients, asked))
        told = f"{min(loads):.1f} to {max(loads):.1f}"
        yield Row(f"{route} over HTTP, {products:,} products: load meanwhile", told)
        for clients in CLIENTS:
            yield _row(route, median(rounds[clients]))


def _row(route: str, found: Answers) -> Row:
    work = f"… {route}, {found.clients} client{'' if found.clients == 1 else 's'}"
    told = f"{found.rate:.0f}/s, p50 {found.p50:.1f} ms, p95 {found.p95:.1f} ms"
    if route == "search" and found.clients == 1:
        return Row(work, told, "p95 ≤ 12 ms", found.p95 <= 12)
    if route == "search" and found.clients == 16:
        return Row(work, told, "≥ 300/s, p95 ≤ 80 ms", found.rate >= 300 and found.p95 <= 80)
    return Row(work, told)


def _targets(made: Catalogue) -> dict[str, Iterator[str]]:
    """Searches that are never the same, and products in no order."""
    database = LiveDatabase(made.url)
    with database.transaction() as connection:
        statement = text("SELECT urn FROM products ORDER BY text_hash LIMIT :most")
        urns = connection.execute(statement, {"most": _PRODUCTS}).scalars().all()
    database.engine.dispose()
    queries = distinct_queries(made.texts(_TEXTS))
    return {
        "search": (f"/products?{urlencode({'q': query})}" for query in queries),
        "product": (f"/products/{quote(urn)}" for urn in itertools.cycle(urns)),
    }


def _ask(port: int, clients: int, targets: Sequence[str]) -> Answers:
    """Sends a request for each target, as soon as a client has its last answer."""
    taken: list[float] = []
    remaining = iter(targets)
    lock = threading.Lock()

    def work() -> None:
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while True:
                with lock:
                    target = next(remaining, None)
                if target is None:
                    return
                began = time.perf_counter()
                _request(connection, target)
                taken.append((time.perf_counter() - began) * 1000)

    threads = [threading.Thread(target=work) for _ in range(clients)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - began
    if len(taken) != len(targets):
        raise RuntimeError("A client gave up")
    return answers(clients, taken, seconds)


def _request(connection: socket.socket, target: str) -> None:
    connection.sendall(f"GET {target} HTTP/1.1\r\nHost: bench\r\n\r\n".encode())
    received = b""
    while b"\r\n\r\n" not in received:
        received += _received(connection)
    head, _, body = received.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(head.decode("latin-1").partition("\r\n")[0])
    length = int(re.findall(rb"content-length: (\d+)", head)[0])
    left = length - len(body)
    while left > 0:
        left -= len(_received(connection))


def _received(connection: socket.socket) -> bytes:
    piece = connection.recv(_CHUNK)
    if not piece:
        raise RuntimeError("The server hung up")
    return piece


@contextmanager
def _served(url: str) -> Iterator[int]:
    """The port of `discovery-node serve`, which limits nobody."""
    variables = {"DATABASE_URL": url, "API_RATE_LIMIT": "0", "API_KEY_RATE_LIMIT": "0", "LOG_LEVEL": "warning"}
    command = [str(Path(sys.executable).with_name("discovery-node")), "serve", "--port", "0"]
    with subprocess.Popen(command, env=os.environ | variables, stdout=subprocess.PIPE, text=True) as process:
        said = process.stdout.readline() if process.stdout else ""
        port = int(re.findall(r":(\d+),", said)[0])
        try:
            _wait_for(port)
            yield port
        finally:
            process.terminate()


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            with socket.create_connection(("127.0.0.1", port), 20) as connection:
                _request(connection, "/livez")
                return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError("The API does not answer")

"""The API as it is served, asked by clients that do next to nothing themselves: distinct queries, each embedded
anew."""

import itertools
import os
import re
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlencode

from sqlalchemy import text

from app.cmp.text import search_text
from app.core.config import Settings
from app.db.session import LiveDatabase
from app.vectors.embedders import create_embedder
from bench.search import fill_index, queries_of

CLIENTS = (1, 16, 64)
_TEXTS = 3_000
_WARM_UP = 200
_REQUESTS = {1: 400, 16: 1_600, 64: 1_600}
_CHUNK = 1 << 16


@dataclass(frozen=True)
class HttpFigures:
    """So many clients at once: answers a second, and milliseconds until one is there whole."""

    clients: int
    rate: float
    p50: float
    p95: float


def measure_http(url: str) -> dict[str, list[HttpFigures]]:
    """Fills the index of the database's products, and asks for searches and for products."""
    database = LiveDatabase(url)
    with database.transaction() as connection:
        rows = connection.execute(
            text("SELECT urn, name, brand_name, description FROM products ORDER BY id LIMIT :most"), {"most": _TEXTS}
        ).all()
    texts = [search_text(row.name, row.brand_name, row.description) for row in rows]
    fill_index(database, create_embedder(Settings(database_url=url)), texts)
    database.engine.dispose()
    searches = (f"/products?{urlencode({'q': query})}" for query in [*queries_of(texts), *queries_of(texts, 1)])
    products = (f"/products/{quote(row.urn)}" for row in itertools.cycle(rows))
    found: dict[str, list[HttpFigures]] = {}
    for route, targets in {"search": searches, "product": products}.items():
        with _served(url) as port:
            _ask(port, 16, list(itertools.islice(targets, _WARM_UP)))
            found[route] = [
                _ask(port, clients, list(itertools.islice(targets, _REQUESTS[clients]))) for clients in CLIENTS
            ]
    return found


def _ask(port: int, clients: int, targets: Sequence[str]) -> HttpFigures:
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
    rate = len(taken) / (time.perf_counter() - began)
    if len(taken) != len(targets):
        raise RuntimeError("A client gave up")
    return HttpFigures(clients, rate, statistics.median(taken), sorted(taken)[int(len(taken) * 0.95)])


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

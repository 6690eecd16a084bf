"""Sockets that keep to a clock, for libraries that know timeouts of single reads alone."""

import socket
import ssl
import time
from typing import Any


class Clock:
    """Until when, on the monotonic clock, the connections of a session may wait."""

    def __init__(self) -> None:
        self.until = float("inf")

    def left(self, patience: float) -> float:
        left = self.until - time.monotonic()
        if left <= 0:
            raise TimeoutError("the time is over")
        return min(left, patience)


class Timed:
    """Reads of a socket, none of which waits longer than the clock says; a server that drips is no exception."""

    clock = Clock()
    patience = 30.0

    def recv(self, *arguments: Any) -> bytes:
        self.settimeout(self.clock.left(self.patience))  # type: ignore[attr-defined]
        data: bytes = super().recv(*arguments)  # type: ignore[misc]
        return data

    def recv_into(self, *arguments: Any) -> int:
        self.settimeout(self.clock.left(self.patience))  # type: ignore[attr-defined]
        count: int = super().recv_into(*arguments)  # type: ignore[misc]
        return count


class TimedSocket(Timed, socket.socket):
    pass


class TimedTlsSocket(Timed, ssl.SSLSocket):
    pass

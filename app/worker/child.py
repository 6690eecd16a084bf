"""A process that ends with this one, whichever way this one ends."""

import ctypes
import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_REMEMBERED = 20  # lines
_CHUNK = 1 << 16


@dataclass
class Child:
    """A process in a session of its own, which a terminal's Ctrl-C does not reach. Start it from the main thread: the
    kernel takes the end of the thread that started it for the end of its parent.

    `fed` goes to its standard input at every start: what must stand neither in a command line nor in a file. `log` is
    where it writes what it does not say. `urging` asks again, after so many seconds, one that was told to stop.
    `inherited` are file descriptors that it has too."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    fed: bytes = field(default=b"", repr=False)
    log: Path | None = None
    urging: tuple[float, signal.Signals] | None = None
    inherited: Sequence[int] = ()
    said: deque[str] = field(default_factory=lambda: deque(maxlen=_REMEMBERED), init=False, repr=False)
    _process: "subprocess.Popen[bytes] | None" = field(default=None, init=False, repr=False)
    _unfinished: bytes = field(default=b"", init=False, repr=False)

    def start(self) -> int:
        """Starts it, or starts it again; returns the file descriptor of what it says on stdout and stderr."""
        self.said.clear()
        self._process = subprocess.Popen(  # noqa: S603 - commands are the node's own
            self.command,
            env={**os.environ, **self.environment},
            stdin=subprocess.PIPE if self.fed else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=self.inherited,
            preexec_fn=_tie(os.getpid()),  # safe, for this process has one thread
        )
        if self._process.stdin is not None:
            with suppress(BrokenPipeError):  # it ended at once, which is told like any end
                self._process.stdin.write(self.fed)
                self._process.stdin.close()
        output = self.output
        os.set_blocking(output, False)
        return output

    @property
    def pid(self) -> int:
        return self._running.pid

    @property
    def output(self) -> int:
        """Where it says things."""
        assert self._running.stdout is not None  # noqa: S101 - it was started with a pipe
        return self._running.stdout.fileno()

    def ended(self) -> str | None:
        """How it ended; None while it runs."""
        code = self._running.poll()
        if code is None:
            return None
        return signal.Signals(-code).name if code < 0 else f"exit {code}"

    def started(self) -> bool:
        """Whether it runs, or is dead and not buried."""
        return self._process is not None

    def runs(self) -> bool:
        return self.started() and self.ended() is None

    def lines(self) -> list[bytes] | None:
        """The lines it said since the last call; None when nothing more will come."""
        try:
            read = os.read(self.output, _CHUNK)
        except BlockingIOError:
            return []
        if not read:
            return None
        *lines, self._unfinished = (self._unfinished + read).split(b"\n")
        return self._remembered(lines)

    def rest(self) -> list[bytes]:
        """All that is left to read of one that is dead."""
        read, self._unfinished = self._unfinished, b""
        with suppress(BlockingIOError):
            while more := os.read(self.output, _CHUNK):
                read += more
        return self._remembered(read.splitlines())

    def _remembered(self, lines: list[bytes]) -> list[bytes]:
        self.said.extend(line.decode(errors="replace") for line in lines)
        return lines

    def last_words(self) -> list[str]:
        """The end of what it said or, if it said nothing, of its log."""
        if not self.said and self.log is not None and self.log.is_file():
            return self.log.read_text(errors="replace").splitlines()[-_REMEMBERED:]
        return list(self.said)

    def send(self, signum: signal.Signals) -> None:
        if self.runs():
            self._running.send_signal(signum)

    def bury(self) -> None:
        """Kills it and what it left behind, at once."""
        if self._process is None:
            return
        with suppress(ProcessLookupError, PermissionError):  # nothing is left; macOS says so in the second way
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._process = None

    @property
    def _running(self) -> "subprocess.Popen[bytes]":
        assert self._process is not None  # noqa: S101 - asked of a child that was started
        return self._process


def _tie(parent: int) -> Callable[[], None] | None:
    """What a new process does to be told to end when `parent` is no more. Only Linux knows such a thing."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl

    def tie() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it was killed before it could be tied to
            os._exit(1)

    return tie

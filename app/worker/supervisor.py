"""Keeps a node's processes running: what `discovery-node up` does once it has found out what there is to run."""

import fcntl
import os
import selectors
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import structlog

from app.core.errors import DiscoveryNodeError
from app.worker.child import Child

log = structlog.get_logger()

SCHEDULER = "app.worker.schedulers:DatabaseScheduler"
GRACE = 30.0  # seconds to end in, once told to
_URGED = 8.0  # seconds a worker may take to finish its tasks; asked again it takes 20 more, and gives the rest back
_PROVEN = 60.0  # seconds: one that lived so long is no misconfiguration
_PATIENCE = 5  # deaths within `_PROVEN` seconds, of one that never lived so long
_LONGEST_PAUSE = 30.0  # seconds
_TICK = 0.2  # seconds


class AlreadyUpError(DiscoveryNodeError):
    """Another process keeps the node of this `DATA_DIR` running."""


class ChildFailedError(DiscoveryNodeError):
    """A process ends whenever it is started; `last_words` are the lines it said."""

    def __init__(self, child: Child, ended: str) -> None:
        super().__init__(
            f"{child.name} ended {_PATIENCE} times within a minute, last with {ended}",
            remedy=f"What it said last is above. {f'Its log is {child.log}. ' if child.log else ''}"
            "See `discovery-node doctor`.",
        )
        self.name = child.name
        self.last_words = child.last_words()


@contextmanager
def only_one(data_dir: Path) -> Iterator[None]:
    """Holds `data_dir` against other supervisors. Raises `AlreadyUpError`. The kernel gives it back, however this
    process ends."""
    data_dir.mkdir(parents=True, exist_ok=True)
    with (data_dir / "up.lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            raise AlreadyUpError(
                f"`discovery-node up` runs on {data_dir} already, as process {file.read().strip() or 'unknown'}",
                remedy="End that one first, or choose another DATA_DIR (and other ports in CELERY_BROKER_URL).",
            ) from error
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


def celery_children(environment: Mapping[str, str], concurrency: int) -> list[Child]:
    """The worker and the beat, with these variables in their environment."""
    celery = [sys.executable, "-m", "celery", "-A", "app.worker.celery_app"]
    worker = [*celery, "worker", "--loglevel=info", f"--concurrency={concurrency}"]
    beat = [*celery, "beat", "--loglevel=info", f"--scheduler={SCHEDULER}"]
    environment = {**environment, "PYTHONUNBUFFERED": "1"}
    # A worker told to stop waits for its tasks without limit. SIGQUIT makes it the soft shutdown of its settings.
    return [
        Child("worker", worker, environment, urging=(_URGED, signal.SIGQUIT)),
        Child("beat", beat, environment),
    ]


@dataclass
class _Life:
    """How a child fares."""

    child: Child
    due: float | None = 0.0  # when it is to be started; None while it runs
    born: float = 0.0
    deaths: deque[float] = field(default_factory=lambda: deque(maxlen=_PATIENCE))
    in_a_row: int = 0
    proven: bool = False

    def began(self, now: float) -> None:
        self.born, self.due = now, None

    def ended(self, now: float, first_pause: float) -> float | None:
        """Notes that it died: so many seconds later it is to be started again, None is never."""
        if now - self.born >= _PROVEN:
            self.proven, self.in_a_row = True, 0
        self.deaths.append(now)
        self.in_a_row += 1
        if not self.proven and len(self.deaths) == _PATIENCE and now - self.deaths[0] < _PROVEN:
            return None
        pause = min(_LONGEST_PAUSE, first_pause * 2.0 ** min(self.in_a_row - 1, 10))
        self.due = now + pause
        return pause


class Supervisor:
    """Runs children until it is told to stop, and starts those that die again. `servers` outlive `workers`. What is no
    child is kept up by `keep_up`, called several times a second."""

    def __init__(
        self,
        workers: Sequence[Child],
        servers: Sequence[Child] = (),
        *,
        keep_up: Callable[[], None] = lambda: None,
        first_pause: float = 1.0,
    ) -> None:
        self._workers = workers
        self._servers = servers
        self._lives = [_Life(child) for child in (*servers, *workers)]
        self._keep_up = keep_up
        self._first_pause = first_pause
        self._selector = selectors.DefaultSelector()
        self._signals = 0

    def run(self, started: Callable[[], None] = lambda: None) -> None:
        """Returns after the first SIGINT, SIGTERM or SIGHUP, when all children have ended; at the second it raises
        `KeyboardInterrupt`. Raises `ChildFailedError`. No child outlives it. Calls `started` when each was started."""
        with self._watched_signals():
            try:
                self._turn()
                started()
                while not self._signals:
                    self._turn()
                with suppress(OSError):  # the terminal may be gone
                    log.info("ending", at_most_seconds=GRACE, hint="Ctrl-C again ends all at once")
                self._end(self._workers)
                self._end(self._servers)
            finally:
                for child in (*self._workers, *self._servers):
                    child.bury()
                self._selector.close()

    def _turn(self) -> None:
        for life in self._lives:
            if life.due is None:
                ended = life.child.ended()
                if ended is not None:
                    self._bury(life.child)
                    self._lost(life, ended)
            elif life.due <= time.monotonic():
                self._start(life)
        self._keep_up()
        self._forward()

    def _start(self, life: _Life) -> None:
        child = life.child
        life.began(time.monotonic())
        try:
            output = child.start()
        except OSError as error:
            self._lost(life, str(error))
            return
        self._selector.register(output, selectors.EVENT_READ, child)
        log.info("child.started", child=child.name, pid=child.pid)

    def _lost(self, life: _Life, ended: str) -> None:
        """Decides when it comes back. Raises `ChildFailedError` when that is of no use."""
        pause = life.ended(time.monotonic(), self._first_pause)
        if pause is None:
            raise ChildFailedError(life.child, ended)
        log.warning("child.died", child=life.child.name, ended=ended, back_in_seconds=pause)

    def _bury(self, child: Child) -> None:
        """Takes the last words of one that is dead, or is to die now."""
        _say(child, child.rest())
        with suppress(KeyError):  # it had closed its output
            self._selector.unregister(child.output)
        child.bury()

    def _forward(self) -> None:
        """Passes on what children say, for a tick at most."""
        for key, _ in self._selector.select(_TICK):
            lines = key.data.lines()
            if lines is None:
                self._selector.unregister(key.fileobj)
            else:
                _say(key.data, lines)

    def _end(self, children: Sequence[Child]) -> None:
        """Tells the children to end, and kills those that have not done so in time."""
        told = time.monotonic()
        urged: set[str] = set()
        for child in children:
            child.send(signal.SIGTERM)
        while any(child.runs() for child in children) and (waited := time.monotonic() - told) < GRACE:
            for child in children:
                if child.urging and waited > child.urging[0] and child.name not in urged:
                    urged.add(child.name)
                    child.send(child.urging[1])
            self._forward()
        for child in children:
            if child.started():
                self._bury(child)

    @contextmanager
    def _watched_signals(self) -> Iterator[None]:
        wanted = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as `nohup` sets it
            wanted.append(signal.SIGHUP)
        before = {signum: signal.signal(signum, self._note) for signum in wanted}
        try:
            yield
        finally:
            for signum, handler in before.items():
                signal.signal(signum, handler)

    def _note(self, _signum: int, _frame: FrameType | None) -> None:
        self._signals += 1
        if self._signals == 2:
            raise KeyboardInterrupt


def _say(child: Child, lines: Sequence[bytes]) -> None:
    """Passes lines on to stderr: to a terminal with the name of who says it, else as they are."""
    prefix = f"{child.name} | ".encode() if sys.stderr.isatty() else b""
    with suppress(OSError):  # the terminal may be gone before the children are
        sys.stderr.flush()
        sys.stderr.buffer.write(b"".join(prefix + line + b"\n" for line in lines))
        sys.stderr.buffer.flush()

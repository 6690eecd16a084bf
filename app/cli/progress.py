"""Bars on stderr: shards while a feed is read, products while they are embedded."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, Task, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.text import Text

from app.cli.output import console
from app.ingestors.progress import NoProgress, Progress


@contextmanager
def shown_progress() -> Iterator[Progress]:
    """Shows progress while the block runs, when stderr is a terminal."""
    if not sys.stderr.isatty():
        yield NoProgress()
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn())
    with Bars(*columns, console=console(stderr=True), transient=True) as bars:
        yield _BarProgress(bars)


class _BarProgress:
    """A bar for each kind of work; it starts over with the next feed."""

    def __init__(self, bars: Bars) -> None:
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}

    def staging(self, done: int, total: int) -> None:
        self._show("reading shards", done, total)

    def embedding(self, done: int, total: int) -> None:
        self._show("embedding products", done, total)

    def _show(self, work: str, done: int, total: int) -> None:
        task = self._tasks.get(work)
        if task is None:
            task = self._tasks[work] = self._bars.add_task(work, total=total)
        elif done < self._bars.tasks[task].completed or total != self._bars.tasks[task].total:
            self._bars.reset(task, total=total)
        self._bars.update(task, completed=done)


class _Rate(ProgressColumn):
    """So many a second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.0f}/s", style="progress.data.speed")

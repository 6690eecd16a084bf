"""What `make bench` prints: lines with budgets, and times until answers are there."""

import os
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

REPEATS = 3
console = Console(width=130)


@dataclass(frozen=True)
class Row:
    """A line of the table; `met` is None where there is no budget."""

    work: str
    measured: str
    budget: str = ""
    met: bool | None = None


@dataclass(frozen=True)
class Spent:
    """Milliseconds of a processor, in this process and in those of the database's server."""

    here: float
    database: float

    def __str__(self) -> str:
        return f"{self.here:.1f} ms here, {self.database:.1f} ms in PostgreSQL"

    def __sub__(self, before: "Spent") -> "Spent":
        return Spent(self.here - before.here, self.database - before.database)


@dataclass(frozen=True)
class Answers:
    """So many clients at once: answers a second, and milliseconds until one is there whole. `processor` is what each
    took of it in this process and in the database's, where that was looked at: it tells more than the others do while
    the machine has much else to do."""

    clients: int
    rate: float
    p50: float
    p95: float
    processor: Spent | None = None

    def __str__(self) -> str:
        rate = f"{self.rate:.0f}/s, " if self.clients > 1 else ""
        return f"{rate}p50 {self.p50:.1f} ms, p95 {self.p95:.1f} ms"


def answers(clients: int, milliseconds: Sequence[float], seconds: float, spent: Spent | None = None) -> Answers:
    """What came within so many seconds, `spent` on all of it."""
    number = len(milliseconds)
    p95 = sorted(milliseconds)[int(number * 0.95)]
    processor = None if spent is None else Spent(spent.here / number, spent.database / number)
    return Answers(clients, number / seconds, statistics.median(milliseconds), p95, processor)


def median(rounds: Sequence[Answers]) -> Answers:
    """Of rounds with as many clients, each figure by itself."""
    looked_at = [each.processor for each in rounds if each.processor is not None]
    return Answers(
        rounds[0].clients,
        statistics.median(each.rate for each in rounds),
        statistics.median(each.p50 for each in rounds),
        statistics.median(each.p95 for each in rounds),
        Spent(
            statistics.median(each.here for each in looked_at), statistics.median(each.database for each in looked_at)
        )
        if looked_at
        else None,
    )


def load() -> float:
    """How many processes wanted to run in the last minute, those of the measurement among them."""
    return os.getloadavg()[0]


def show(rows: Sequence[Row]) -> None:
    table = Table("work", "measured", "budget", "")
    for row in rows:
        verdict = "" if row.met is None else "[green]met[/]" if row.met else "[red]missed[/]"
        table.add_row(row.work, row.measured, row.budget, verdict)
    console.print(table)

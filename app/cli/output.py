"""What commands print: results on stdout, all else on stderr. Strangers' text is shown as text, never as markup."""

import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import msgspec
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from app.core.errors import DiscoveryNodeError

STATUS_STYLES = {
    "success": "green", "degraded": "yellow", "held": "yellow", "failed": "red", "running": "cyan", "waiting": "yellow",
    "queued": "blue", "error": "red", "warning": "yellow", "live": "green", "building": "cyan",
}  # fmt: skip

_WIDTH = 140  # where no terminal says how wide it is
_ENCODER = msgspec.json.Encoder(decimal_format="number")


def console(*, stderr: bool = False) -> Console:
    """Markup stays off: names may hold brackets."""
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() or "COLUMNS" in os.environ else _WIDTH
    return Console(stderr=stderr, width=width, markup=False, highlight=False, emoji=False, soft_wrap=False)


def to_json(document: Any) -> str:
    """Indented; decimals are written exactly."""
    return msgspec.json.format(_ENCODER.encode(document), indent=2).decode()


def print_json(document: Any) -> None:
    """One document on stdout, in UTF-8 whatever the locale."""
    sys.stdout.flush()
    sys.stdout.buffer.write(f"{to_json(document)}\n".encode())
    sys.stdout.flush()


def print_error(error: DiscoveryNodeError) -> None:
    """What happened, and on a line of its own what to do."""
    out = console(stderr=True)
    out.print(Text.assemble(("error: ", "bold red"), one_line(str(error))), soft_wrap=True)
    if error.remedy:
        out.print(one_line(error.remedy), soft_wrap=True)


def one_line(text: str) -> str:
    return " ".join(text.split())


def table(*columns: str, numbers: Iterable[str] = ()) -> Table:
    """A plain table; columns in `numbers` are set to the right."""
    made = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    right = frozenset(numbers)
    for column in columns:
        made.add_column(
            column, justify="right" if column in right else "left", overflow="fold", no_wrap=column in right
        )
    return made


def status(name: str) -> Text:
    return Text(name, STATUS_STYLES.get(name, ""))


def money(price: Decimal | None, currency: str | None) -> str:
    """At least two decimals, more only where they are not zero."""
    if price is None:
        return "-"
    exact = price.normalize()
    return f"{exact:,.2f} {currency}" if int(exact.as_tuple().exponent) >= -2 else f"{exact:,f} {currency}"


def counted(number: int, noun: str) -> str:
    """`1 product`, `2,000 products`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def changes(verdicts: Mapping[str, int], *names: str) -> str:
    """`213 inserted, 2 rejected`: what is not zero."""
    return ", ".join(f"{verdicts[name]:,} {name}" for name in names if verdicts.get(name)) or "none"


def placed(shard: str | None, position: int | None, path: str | None, told: str) -> str:
    """What is told of a place, after the place as far as it is known: in a shard an item, in a registry an entry."""
    noun = "item" if shard else "entry"
    where = ", ".join(part for part in (shard, f"{noun} {position}" if position else None, path) if part)
    if not (where and told) or told.startswith(where):
        return told or where
    return f"{where}: {told}"


@dataclass
class Findings:
    """Issues of one code: how many there are, and some of their places."""

    severity: str
    code: str
    hint: str
    count: int = 0
    places: list[str] = field(default_factory=list)


def print_findings(out: Console, groups: Iterable[Findings], shown: int) -> None:
    """Each code with its remedy and the first of its places."""
    for group in groups:
        style = STATUS_STYLES.get(group.severity, "")
        times = f" ({group.count:,} times)" if group.count > 1 else ""
        out.print(Text.assemble((f"{group.severity} ", f"bold {style}"), (group.code, "bold"), times))
        for place in group.places[:shown]:
            out.print(Text(f"  {one_line(place)}"), soft_wrap=True)
        if more := group.count - min(shown, len(group.places)):
            out.print(Text(f"  and {more:,} more", "dim"))
        out.print(Text(f"  → {group.hint}", "cyan"), soft_wrap=True)

"""`runs --watch`: the ledger while it changes."""

import sys
import time
from collections.abc import Iterator

from rich.console import RenderableType
from rich.live import Live
from rich.text import Text

from app.cli.database import database_errors, opened, settings
from app.cli.output import console
from app.cli.records import Ledger, read_ledger, shown_ledger
from app.core.errors import DiscoveryNodeError

_INTERVAL = 1.0  # seconds between two looks


def watch(limit: int) -> None:
    """Shows the ledger until Ctrl-C: in place on a terminal, anywhere else again whenever something changed."""
    try:
        if sys.stdout.isatty():
            _show(limit)
        else:
            _tell(limit)
    except KeyboardInterrupt:
        pass


def _show(limit: int) -> None:
    with Live(console=console(), auto_refresh=False, transient=False) as live:
        for seen in _looks(limit):
            live.update(_shown(seen), refresh=True)


def _tell(limit: int) -> None:
    told: Ledger | str | None = None
    for seen in _looks(limit):
        if seen != told:
            console().print(_shown(seen), "")
            sys.stdout.flush()
        told = seen


def _looks(limit: int) -> Iterator[Ledger | str]:
    """What is seen, a second after the other: the ledger, or why it cannot be seen now."""
    database = opened(settings())
    while True:
        try:
            with database_errors(), database.transaction() as connection:
                seen: Ledger | str = read_ledger(connection, limit)
        except DiscoveryNodeError as error:
            seen = str(error)
        yield seen
        time.sleep(_INTERVAL)


def _shown(seen: Ledger | str) -> RenderableType:
    if isinstance(seen, str):
        return Text(f"{seen}. Trying again.", "red")
    return shown_ledger(seen)

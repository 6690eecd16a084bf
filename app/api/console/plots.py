"""Figures of runs, in words and as points of a plot, which a template draws."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

WIDTH, HEIGHT = 640, 90
_WIDEST = 24


@dataclass(frozen=True)
class Bar:
    """A run in a plot: where its bar stands, how high it is, and what it stands for."""

    x: float
    width: float
    height: float
    status: str
    told: str


def history(runs: Sequence[Mapping[str, Any]], figure: str) -> list[Bar]:
    """The runs, oldest first, by `seconds` they took or by `products` their feed holds."""
    values = [_seconds(run) if figure == "seconds" else _products(run) for run in reversed(runs)]
    top = max(values, default=0) or 1
    width = min(WIDTH / max(len(values), 1), _WIDEST)
    return [
        Bar(place * width, max(width - 1, 0.5), max(value / top * HEIGHT, 1), run["status"], _told(run, value, figure))
        for place, (run, value) in enumerate(zip(reversed(runs), values, strict=True))
    ]


def lasted(run: Mapping[str, Any]) -> str:
    """How long a run took; nothing of one that is under way."""
    if run["finished_at"] is None:
        return ""
    seconds = _seconds(run)
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes:,} min {rest} s" if minutes else f"{seconds:.1f} s"


def _seconds(run: Mapping[str, Any]) -> float:
    began, ended = run["started_at"], run["finished_at"]
    if not isinstance(began, datetime) or not isinstance(ended, datetime):
        return 0.0
    return (ended - began).total_seconds()


def _products(run: Mapping[str, Any]) -> float:
    counts = run.get("feed", {}).get("products", {})
    return float(sum(value for name, value in counts.items() if name in ("inserted", "updated", "unchanged")))


def _told(run: Mapping[str, Any], value: float, figure: str) -> str:
    shown = lasted(run) or "under way" if figure == "seconds" else f"{value:,.0f} products"
    return f"{run['name'] or run['organization'] or run['ingestor']}: {run['status']}, {shown}"

"""Throughput and latency against the size of the catalogue, as an SVG that needs nothing but a reader."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from math import ceil, floor, log10
from pathlib import Path
from xml.sax.saxutils import escape

_WIDTH, _HEIGHT = 760, 300
_LEFT, _TOP, _INNER_WIDTH, _INNER_HEIGHT = 50, 62, 290, 180
_PANEL = 375  # from the left edge of one panel to that of the next
# An own ground, so that it can be read on a light page and on a dark one.
_STYLE = """
  text { font: 12px system-ui, sans-serif; fill: #1f2328; }
  .title { font-weight: 600; }
  .axis { stroke: #d0d7de; }
  .line { fill: none; stroke-width: 2; }
"""
_LOOKS = (("#0969da", ""), ("#bc4c00", "6 4"))  # a colour, and a stroke that tells lines apart without it


@dataclass(frozen=True)
class Line:
    """Values by the number of products; fewer than in other lines where there is none."""

    name: str
    values: dict[int, float]


@dataclass(frozen=True)
class Panel:
    """Lines of one unit over the same sizes."""

    title: str
    lines: Sequence[Line]

    @property
    def top(self) -> float:
        """A round number that no value exceeds."""
        most = max(chain.from_iterable(line.values.values() for line in self.lines), default=1.0)
        step = 10.0 ** floor(log10(most)) / 2
        return ceil(most / step) * step


def draw(sizes: Sequence[int], panels: Sequence[Panel], note: str) -> str:
    """The document. Sizes stand on a logarithmic axis, values on one that begins at zero."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img">',
        f"<title>{escape('; '.join(panel.title for panel in panels))}</title>",
        f"<style>{_STYLE}</style>",
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" rx="8" fill="#ffffff" stroke="#d0d7de"/>',
        *chain.from_iterable(_panel(_LEFT + number * _PANEL, sizes, panel) for number, panel in enumerate(panels)),
        _text(_LEFT, _HEIGHT - 14, note),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def write(path: Path, document: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(document)


def _panel(left: float, sizes: Sequence[int], panel: Panel) -> Iterator[str]:
    bottom, top = _TOP + _INNER_HEIGHT, panel.top
    yield _text(left, 26, panel.title, kind="title")
    for quarter in range(5):
        y = bottom - quarter / 4 * _INNER_HEIGHT
        yield f'<line class="axis" x1="{left}" x2="{left + _INNER_WIDTH}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield _text(left - 6, y + 4, f"{top * quarter / 4:,.4g}", anchor="end")
    for size in sizes:
        yield _text(left + _x(size, sizes), bottom + 18, _short(size), anchor="middle")
    for number, line in enumerate(panel.lines):
        yield from _line(left, sizes, top, line, number)


def _line(left: float, sizes: Sequence[int], top: float, line: Line, number: int) -> Iterator[str]:
    colour, dashes = _LOOKS[number]
    bottom = _TOP + _INNER_HEIGHT
    points = [(left + _x(size, sizes), bottom - value / top * _INNER_HEIGHT) for size, value in line.values.items()]
    drawn = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    yield f'<polyline class="line" stroke="{colour}" stroke-dasharray="{dashes}" points="{drawn}"/>'
    for (x, y), value in zip(points, line.values.values(), strict=True):
        yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>'
        yield _text(x, y - 8, f"{value:,.3g}" if value < 1000 else f"{value:,.0f}", anchor="middle")
    key = left + number * 70
    yield f'<path class="line" stroke="{colour}" stroke-dasharray="{dashes}" d="M{key:.0f} 44h22"/>'
    yield _text(key + 28, 48, line.name)


def _x(size: int, sizes: Sequence[int]) -> float:
    """Some room is left at both ends."""
    least, most = log10(min(sizes)), log10(max(sizes))
    part = (log10(size) - least) / (most - least) if most > least else 0.5
    return (0.06 + 0.88 * part) * _INNER_WIDTH


def _short(size: int) -> str:
    return f"{size // 1_000_000}M" if size >= 1_000_000 else f"{size // 1000}k" if size >= 1000 else str(size)


def _text(x: float, y: float, words: str, *, anchor: str = "start", kind: str = "") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'

"""Whether a page can be read, and which pages there are."""

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from playwright.sync_api import Page

_FAINT = (Path(__file__).parent / "audits.js").read_text("utf-8")
_OWN_NAMES = re.compile(r"[^/]*:[^/]*|[0-9a-f-]{36}|(?<=/diagnostics/)[^/]+")


def faint(page: Page) -> list[str]:
    """Texts with too little contrast, each with its ratio."""
    found: list[str] = page.evaluate(_FAINT)
    return found


def is_too_wide(page: Page) -> bool:
    """Whether it has to be scrolled sideways."""
    found: bool = page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")
    return found


def walk(page: Page, *starts: str) -> Iterator[str]:
    """Opens the pages that can be reached by links from some, one of each kind."""
    waiting, seen = list(starts), set[str]()
    while waiting:
        place = waiting.pop(0)
        page.goto(place)
        yield place
        for link in _links(page):
            if kind(link) not in seen:
                seen.add(kind(link))
                waiting.append(link)


def kind(link: str) -> str:
    """What pages of different products, runs or words have in common: the path and the names of parameters."""
    parts = urlsplit(link)
    return f"{_OWN_NAMES.sub('*', unquote(parts.path))} {sorted({name for name, _ in parse_qsl(parts.query)})}"


def _links(page: Page) -> list[str]:
    """Addresses of the console's own pages; Swagger's comes from elsewhere, and files are no pages."""
    found = page.locator("a[href]").evaluate_all(
        "links => links.filter(l => l.origin === location.origin).map(l => l.href)"
    )
    parts = {link: urlsplit(link) for link in found}
    return [
        link
        for link, at in parts.items()
        if at.path != "/docs" and not at.path.endswith("/issues.csv") and not at.fragment
    ]

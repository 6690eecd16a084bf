"""A running node, and a browser before it: one of each for all tests of this folder, which share what is stored."""

import atexit
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.chromium import MISSING, chromium, executable
from tests.browser.running import LiveNode, live_node
from tests.browser.visits import DESK, PATIENCE, Visit
from tests.conftest import copied

expect.set_options(timeout=PATIENCE)

Shoot = Callable[..., None]


def pytest_runtest_setup() -> None:
    """Without Chromium the tests of this folder are skipped, or fail with REQUIRE_CHROMIUM=1."""
    if executable() is None:
        (pytest.fail if os.environ.get("REQUIRE_CHROMIUM") == "1" else pytest.skip)(MISSING)


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Ends with the folder: its event loop would be in the way of tests that have their own."""
    with chromium() as found:
        yield found


@pytest.fixture(scope="package")
def live(browser: Browser, server_url: str) -> Iterator[LiveNode]:
    folder = Path(tempfile.mkdtemp(prefix="node-browser-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    with copied(server_url) as url, live_node(url, folder) as found:
        yield found


@pytest.fixture(scope="package")
def working(live: LiveNode) -> LiveNode:
    """The node with a worker."""
    live.processes.worker()
    return live


@pytest.fixture
def visit(browser: Browser, live: LiveNode) -> Iterator[Visit]:
    """A session, with no page open yet; afterwards no page may have complained of anything."""
    visit = Visit(live.url)
    yield visit
    for context in browser.contexts:
        context.close()
    assert visit.complaints == []


@pytest.fixture
def page(browser: Browser, visit: Visit) -> Page:
    return visit.page(browser)


@pytest.fixture
def shoot() -> Shoot:
    """Keeps a picture of a page in the folder that SCREENSHOTS names, if it names one."""

    def keep(page: Page, name: str, height: int | None = None) -> None:
        """As much of it as its window shows, or so many pixels."""
        if folder := os.environ.get("SCREENSHOTS"):
            if height:
                page.set_viewport_size({"width": DESK["width"], "height": height})
            page.wait_for_load_state("networkidle")
            page.screenshot(path=Path(folder) / f"{name}.png")

    return keep

"""Somebody at the browser, and what goes wrong on pages that nobody would see."""

from dataclasses import dataclass, field
from typing import Any

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request, Response, Route

DESK = {"width": 1100, "height": 760}
PHONE = {"width": 390, "height": 780}
PATIENCE = 60_000  # milliseconds
_LEFT = "net::ERR_ABORTED"  # the page was left before all of it came


@dataclass
class Visit:
    """A browser's session with a node: pages, what they complained of, and what they asked other hosts for."""

    base_url: str
    complaints: list[str] = field(default_factory=list)
    elsewhere: list[Request] = field(default_factory=list)

    def page(self, browser: Browser, **options: Any) -> Page:
        context = browser.new_context(base_url=self.base_url, **{"viewport": DESK, **options})
        context.set_default_timeout(PATIENCE)
        self._listen(context)
        return context.new_page()

    def _listen(self, context: BrowserContext) -> None:
        context.route(lambda url: not url.startswith((self.base_url, "data:", "blob:")), self._refuse)
        context.on("console", self._said)
        context.on("weberror", lambda error: self.complaints.append(f"{error.error}"))
        context.on("requestfailed", self._failed)
        context.on("response", self._answered)

    def _refuse(self, route: Route) -> None:
        """Pictures of feeds are on hosts that are not there."""
        self.elsewhere.append(route.request)
        route.abort()

    def _said(self, message: ConsoleMessage) -> None:
        is_of_requests = message.text.startswith("Failed to load resource")  # which are told of below, with their hosts
        if message.type in ("error", "warning") and not is_of_requests:
            self.complaints.append(f"{message.location['url']}: {message.text}")

    def _failed(self, request: Request) -> None:
        if request.url.startswith(self.base_url) and request.failure != _LEFT:
            self.complaints.append(f"{request.url}: {request.failure}")

    def _answered(self, response: Response) -> None:
        if response.status >= 400 and not response.request.is_navigation_request():
            self.complaints.append(f"{response.url}: {response.status}")

"""Browsers of the console, and what their pages hold."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import httpx2

from app.services import keys
from tests.support.api import Api

PAGE = {"Accept": "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"}
MARKUP = "`<script>alert(1)</script>`<img src=x onerror=alert(2)>\"'"


def key_of(served: Api, scope: keys.Scope = "admin") -> str:
    return served.key(scope)["Authorization"].removeprefix("Bearer ")


def csrf_of(page: str) -> str:
    (token,) = set(re.findall(r'name="csrf" value="(\w+)"', page))
    return token


@contextmanager
def signed_in(served: Api) -> Iterator[httpx2.Client]:
    """A browser in which an operator is signed in."""
    with httpx2.Client(base_url=served.base_url, headers=PAGE) as browser:
        answer = browser.post("/sign-in", data={"key": key_of(served)})
        assert (answer.status_code, answer.headers["location"]) == (303, "/runs")
        yield browser

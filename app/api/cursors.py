"""Page tokens of lists: where the next page begins. They are secret to nobody, and are checked like any parameter."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from typing import Any

from app.api.problems import WrongParameter
from app.cmp.text import is_hostile

_NAME = "pageToken"


def encode(after: str) -> str:
    return urlsafe_b64encode(after.encode()).decode().rstrip("=")


def decode(token: str | None) -> str:
    """What the page before ended with; empty for the first page. Raises `WrongParameter`."""
    if token is None:
        return ""
    try:
        after = urlsafe_b64decode(token.encode("ascii") + b"=" * (-len(token) % 4)).decode()
    except ValueError as error:
        raise WrongParameter(_NAME, "is none of this node's") from error
    if is_hostile(after):
        raise WrongParameter(_NAME, "is none of this node's")
    return after


def decode_number(token: str | None) -> int:
    """The same for lists in the order of numbers."""
    after = decode(token)
    if after and not (after.isascii() and after.isdigit() and len(after) < 19):
        raise WrongParameter(_NAME, "is none of this node's")
    return int(after or 0)


def listed(name: str, documents: Sequence[dict[str, Any]], limit: int, last: object) -> dict[str, Any]:
    """A list as a document, with the token of the next page when this one is full."""
    token = {"nextPageToken": encode(str(last))} if len(documents) == limit else {}
    return {name: list(documents), **token}

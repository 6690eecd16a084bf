"""Page tokens: the rest of a search, signed, so that pages neither repeat nor skip whatever is merged meanwhile."""

import hashlib
import time
from typing import Any

import msgspec
from msgspec import Struct, field

from app.api.problems import WrongParameter
from app.api.signing import seal, unseal

_LASTS = 86_400  # seconds
_HOUR = 3600  # seconds; tokens made within one are the same, so that the same page has the same ETag
_PURPOSE = "search page"
_NAME = "pageToken"


class SearchPage(Struct, array_like=True, forbid_unknown_fields=True):
    """Where a search goes on: which search it is, its filters, the ids it found, and how many were shown."""

    search: bytes
    filters: dict[str, Any]
    products: list[int]
    shown: int = 0
    made_at: int = field(default_factory=lambda: int(time.time()) // _HOUR * _HOUR)


_DECODER = msgspec.msgpack.Decoder(SearchPage)


def search_digest(query: str, filters: dict[str, Any]) -> bytes:
    """What tells one search from another."""
    told = msgspec.json.encode([query, sorted((name, str(value)) for name, value in filters.items())])
    return hashlib.sha256(told).digest()[:8]


def sign(key: bytes, page: SearchPage) -> str:
    """The page as a token that nobody else can make."""
    return seal(key, _PURPOSE, msgspec.msgpack.encode(page))


def read(key: bytes, token: str) -> SearchPage:
    """The page of a token that was signed here. Raises `WrongParameter`."""
    payload = unseal(key, _PURPOSE, token)
    if payload is None:
        raise WrongParameter(_NAME, "is none of this node's")
    page = _DECODER.decode(payload)
    if page.made_at + _LASTS < time.time():
        raise WrongParameter(_NAME, "is too old; search again")
    return page

"""Links that are sent to brands: each opens one organization's diagnostics, until it expires or all are revoked."""

import time

import msgspec
from msgspec import Struct

from app.api.problems import Problem
from app.api.signing import seal, unseal

SECRET = "diagnostic links"  # noqa: S105 - the name of one


class Link(Struct, array_like=True, forbid_unknown_fields=True):
    """Whose diagnostics may be read, and until when, in seconds of the epoch."""

    organization: str
    expires_at: int


_DECODER = msgspec.msgpack.Decoder(Link)


def sign(key: bytes, link: Link) -> str:
    """The link as a token that nobody else can make."""
    return seal(key, SECRET, msgspec.msgpack.encode(link))


def read(key: bytes, token: str) -> Link:
    """The link of a token. Raises `Problem`: one is told alike whether it is forged, revoked or expired."""
    payload = unseal(key, SECRET, token)
    link = None if payload is None else _DECODER.decode(payload)
    if link is None or link.expires_at <= time.time():
        raise _refused()
    return link


def _refused() -> Problem:
    return Problem(
        404, "no-such-link", "This link is not, or no longer, valid", remedy="Ask whoever runs the node for a new one."
    )

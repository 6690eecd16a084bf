"""Links that are sent to brands: each opens one organization's diagnostics, until it expires or all are revoked."""

import hashlib
import hmac
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode

import msgspec
from msgspec import Struct

from app.api.problems import Problem

SECRET = "diagnostic links"  # noqa: S105 - the name of one
_SIGNATURE = 16  # bytes


class Link(Struct, array_like=True, forbid_unknown_fields=True):
    """Whose diagnostics may be read, and until when, in seconds of the epoch."""

    organization: str
    expires_at: int


_DECODER = msgspec.msgpack.Decoder(Link)


def sign(key: bytes, link: Link) -> str:
    """The link as a token that nobody else can make."""
    payload = msgspec.msgpack.encode(link)
    return urlsafe_b64encode(_signature(key, payload) + payload).decode().rstrip("=")


def read(key: bytes, token: str) -> Link:
    """The link of a token. Raises `Problem`: one is told alike whether it is forged, revoked or expired."""
    try:
        data = urlsafe_b64decode(token.encode("ascii") + b"=" * (-len(token) % 4))
    except ValueError as error:
        raise _refused() from error
    signature, payload = data[:_SIGNATURE], data[_SIGNATURE:]
    if not hmac.compare_digest(signature, _signature(key, payload)):
        raise _refused()
    link = _DECODER.decode(payload)
    if link.expires_at <= time.time():
        raise _refused()
    return link


def _refused() -> Problem:
    return Problem(
        404, "no-such-link", "This link is not, or no longer, valid", remedy="Ask whoever runs the node for a new one."
    )


def _signature(key: bytes, payload: bytes) -> bytes:
    return hmac.digest(key, b"diagnostics\0" + payload, hashlib.sha256)[:_SIGNATURE]

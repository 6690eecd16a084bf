"""Links that are sent to brands: each opens one organization's diagnostics, until it expires or is revoked."""

import time
from datetime import UTC, datetime

import msgspec
from msgspec import Struct

from app.api.problems import Problem
from app.api.signing import seal, unseal
from app.services.links import SECRET

_ASK = "Ask whoever runs the node for a new one."


class Link(Struct, array_like=True, forbid_unknown_fields=True):
    """Whose diagnostics may be read, until when, in seconds of the epoch, and when it was made, in microseconds."""

    organization: str
    expires_at: int
    made_at: int = 0  # of a link that a version made which did not tell

    def is_revoked(self, at: datetime | None) -> bool:
        """Whether it is one of those that were revoked then."""
        return at is not None and self.made_at <= microseconds(at)


_DECODER = msgspec.msgpack.Decoder(Link)


def microseconds(moment: datetime) -> int:
    """Since the epoch, exactly."""
    elapsed = moment - datetime.fromtimestamp(0, UTC)
    return (elapsed.days * 86_400 + elapsed.seconds) * 1_000_000 + elapsed.microseconds


def sign(key: bytes, link: Link) -> str:
    """The link as a token that nobody else can make."""
    return seal(key, SECRET, msgspec.msgpack.encode(link))


def read(key: bytes, token: str) -> Link:
    """The link of a token that was signed here and is not expired. Raises `Problem`."""
    payload = unseal(key, SECRET, token)
    if payload is None:
        raise Problem(404, "no-such-link", "This is no link of this node's", remedy=_ASK)
    link = _DECODER.decode(payload)
    if link.expires_at <= time.time():
        raise Problem(410, "link-expired", "This link was good for a while, which is over", remedy=_ASK)
    return link


def revoked() -> Problem:
    return Problem(410, "link-revoked", "Whoever runs the node has revoked this link", remedy=_ASK)

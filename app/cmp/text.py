"""Text as PostgreSQL, a terminal and a reader can bear it, and the text that is embedded."""

import re
from hashlib import sha256

_INVISIBLE = "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff"
_HOSTILE = re.compile(f"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff{_INVISIBLE}]")
_RETURN = re.compile("\r\n?")
# What `clean` leaves since people need it, and what can carry words that no person reads: zero-width characters, and
# the tag characters, a second alphabet that is never shown.
_UNSEEN = re.compile("[\u00ad\u200b\u2060-\u2064\ufff9-\ufffb\U000e0000-\U000e0fff]")


def is_hostile(text: str) -> bool:
    """Whether the text holds characters that `clean` removes (a carriage return is only respelled)."""
    return not text.isprintable() and _HOSTILE.search(text) is not None


def clean(text: str) -> str:
    """Remove NUL, control characters (not tab and newline), lone surrogates, bidi controls and byte order marks.

    Joiners stay: scripts and emoji need them. Carriage returns become newlines.
    """
    if text.isprintable():
        return text
    return _RETURN.sub("\n", _HOSTILE.sub("", text))


def without_unseen(text: str) -> str:
    """Remove characters that nobody sees but a model reads, and that make two identifiers of what looks like one."""
    return text if text.isprintable() else _UNSEEN.sub("", text)


def cut_bytes(text: str, limit: int) -> str:
    """The longest start of the text that takes at most `limit` bytes of UTF-8."""
    if len(text) * 4 <= limit:
        return text
    return text.encode("utf-8", "ignore")[:limit].decode("utf-8", "ignore")


def shorten(text: str, limit: int) -> str:
    """Cleaned and, for showing only, cut to `limit` characters with an ellipsis."""
    text = clean(text[: limit * 2]).strip()
    return text if len(text) <= limit else text[: limit - 1] + "…"


def search_text(name: str, brand_name: str | None, description: str | None) -> str:
    """What is embedded: name, brand and description. Attributes would make dense ranking worse."""
    return "\n".join(part for part in (name, brand_name, description) if part)


def text_hash(name: str, brand_name: str | None, description: str | None, facets: str) -> bytes:
    """16 bytes that change exactly when what is searched does: the first eight with the text that is embedded, the
    others with the facets' words."""
    return _half_hash(search_text(name, brand_name, description)) + _half_hash(facets)


def embedded_hash(text_hash: bytes) -> bytes:
    """What of a text hash changes exactly when the text that is embedded does."""
    return text_hash[:8]


def _half_hash(text: str) -> bytes:
    return sha256(text.encode("utf-8", "replace")).digest()[:8]

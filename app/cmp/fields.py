"""Reading one field of a decoded item: the value if it is usable, otherwise None and an issue that says why.

Items are decoded with numbers that have a fraction or an exponent left as their text (`msgspec.Raw`): exact, and
1e400 is no error. These functions run a dozen times per item: the common case comes first.
"""

from typing import Any

import msgspec

from app.cmp.issues import Issue
from app.cmp.limits import MAX_DESCRIPTION, MAX_URL
from app.cmp.text import clean, cut_bytes, is_hostile

Fields = dict[str, Any]
"""A JSON object, decoded."""


def describe(value: object) -> str:
    """A value as a message may quote it."""
    if isinstance(value, msgspec.Raw):
        return bytes(value)[:100].decode("ascii", "replace")
    if isinstance(value, str):
        return value[:400]
    if isinstance(value, bool | None):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int):
        return str(value) if abs(value) < 10**100 else "a number of more than 100 digits"
    return "an array" if isinstance(value, list) else "an object"


def wrong_type(issues: list[Issue], path: str, value: object, wanted: str) -> None:
    found = f"`{path}` should be {wanted}, not {describe(value)}."
    issues.append(Issue("wrong-type", found, path, describe(value)))


def plain_text(value: str, path: str, issues: list[Issue]) -> str:
    """The text, trimmed and rid of what does not belong in text."""
    if value.isprintable():
        return value.strip()
    if is_hostile(value):
        found = f"`{path}` held control characters, which were removed."
        issues.append(Issue("text-cleaned", found, path, value[:400]))
    return clean(value).strip()


def text_field(value: object, path: str, limit: int, issues: list[Issue]) -> str | None:
    """Text of at most `limit` characters; None when missing, empty, or not text."""
    if isinstance(value, str):
        text = plain_text(value, path, issues)
        if len(text) > limit:
            text = _cut(text, text[:limit].rstrip(), path, issues)
        return text or None
    if value is None:
        return None
    if isinstance(value, dict) and isinstance(value.get("@value"), str):
        return text_field(value["@value"], path, limit, issues)
    wrong_type(issues, path, value, "text")
    return None


def key_text_field(value: object, path: str, limit: int, issues: list[Issue]) -> str | None:
    """Like `text_field`, with the limit in bytes: for columns with a b-tree index. Numbers become their text."""
    if isinstance(value, msgspec.Raw):
        value = bytes(value).decode("ascii")
    elif isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**100:
        value = str(value)
    text = text_field(value, path, MAX_DESCRIPTION, issues)
    return text and cut_key_text(text, path, limit, issues)


def cut_key_text(text: str, path: str, limit: int, issues: list[Issue]) -> str:
    """The text within `limit` bytes."""
    if len(text) * 4 <= limit:
        return text
    return _cut(text, cut_bytes(text, limit).rstrip(), path, issues)


def _cut(text: str, shorter: str, path: str, issues: list[Issue]) -> str:
    if shorter != text:
        found = f"`{path}` has {len(text)} characters and was cut to {len(shorter)}."
        issues.append(Issue("text-cut", found, path, text[:400]))
    return shorter


def url_field(value: object, path: str, issues: list[Issue]) -> str | None:
    """A URL, or a relative reference; never another scheme (`javascript:`, `data:`), and never cut."""
    if not isinstance(value, str):
        if value is not None:
            wrong_type(issues, path, value, "a URL")
        return None
    url = plain_text(value, path, issues)
    if url.startswith(("https://", "http://")) and len(url) <= MAX_URL:
        return url
    return _other_url(url, path, issues)


def _other_url(url: str, path: str, issues: list[Issue]) -> str | None:
    if not url:
        return None
    scheme = url.partition(":")[0].lower() if ":" in url.partition("/")[0] else ""
    if len(url) > MAX_URL or scheme not in ("", "http", "https"):
        found = f"`{path}` is too long." if len(url) > MAX_URL else f"`{path}` begins with `{scheme}:`."
        issues.append(Issue("url-unusable", found, path, url[:400]))
        return None
    if not scheme:
        issues.append(Issue("url-not-absolute", f"`{path}` is relative.", path, url))
    return url


def image_field(value: object, path: str, issues: list[Issue]) -> str | None:
    """The first image: a URL, an ImageObject, or a list of them."""
    if isinstance(value, list):
        value = next((each for each in value if each), None)
    if isinstance(value, dict):
        value = next((value[key] for key in ("url", "contentUrl", "@id") if value.get(key)), None)
    return url_field(value, path, issues)


def listed(value: object) -> list[Any]:
    """JSON-LD writes a list of one without the list."""
    if isinstance(value, list):
        return value
    return [] if value is None else [value]

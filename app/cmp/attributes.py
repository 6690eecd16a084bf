"""What `additionalProperty` says in words: searched for, as the rest of the item is, but not embedded."""

from collections.abc import Iterator

from app.cmp.fields import listed
from app.cmp.limits import MAX_ATTRIBUTES
from app.cmp.text import clean


def attribute_words(properties: object) -> str:
    """Values that are text, and the names of what is true, each once. Numbers say little without their unit."""
    words = "\n".join(dict.fromkeys(_words(properties)))
    return words if len(words) <= MAX_ATTRIBUTES else words[:MAX_ATTRIBUTES].rpartition("\n")[0]


def _words(properties: object) -> Iterator[str]:
    for each in listed(properties):
        if not isinstance(each, dict):
            continue
        value = each.get("name") if each.get("value") is True else each.get("value")
        for word in listed(value):
            if isinstance(word, str) and (cleaned := clean(word).strip()):
                yield cleaned

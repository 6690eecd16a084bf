"""Texts in batches that a service takes: by number, and by an estimate of their tokens."""

from collections.abc import Iterator, Sequence

MAX_TOKENS = 200_000
"""Of one request: OpenAI takes 300,000. What the estimate falls short by is within the rest."""

_BYTES_PER_TOKEN = 3


def estimated_tokens(text: str) -> int:
    """A third of the bytes: a third too many for English, about right for Chinese. Models count each in their own way,
    so there is nothing exact to be had without the model."""
    return len(text.encode(errors="replace")) // _BYTES_PER_TOKEN + 1


def cut(texts: Sequence[str], size: int, tokens: int = MAX_TOKENS) -> Iterator[range]:
    """Places of texts, in order. A text that alone has too many tokens is a batch of its own."""
    first = total = 0
    for place, text in enumerate(texts):
        count = estimated_tokens(text)
        if place > first and (place - first == size or total + count > tokens):
            yield range(first, place)
            first, total = place, 0
        total += count
    if first < len(texts):
        yield range(first, len(texts))

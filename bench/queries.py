"""What is asked for: a query that was not asked before, again and again."""

import random
from collections import Counter
from collections.abc import Iterator, Sequence

COMMON = 1 / 2
"""The part of all texts that hold a word nobody asks for, such as `and`."""

# About as many products hold all words of such a query as hold those of the judged queries in Icecat's catalogue: of
# these the middle one is matched by 0.04 % of the products, one of ten by more than 1.1 %.
_WORDS = (2, 2, 3, 4, 5, 6)
_FIRST = 12  # words of a text that queries are of: the name's, the brand's, and the first of the description


def distinct_queries(texts: Sequence[str], seed: int = 0) -> Iterator[str]:
    """Two to six neighbouring words from the beginning of some text, in lower case and without common ones, never the
    same twice: no vector of a query is at hand when it is asked for."""
    source = random.Random(seed)  # noqa: S311 - reproducible, not secret
    common = _common(texts)
    asked = set[str]()
    while True:
        words = [word for word in source.choice(texts).lower().split()[:_FIRST] if word not in common]
        number = source.choice(_WORDS)
        if number > len(words):
            continue
        first = source.randint(0, len(words) - number)
        query = " ".join(words[first : first + number])
        if query not in asked:
            asked.add(query)
            yield query


def _common(texts: Sequence[str]) -> set[str]:
    holding = Counter(word for text in texts for word in set(text.lower().split()))
    return {word for word, number in holding.items() if number > COMMON * len(texts)}

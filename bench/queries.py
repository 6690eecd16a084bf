"""What is asked for: a query that was not asked before, again and again."""

import random
from collections.abc import Iterator, Sequence

_WORDS = (2, 3, 4, 5, 6)  # of a query, each as often
_NAME = 12  # words of a text that queries are of: the name's, the brand's, and the first of the description


def distinct_queries(texts: Sequence[str], seed: int = 0) -> Iterator[str]:
    """Two to six neighbouring words of the beginning of some text, in lower case, never the same twice: no vector of a
    query is at hand when it is asked for."""
    source = random.Random(seed)  # noqa: S311 - reproducible, not secret
    asked = set[str]()
    while True:
        words = source.choice(texts).lower().split()[:_NAME]
        number = min(source.choice(_WORDS), len(words))
        first = source.randint(0, len(words) - number)
        query = " ".join(words[first : first + number])
        if query not in asked:
            asked.add(query)
            yield query

"""Queries written otherwise than the catalogue is: `head set` for headset, `cofee` for coffee.

Only what the index knows better is respelled: two words that fewer products hold than hold them as one, and a word that
no product holds while there is one that differs in a letter.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise

MAX_WORDS = 4
"""Of a longer query nothing is respelled: it is a sentence, whose words are to be taken as they are."""

MIN_LETTERS = 5
"""Shorter words are near to too many others."""

_MAX_LETTERS = 20  # of a word that somebody may have mistyped
_MAX_MISSPELLED = 3
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_VOWELS = frozenset("aeiou")
_PLAIN = re.compile(r"[\w'-]+(?: +[\w'-]+)*")
_OPERATORS = re.compile(r'"|(?:^|\s)-')

Count = Callable[[Sequence[str]], Mapping[str, int]]
"""How many products hold each phrase, or word; empty when that is not known."""


def has_operators(query: str) -> bool:
    """Whether more is said than words: quotes, or `-` before one."""
    return _OPERATORS.search(query) is not None


def respell(query: str, count_phrases: Count, count_words: Count) -> str:
    """The query as the index would have it; itself when there is nothing better."""
    words = query.split()
    if len(words) > MAX_WORDS or has_operators(query) or "or" in query.lower().split():
        return query
    if not _PLAIN.fullmatch(" ".join(words)):
        return query
    pairs = {f"{first} {second}": first + second for first, second in pairwise(words)}
    held = dict(count_phrases([*words, *pairs.values()]))
    if not held:
        return query
    if joined := [pair for pair, word in pairs.items() if held[word]]:
        held |= count_phrases(joined)
    better = _corrected(_joined(words, held), held, count_words)
    return query if better == words else " ".join(better)


def _joined(words: Sequence[str], held: Mapping[str, int]) -> list[str]:
    """Neighbours as one word, where more products hold that."""
    result: list[str] = []
    for word in words:
        if result and held.get(result[-1] + word, 0) > held.get(f"{result[-1]} {word}", 0):
            result[-1] += word
        else:
            result.append(word)
    return result


def _corrected(words: list[str], held: Mapping[str, int], count_words: Count) -> list[str]:
    doubtful = [word for word in words if not held.get(word) and _is_correctable(word)][:_MAX_MISSPELLED]
    if not doubtful:
        return words
    near = {word: dict(_near(word.lower())) for word in doubtful}
    known = count_words(list(dict.fromkeys(each for candidates in near.values() for each in candidates)))
    corrected = {}
    for word, candidates in near.items():
        likely = [each for each in candidates if known.get(each)]
        if likely:
            corrected[word] = min(likely, key=lambda each: (candidates[each], -known[each], each))
    return [corrected.get(word, word) for word in words]


def _is_correctable(word: str) -> bool:
    return MIN_LETTERS <= len(word) <= _MAX_LETTERS and word.isascii() and word.isalpha()


def _near(word: str) -> Iterator[tuple[str, int]]:
    """Words that differ in one letter beyond the first, each with how seldom one is written for the other: a letter
    doubled or not, or two that changed places, are the commonest mistakes, then vowels."""
    for at in range(1, len(word) + 1):
        before, letter, after = word[:at], word[at : at + 1], word[at + 1 :]
        for other in _LETTERS:
            yield before + other + letter + after, 0 if other in (before[-1], letter) else 2 - (other in _VOWELS)
            if letter and other != letter:
                yield before + other + after, 2 - (other in _VOWELS and letter in _VOWELS)
        if letter:
            yield before + after, 0 if letter == before[-1] else 2 - (letter in _VOWELS)
        if after and after[0] != letter:
            yield before + after[0] + letter + after[1:], 0

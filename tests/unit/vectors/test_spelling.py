"""Queries are respelled where the index knows better, and nowhere else."""

from collections.abc import Sequence

import pytest

from app.vectors.spelling import respell

CATALOGUE = (
    ["headset with cable"] * 5 + ["styling head set"] + ["coffee machine"] * 3 + ["core processor"] * 9
    + ["sleeping bag"] * 2 + ["steeping tea"] + ["laptop"] + ["broth"] + ["the lamp"]
)  # fmt: skip


def count(phrases: Sequence[str]) -> dict[str, int]:
    held = {phrase: sum(set(phrase.split()) <= set(text.split()) for text in CATALOGUE) for phrase in phrases}
    return held


@pytest.mark.parametrize(
    ("query", "better"),
    [
        ("head set", "headset"),
        ("cofee", "coffee"),  # not "core", though more hold it: a letter doubled or not is the commonest mistake
        ("Cofee mahcine", "coffee machine"),
        ("sleping bag", "sleeping bag"),
        ("slepeing", "sleeping"),
        ("lapttop", "laptop"),
    ],
)
def test_what_the_index_knows_better_is_respelled(query, better):
    assert respell(query, count, count) == better


@pytest.mark.parametrize(
    "query",
    [
        "headset",
        "coffee machine",
        "froth",  # the first letter is what it is
        "zzzzz",
        "core processor",
        "cofe",  # too short to tell
        "x" * 400,
        "cf259x",
        '"cofee"',
        "lamp -cofee",
        "head or set",
        "what holds cofee warm outside",  # a sentence
        "",
        "💡 cofee",
    ],
)
def test_anything_else_is_left_alone(query):
    assert respell(query, count, count) == query


def test_an_index_that_cannot_tell_respells_nothing():
    assert respell("head set", lambda phrases: {}, lambda words: {}) == "head set"

"""Batches hold every text once, in order, and no more than a service takes."""

from hypothesis import given
from hypothesis import strategies as st

from app.vectors.embedders.batches import cut, estimated_tokens


@given(st.lists(st.text(max_size=60), max_size=30), st.integers(1, 8), st.integers(1, 60))
def test_batches_are_within_both_limits(texts: list[str], size: int, tokens: int) -> None:
    batches = list(cut(texts, size, tokens))

    assert [place for batch in batches for place in batch] == list(range(len(texts)))
    for batch in batches:
        assert 1 <= len(batch) <= size
        assert len(batch) == 1 or sum(estimated_tokens(texts[place]) for place in batch) <= tokens


def test_batches_are_as_large_as_may_be() -> None:
    assert list(cut(["abc"] * 5, 2)) == [range(2), range(2, 4), range(4, 5)]
    assert list(cut(["abc"] * 5, 9, tokens=2 * estimated_tokens("abc"))) == [range(2), range(2, 4), range(4, 5)]


def test_half_a_surrogate_pair_is_counted() -> None:
    assert estimated_tokens("\ud83d") > 0

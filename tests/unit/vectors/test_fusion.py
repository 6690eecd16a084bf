"""One ranking of several."""

from hypothesis import given
from hypothesis import strategies as st

from app.vectors.fusion import reciprocal_rank_fusion

K = 60

rankings = st.lists(st.lists(st.integers(1, 30), unique=True, max_size=20), max_size=3)


def test_places_in_both_rankings_beat_a_first_place_in_one():
    fused = reciprocal_rank_fusion([(1, [1, 2, 3]), (1, [4, 3, 2])], K)

    assert [item for item, _ in fused] == [2, 3, 1, 4]
    assert dict(fused) == {2: 1 / 62 + 1 / 63, 3: 1 / 63 + 1 / 62, 1: 1 / 61, 4: 1 / 61}


def test_a_ranking_counts_as_much_as_it_weighs():
    fused = reciprocal_rank_fusion([(1, [1, 2]), (1.5, [3, 2])], K)

    assert fused == [(2, 1 / 62 + 1.5 / 62), (3, 1.5 / 61), (1, 1 / 61)]


def test_nothing_fuses_to_nothing():
    assert reciprocal_rank_fusion([], K) == reciprocal_rank_fusion([(1, []), (1, [])], K) == []


@given(rankings)
def test_every_item_stands_once_by_score_and_then_by_id(rankings):
    fused = reciprocal_rank_fusion([(1, ranking) for ranking in rankings], K)

    assert {item for item, _ in fused} == {item for ranking in rankings for item in ranking}
    assert fused == sorted(fused, key=lambda scored: (-scored[1], scored[0]))
    assert len(dict(fused)) == len(fused)


@given(st.lists(st.integers(), unique=True))
def test_one_ranking_keeps_its_order(ranking):
    assert [item for item, _ in reciprocal_rank_fusion([(1, ranking)], K)] == ranking

import pytest

from bench.recall import recall_by_score

EXACT = [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.05]


def test_what_scores_like_the_last_of_the_exact_ones_counts():
    assert recall_by_score(EXACT, EXACT) == 1
    assert recall_by_score([0.9, *[0.05] * 9], EXACT) == 1


def test_a_result_that_is_worse_than_all_exact_ones_does_not():
    assert recall_by_score([*EXACT[:9], 0.04], EXACT) == pytest.approx(0.9)


def test_a_missing_result_is_a_miss():
    assert recall_by_score(EXACT[:8], EXACT) == pytest.approx(0.8)


def test_what_comes_after_the_tenth_place_does_not_help():
    assert recall_by_score([0.01, *EXACT[:9], *EXACT], EXACT) == pytest.approx(0.9)


def test_where_few_or_none_pass_they_are_what_is_wanted():
    assert recall_by_score([0.5, 0.4], [0.5, 0.4]) == 1
    assert recall_by_score([0.5], [0.5, 0.4]) == 0.5
    assert recall_by_score([], []) == 1


def test_another_computation_of_the_same_score_is_the_same():
    assert recall_by_score([score - 1e-7 for score in EXACT], EXACT) == 1

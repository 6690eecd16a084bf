"""A model is known by what it makes of one text, however exactly it computes."""

import numpy as np
import pytest

from app.vectors.embedders.probe import are_alike, fingerprint


def direction(seed: int, dimensions: int = 384) -> np.ndarray:
    vector = np.random.default_rng(seed).normal(size=dimensions)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


@pytest.mark.parametrize("noise", [0.0, 1e-4, 0.05])
def test_what_differs_by_arithmetic_alone_is_one_model(noise: float) -> None:
    vector = direction(1)
    disturbed = vector + noise * direction(2)

    assert are_alike(fingerprint(vector), fingerprint(disturbed.astype(np.float32)))


def test_other_models_are_others() -> None:
    told = [fingerprint(direction(seed)) for seed in range(30)]

    assert not any(are_alike(one, other) for one in told for other in told if one is not other)
    assert not are_alike(told[0], fingerprint(direction(0) + np.float32(0.5) * direction(1)))


def test_short_vectors_and_hashes_are_compared_too() -> None:
    assert are_alike(fingerprint(direction(1, 16)), fingerprint(direction(1, 16)))
    assert not are_alike(fingerprint(direction(1, 16)), fingerprint(direction(1, 32)))
    assert are_alike("53aa", "53aa")
    assert not are_alike("53aa", "53ab")
    assert not are_alike("53aa", fingerprint(direction(1)))

"""What every embedder promises, asked of each."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.core.config import Settings
from app.vectors.embedders import Embedder, create_embedder

TEXTS = [
    "Insulated steel bottle, keeps drinks hot for 12 hours",
    "Mechanical keyboard with backlight",
    "",
    "Garden hose, 20 m, with spray gun",
    "Thermos",
    "Wireless mouse " * 40,
]


@pytest.fixture(scope="module", params=["int8", "fp32"])
def embedder(request) -> Embedder:
    return create_embedder(Settings(_env_file=None, embedding_provider="local"), variant=request.param)


def test_one_unit_row_per_text(embedder):
    vectors = embedder.embed(TEXTS)

    assert vectors.shape == (len(TEXTS), embedder.identity.dimensions)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_no_texts_give_no_rows(embedder):
    assert embedder.embed([]).shape == (0, embedder.identity.dimensions)


def test_rows_keep_the_order_and_know_nothing_of_their_companions(embedder):
    alone = np.concatenate([embedder.embed([text]) for text in TEXTS])

    np.testing.assert_array_equal(embedder.embed(TEXTS), alone)
    np.testing.assert_array_equal(embedder.embed(TEXTS[::-1]), alone[::-1])
    np.testing.assert_array_equal(embedder.embed(TEXTS * 7), np.tile(alone, (7, 1)))


def test_different_texts_differ(embedder):
    vectors = embedder.embed(TEXTS)

    assert np.all(vectors @ vectors.T - np.eye(len(TEXTS)) < 0.9)


def test_threads_may_call_at_once(embedder):
    expected = embedder.embed(TEXTS)

    with ThreadPoolExecutor(4) as pool:
        for vectors in pool.map(embedder.embed, [TEXTS] * 12):
            np.testing.assert_array_equal(vectors, expected)


def test_the_first_call_may_come_from_several_threads(embedder):
    fresh = create_embedder(Settings(_env_file=None), variant=embedder.identity.variant)

    with ThreadPoolExecutor(4) as pool:
        first, *others = pool.map(fresh.embed, [TEXTS[:1]] * 4)

    for vectors in others:
        np.testing.assert_array_equal(vectors, first)


def test_a_text_beyond_the_limit_is_cut(embedder):
    limit = embedder.identity.max_tokens
    full = "bottle " * limit

    vectors = embedder.embed([full, full + "keyboard", "bottle " * 2_000_000, "x" * 1_000_000])

    np.testing.assert_array_equal(vectors[1], vectors[0])
    np.testing.assert_array_equal(vectors[2], vectors[0])
    assert np.all(np.isfinite(vectors))


def test_what_lies_within_the_limit_counts(embedder):
    many = "bottle " * (embedder.identity.max_tokens - 10)

    plain, changed = embedder.embed([many, many + "keyboard"])

    assert not np.array_equal(plain, changed)


@settings(max_examples=40)
@given(text=st.text(st.characters(), max_size=200))
def test_any_unicode_has_a_vector(embedder, text):
    alone = embedder.embed([text])
    accompanied = embedder.embed(["a keyboard", text, "ein Wasserkocher, 水, 🫖"])[1]

    np.testing.assert_allclose(np.linalg.norm(alone), 1, atol=1e-5)
    np.testing.assert_array_equal(alone[0], accompanied)


def test_meaning_decides_nearness(embedder):
    query, bottle, keyboard, hose = embedder.embed(
        ["thermos that keeps coffee hot", "insulated steel bottle", "mechanical keyboard", "garden hose"]
    )

    assert query @ bottle > query @ keyboard
    assert query @ bottle > query @ hose


def test_the_identity_names_model_and_variant(embedder):
    identity = embedder.identity

    assert identity == create_embedder(Settings(_env_file=None), variant=identity.variant).identity
    assert len(bytes.fromhex(identity.weights)) == 32
    assert identity.dimensions > 0
    assert identity.max_tokens > 0

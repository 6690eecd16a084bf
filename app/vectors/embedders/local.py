"""all-MiniLM-L6-v2 on this machine's CPU, by onnxruntime, tokenizers and numpy alone."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from app.vectors.embedders.base import Embedded, EmbedderIdentity, EmbeddingError, Variant
from app.vectors.embedders.minilm import (
    DIMENSIONS,
    MAX_TOKENS,
    MODEL,
    Initializers,
    graph_path,
    initializers,
    place_embeddings,
    word_embeddings,
)
from app.vectors.embedders.model_files import ModelFiles, find_model_files
from app.vectors.embedders.safetensors import read_tensors

if TYPE_CHECKING:
    from onnxruntime import InferenceSession
    from tokenizers import Tokenizer

MAX_CHARACTERS = 20_000
"""Longer texts are cut before they are tokenized; 256 tokens of any language are far shorter."""

_FAST_INT8 = frozenset({"avx512_vnni", "avx_vnni", "amx_int8"})


class LocalEmbedder:
    """Creation only finds the files; the first `embed` loads them (some 0.1 s, under a lock).

    Each text runs by itself on one session, unpadded, in as many Python threads as there are cores, so a
    vector is the same bit for bit whatever its companions: int8 quantises activations by their common range,
    which a batch would share. On a CPU with neither VNNI nor AMX the int8 kernels saturate: its int8 vectors
    come slower and a little off. Threads live for one call; still, create the embedder in the process that
    uses it: neither onnxruntime nor tokenizers promises to survive a fork.
    """

    def __init__(
        self, model_path: Path | None = None, variant: Variant | None = None, threads: int | None = None
    ) -> None:
        self._files = find_model_files(model_path)
        self._variant: Variant = variant or choose_variant()
        self.threads = threads or available_cores()
        self._model: Model | None = None
        self._loading = Lock()

    @cached_property
    def identity(self) -> EmbedderIdentity:
        return EmbedderIdentity(
            provider="local",
            model=MODEL,
            weights=self._files.weights_sha256(),
            variant=self._variant,
            dimensions=DIMENSIONS,
            max_tokens=MAX_TOKENS,
        )

    def embed(self, texts: Sequence[str]) -> Embedded:
        """See `Embedder`; none is refused. The longest texts start first, so that the threads end together."""
        model = self.loaded()
        vectors = np.empty((len(texts), DIMENSIONS), np.float32)
        remaining = iter(sorted(range(len(texts)), key=lambda row: len(texts[row]), reverse=True))

        def work() -> None:
            for row in remaining:  # shared: a list's iterator gives each row to one thread
                vectors[row] = model.vector(texts[row])

        threads = min(self.threads, len(texts))
        if threads <= 1:
            work()
        else:
            with ThreadPoolExecutor(threads, thread_name_prefix="embed") as pool:
                for worker in [pool.submit(work) for _ in range(threads)]:
                    worker.result()
        return Embedded(vectors)

    def loaded(self) -> "Model":
        """The model, loaded by the first who asks."""
        with self._loading:
            if self._model is None:
                self._model = Model(self._files, self._variant)
            return self._model


class Model:
    """A tokenizer, the embedding tables and a session, loaded."""

    def __init__(self, files: ModelFiles, variant: Variant) -> None:
        tensors = read_tensors(files.weights)
        self._words = word_embeddings(tensors)
        self._places = place_embeddings(tensors)
        self._session = open_session(variant, initializers(tensors, variant))
        self._tokenizer = _tokenizer(files.tokenizer)

    def vector(self, text: str) -> NDArray[np.float32]:
        """Shape (384,)."""
        return self.run(self.inputs(text))

    def inputs(self, text: str) -> NDArray[np.float32]:
        """What the session is given: the embeddings of the text's tokens, of shape (tokens, 384). Lone surrogates,
        which no tokenizer takes, count as question marks.

        A batch of one, since `encode` alone holds the interpreter's lock.
        """
        clean = text[:MAX_CHARACTERS].encode(errors="replace").decode()
        tokens = self._tokenizer.encode_batch_fast([clean])[0].ids
        embeddings: NDArray[np.float32] = self._words.take(tokens, axis=0)
        embeddings += self._places[: len(tokens)]
        return embeddings

    def run(self, embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
        """The session's vector, of shape (384,)."""
        vector: NDArray[np.float32] = self._session.run(None, {"embeddings": embeddings})[0]
        return vector


def open_session(variant: Variant, weights: Initializers) -> "InferenceSession":
    """The graph with `weights` attached, which it copies.

    One thread per run, since runs are what is spread over the cores; the graph is optimised already.
    """
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    values = [ort.OrtValue.ortvalue_from_numpy(array) for array in weights.values()]
    options.add_external_initializers(list(weights), values)
    return ort.InferenceSession(graph_path(variant), options, providers=["CPUExecutionProvider"])


def _tokenizer(path: Path) -> "Tokenizer":
    """The file has padding and truncation to 128 tokens baked in; neither is wanted."""
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises no narrower one
        raise EmbeddingError(
            f"{path} is not a tokenizer.", remedy="Fetch the model again; the file is damaged."
        ) from error
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_TOKENS)
    return tokenizer


def choose_variant(flags: frozenset[str] | None = None) -> Variant:
    """int8 where this CPU has instructions for it (three times as fast), else fp32. `flags` as Linux names them."""
    return "int8" if _FAST_INT8 & (cpu_flags() if flags is None else flags) else "fp32"


def cpu_flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """The first CPU's features; none where the system does not tell (other than Linux on x86)."""
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        return frozenset()
    features = (line.partition(":")[2].split() for line in lines if line.startswith("flags"))
    return frozenset(next(features, ()))


def available_cores() -> int:
    """The cores this process may run on, which containers make fewer than the machine's."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1

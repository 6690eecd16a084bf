"""all-MiniLM-L6-v2: its shape, and its weights as the ONNX graphs beside this module name them.

The model is a BERT encoder of six layers whose token vectors are averaged and scaled to length 1. The graphs
(`graph.py` writes them) hold no weights and take one text: the sum of its word, position and type embeddings,
shape (tokens, 384). Looking those up outside the graph leaves the 47 MB word table in the file's own pages.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.vectors.embedders.base import EmbeddingError, Variant

MODEL = "all-MiniLM-L6-v2"
LAYERS = 6
HEADS = 12
DIMENSIONS = 384
FEED_FORWARD = 1536
MAX_TOKENS = 256
LAYER_NORM_EPSILON = 1e-12

EMBEDDINGS_NORM = "embeddings.LayerNorm"
WORD_EMBEDDINGS = "embeddings.word_embeddings.weight"
POSITION_EMBEDDINGS = "embeddings.position_embeddings.weight"
TYPE_EMBEDDINGS = "embeddings.token_type_embeddings.weight"

Tensors = Mapping[str, NDArray[np.float32]]
Initializers = dict[str, NDArray[np.float32] | NDArray[np.int8]]


def graph_path(variant: Variant) -> Path:
    return Path(__file__).with_name(f"minilm-{variant}.onnx")


def layer_name(layer: int) -> str:
    return f"encoder.layer.{layer}"


def linear_shapes(layer: int) -> dict[str, tuple[int, int]]:
    """The linear maps of a layer by name, each (outputs, inputs); `qkv` is query, key and value in one."""
    name = layer_name(layer)
    return {
        f"{name}.attention.self.qkv": (3 * DIMENSIONS, DIMENSIONS),
        f"{name}.attention.output.dense": (DIMENSIONS, DIMENSIONS),
        f"{name}.intermediate.dense": (FEED_FORWARD, DIMENSIONS),
        f"{name}.output.dense": (DIMENSIONS, FEED_FORWARD),
    }


def norm_names() -> list[str]:
    """Every layer normalisation that has weights."""
    layers = (layer_name(layer) for layer in range(LAYERS))
    return [EMBEDDINGS_NORM] + [
        f"{name}.{part}.LayerNorm" for name in layers for part in ("attention.output", "output")
    ]


def initializers(tensors: Tensors, variant: Variant) -> Initializers:
    """Name to array for every weight the graph of this variant leaves open."""
    found: Initializers = {}
    for norm in norm_names():
        found[f"{norm}.weight"] = _tensor(tensors, f"{norm}.weight", (DIMENSIONS,))
        found[f"{norm}.bias"] = _tensor(tensors, f"{norm}.bias", (DIMENSIONS,))
    for layer in range(LAYERS):
        for name, shape in linear_shapes(layer).items():
            weight, found[f"{name}.bias"] = _linear(tensors, name, shape)
            if variant == "int8":
                found[f"{name}.weight"], found[f"{name}.scale"] = quantize(weight)
            else:
                found[f"{name}.weight"] = weight
    return found


def quantize(weight: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Symmetric int8 with one scale per output: (outputs, inputs) becomes values (inputs, outputs), scales.

    One scale for the whole matrix would cost 4 points of cosine; unsigned values would halve the speed.
    """
    scale = np.abs(weight).max(axis=1) / np.float32(127)
    scale[scale == 0] = 1
    scaled = weight / scale[:, np.newaxis]
    return np.ascontiguousarray(np.rint(scaled, out=scaled).astype(np.int8).T), scale


def word_embeddings(tensors: Tensors) -> NDArray[np.float32]:
    """The word table, shape (vocabulary, 384)."""
    table = tensors.get(WORD_EMBEDDINGS)
    if table is None:
        raise _not_this_model(WORD_EMBEDDINGS)
    return _tensor(tensors, WORD_EMBEDDINGS, (len(table), DIMENSIONS))


def place_embeddings(tensors: Tensors) -> NDArray[np.float32]:
    """What a place adds to its word: position plus the type of a first sentence, shape (256, 384)."""
    positions = _tensor(tensors, POSITION_EMBEDDINGS, (512, DIMENSIONS))[:MAX_TOKENS]
    first_type = _tensor(tensors, TYPE_EMBEDDINGS, (2, DIMENSIONS))[:1]
    return positions + first_type


def _linear(tensors: Tensors, name: str, shape: tuple[int, int]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Weight (outputs, inputs) and bias (outputs,)."""
    outputs, inputs = shape
    if not name.endswith(".qkv"):
        return _tensor(tensors, f"{name}.weight", shape), _tensor(tensors, f"{name}.bias", (outputs,))
    parts = [name.removesuffix("qkv") + part for part in ("query", "key", "value")]
    return (
        np.concatenate([_tensor(tensors, f"{part}.weight", (outputs // 3, inputs)) for part in parts]),
        np.concatenate([_tensor(tensors, f"{part}.bias", (outputs // 3,)) for part in parts]),
    )


def _tensor(tensors: Tensors, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    tensor = tensors.get(name)
    if tensor is None or tensor.shape != shape:
        raise _not_this_model(name)
    return tensor


def _not_this_model(name: str) -> EmbeddingError:
    return EmbeddingError(
        f"The weights are not those of {MODEL}: the float32 tensor {name} is missing or has another shape.",
        remedy=f"Set EMBEDDING_MODEL_PATH to a folder with {MODEL}, or unset it.",
    )

"""all-MiniLM-L6-v2 written out in numpy float32, as its paper has it: the reference for the ONNX graphs."""

import math

import numpy as np

LAYERS, HEADS, EPSILON = 6, 12, 1e-12


def vector(tensors, ids):
    """The unit sentence vector, shape (384,), of token ids that include [CLS] and [SEP]."""
    words = tensors["embeddings.word_embeddings.weight"][ids]
    places = tensors["embeddings.position_embeddings.weight"][np.arange(len(ids))]
    kinds = tensors["embeddings.token_type_embeddings.weight"][np.zeros(len(ids), int)]
    hidden = _norm(tensors, words + places + kinds, "embeddings.LayerNorm")
    for number in range(LAYERS):
        hidden = _layer(tensors, hidden, f"encoder.layer.{number}")
    mean = hidden.mean(axis=0)
    return mean / np.linalg.norm(mean)


def _layer(tensors, hidden, name):
    attended = _linear(tensors, _attention(tensors, hidden, name), f"{name}.attention.output.dense")
    hidden = _norm(tensors, attended + hidden, f"{name}.attention.output.LayerNorm")
    widened = _gelu(_linear(tensors, hidden, f"{name}.intermediate.dense"))
    return _norm(tensors, _linear(tensors, widened, f"{name}.output.dense") + hidden, f"{name}.output.LayerNorm")


def _attention(tensors, hidden, name):
    query, key, value = (
        _linear(tensors, hidden, f"{name}.attention.self.{part}") for part in ("query", "key", "value")
    )
    size = hidden.shape[1] // HEADS
    heads = []
    for head in range(HEADS):
        part = slice(head * size, (head + 1) * size)
        scores = query[:, part] @ key[:, part].T / np.sqrt(np.float32(size))
        weights = np.exp(scores - scores.max(axis=1, keepdims=True))
        heads.append(weights / weights.sum(axis=1, keepdims=True) @ value[:, part])
    return np.concatenate(heads, axis=1)


def _linear(tensors, hidden, name):
    return hidden @ tensors[f"{name}.weight"].T + tensors[f"{name}.bias"]


def _norm(tensors, hidden, name):
    centred = hidden - hidden.mean(axis=1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(axis=1, keepdims=True) + np.float32(EPSILON))
    return scaled * tensors[f"{name}.weight"] + tensors[f"{name}.bias"]


def _gelu(values):
    erf = np.frompyfunc(math.erf, 1, 1)
    return values / 2 * (1 + erf(values / math.sqrt(2)).astype(np.float32))

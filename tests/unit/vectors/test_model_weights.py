"""The safetensors reader, the quantisation and the committed graphs."""

import json
import struct

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.vectors.embedders import EmbeddingError
from app.vectors.embedders.graph import build_graph
from app.vectors.embedders.minilm import graph_path, initializers, quantize
from app.vectors.embedders.model_files import find_model_files
from app.vectors.embedders.safetensors import read_tensors


def write(path, header, data):
    encoded = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(encoded)) + encoded + data)
    return path


def entry(dtype, shape, start, end):
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


def test_float32_tensors_are_read_and_others_left(tmp_path):
    values = np.arange(6, dtype="<f4")
    header = {
        "__metadata__": {"format": "pt"},
        "ids": entry("I64", [1], 24, 32),
        "table": entry("F32", [2, 3], 0, 24),
    }

    tensors = read_tensors(write(tmp_path / "model", header, values.tobytes() + bytes(8)))

    assert set(tensors) == {"table"}
    np.testing.assert_array_equal(tensors["table"], values.reshape(2, 3))
    assert not tensors["table"].flags.writeable


@pytest.mark.parametrize(
    ("header", "data"),
    [
        (b"no json", b""),
        ([], b""),
        ({"table": {"dtype": "F32"}}, b""),
        ({"table": entry("F32", [2, 3], 0, 24)}, bytes(20)),
        ({"table": entry("F32", [2, 3], 0, 23)}, bytes(24)),
        ({"table": entry("F32", [-1], 0, 24)}, bytes(24)),
    ],
)
def test_damage_is_an_error(tmp_path, header, data):
    with pytest.raises(EmbeddingError, match="not a safetensors file"):
        read_tensors(write(tmp_path / "model", header, data))


@pytest.mark.parametrize("content", [b"", b"short", b"\xff" * 100])
def test_a_file_without_a_header_is_an_error(tmp_path, content):
    (tmp_path / "model").write_bytes(content)

    with pytest.raises(EmbeddingError, match="not a safetensors file"):
        read_tensors(tmp_path / "model")


@given(st.lists(st.lists(st.floats(-9, 9, width=32), min_size=4, max_size=4), min_size=1, max_size=6))
def test_quantisation_errs_by_half_a_step_at_most(rows):
    weight = np.array(rows, np.float32)

    values, scale = quantize(weight)

    assert values.dtype == np.int8
    assert values.shape == weight.T.shape
    assert scale.shape == (len(rows),)
    assert np.all(np.abs(values.T * scale[:, np.newaxis] - weight) <= 0.501 * scale[:, np.newaxis])


@pytest.mark.parametrize("variant", ["int8", "fp32"])
def test_the_committed_graph_is_the_generated_one(variant):
    committed = onnx.load(graph_path(variant), load_external_data=False)

    assert committed == build_graph(variant), "run `python -m app.vectors.embedders.graph`"


@pytest.mark.parametrize("variant", ["int8", "fp32"])
def test_every_open_weight_is_supplied_in_its_shape_and_type(variant):
    graph = onnx.load(graph_path(variant), load_external_data=False).graph
    weights = initializers(read_tensors(find_model_files().weights), variant)

    declared = {
        tensor.name: (tuple(tensor.dims), onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type))
        for tensor in graph.initializer
        if tensor.data_location == onnx.TensorProto.EXTERNAL
    }
    assert declared == {name: (array.shape, array.dtype) for name, array in weights.items()}


def test_graphs_stay_small():
    assert graph_path("int8").stat().st_size < 50_000
    assert graph_path("fp32").stat().st_size < 50_000


@pytest.mark.parametrize("change", ["missing", "reshaped"])
def test_another_models_weights_are_an_error(change):
    name = "encoder.layer.3.attention.self.key.weight"
    tensors = dict(read_tensors(find_model_files().weights))
    if change == "missing":
        del tensors[name]
    else:
        tensors[name] = tensors[name][:100]

    with pytest.raises(EmbeddingError, match=name):
        initializers(tensors, "int8")

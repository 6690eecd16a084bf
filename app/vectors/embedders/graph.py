"""Writes the weightless ONNX graphs beside this module: `python -m app.vectors.embedders.graph`.

Needs `onnx`, a development dependency; the node itself only reads the files. Every operation is the one the
CPU runs fastest (docs/decisions has the measurements), so the graphs are loaded with the optimizer off.
"""

from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, helper, numpy_helper

from app.vectors.embedders.base import Variant
from app.vectors.embedders.minilm import (
    DIMENSIONS,
    EMBEDDINGS_NORM,
    HEADS,
    LAYER_NORM_EPSILON,
    LAYERS,
    graph_path,
    layer_name,
    linear_shapes,
)

MICROSOFT = "com.microsoft"
HEAD_SIZE = DIMENSIONS // HEADS


class GraphBuilder:
    """Collects nodes and open weights; every method returns the names of what it adds."""

    def __init__(self, variant: Variant) -> None:
        self.variant = variant
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[TensorProto] = []

    def add(self, operation: str, *inputs: str, outputs: int = 1, domain: str = "", **attributes: Any) -> list[str]:
        names = [f"{operation}_{len(self.nodes)}_{output}" for output in range(outputs)]
        self.nodes.append(helper.make_node(operation, inputs, names, domain=domain, **attributes))
        return names

    def weight(self, name: str, shape: tuple[int, ...], element: int = TensorProto.FLOAT) -> str:
        """A tensor whose data is attached when the graph is loaded."""
        tensor = TensorProto(name=name, data_type=element, dims=shape, data_location=TensorProto.EXTERNAL)
        tensor.external_data.add(key="location", value="attached-at-load")
        self.initializers.append(tensor)
        return name

    def constant(self, name: str, values: list[int]) -> str:
        """A small int64 tensor inside the graph; one per name."""
        if all(known.name != name for known in self.initializers):
            self.initializers.append(numpy_helper.from_array(np.array(values, np.int64), name))
        return name

    def linear(self, source: str, name: str, shape: tuple[int, int]) -> str:
        """(tokens, inputs) to (tokens, outputs); int8 quantises `source` by its own range, as a whole."""
        outputs, inputs = shape
        bias = self.weight(f"{name}.bias", (outputs,))
        if self.variant == "fp32":
            weight = self.weight(f"{name}.weight", shape)
            return self.add("Gemm", source, weight, bias, transB=1)[0]
        weight = self.weight(f"{name}.weight", (inputs, outputs), TensorProto.INT8)
        scale = self.weight(f"{name}.scale", (outputs,))
        values, step, zero = self.add("DynamicQuantizeLinear", source, outputs=3)
        return self.add("MatMulIntegerToFloat", values, weight, step, scale, zero, "", bias, domain=MICROSOFT)[0]

    def norm(self, source: str, name: str) -> str:
        weight = self.weight(f"{name}.weight", (DIMENSIONS,))
        bias = self.weight(f"{name}.bias", (DIMENSIONS,))
        return self.add("LayerNormalization", source, weight, bias, axis=-1, epsilon=LAYER_NORM_EPSILON)[0]

    def attention(self, qkv: str) -> str:
        """(tokens, 3 x 384) to (tokens, 384): each head attends to every token."""
        split = self.constant("shape.heads", [-1, 3, HEADS, HEAD_SIZE])
        heads = self.add("Transpose", self.add("Reshape", qkv, split)[0], perm=[1, 2, 0, 3])[0]
        query, key, value = self.add("Split", heads, outputs=3, axis=0, num_outputs=3)
        scores = self.add("FusedMatMul", query, key, domain=MICROSOFT, transB=1, alpha=HEAD_SIZE**-0.5)[0]
        mixed = self.add("MatMul", self.add("Softmax", scores, axis=-1)[0], value)[0]
        tokens = self.add("Transpose", mixed, perm=[0, 2, 1, 3])[0]
        return self.add("Reshape", tokens, self.constant("shape.tokens", [-1, DIMENSIONS]))[0]

    def layer(self, source: str, layer: int) -> str:
        (qkv, to_qkv), (dense, to_dense), (up, to_up), (down, to_down) = linear_shapes(layer).items()
        attended = self.attention(self.linear(source, qkv, to_qkv))
        attended = self.add("Add", self.linear(attended, dense, to_dense), source)[0]
        attended = self.norm(attended, f"{layer_name(layer)}.attention.output.LayerNorm")
        widened = self.add("Gelu", self.linear(attended, up, to_up))[0]
        result = self.add("Add", self.linear(widened, down, to_down), attended)[0]
        return self.norm(result, f"{layer_name(layer)}.output.LayerNorm")


def build_graph(variant: Variant) -> ModelProto:
    """`embeddings` (tokens, 384) to `vector` (384,) of length 1, for one text without padding."""
    graph = GraphBuilder(variant)
    tokens = graph.norm("embeddings", EMBEDDINGS_NORM)
    for layer in range(LAYERS):
        tokens = graph.layer(tokens, layer)
    mean = graph.add("ReduceMean", tokens, graph.constant("axis.tokens", [0]), keepdims=0)[0]
    graph.nodes.append(helper.make_node("LpNormalization", [mean], ["vector"], axis=-1, p=2))
    return helper.make_model(
        helper.make_graph(
            graph.nodes,
            f"minilm-{variant}",
            [helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["tokens", DIMENSIONS])],
            [helper.make_tensor_value_info("vector", TensorProto.FLOAT, [DIMENSIONS])],
            graph.initializers,
        ),
        ir_version=10,
        opset_imports=[helper.make_opsetid("", 20), helper.make_opsetid(MICROSOFT, 1)],
    )


def main() -> None:
    variants: tuple[Variant, ...] = ("fp32", "int8")
    for variant in variants:
        graph_path(variant).write_bytes(build_graph(variant).SerializeToString(deterministic=True))


if __name__ == "__main__":
    main()

"""Weights kept as INT8, for small disks: ONNX Runtime makes floats of them when it opens the file.

Each is written as whole numbers, a Cast and a Mul by one scale for each output channel. Both are
constant, so they are folded when a session is opened: runs are as fast, and as large in memory, as
before. A DequantizeLinear would not be folded, and cost as much as the layer in each run.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from eyespot.exporter.errors import DerivationError

# Smaller ones are not worth two nodes.
_SMALLEST = 1024
_LARGEST_CODE = 127
# Where the output channels of a weight are, if not first.
_CHANNEL_AXES = {"MatMul": -1, "ConvTranspose": 1}


def store_weights_as_int8(graph: Path, path: Path) -> int:
    """Write a graph with the larger weights as whole numbers, and count those weights.

    Raises:
        DerivationError: It has none, or they are whole numbers already.
    """
    model = onnx.load(graph)
    axes = {
        name: _CHANNEL_AXES.get(node.op_type, 0) for node in model.graph.node for name in node.input
    }
    given = {value.name for value in model.graph.input}
    large = [
        weight
        for weight in model.graph.initializer
        if weight.data_type == TensorProto.FLOAT
        and len(weight.dims) > 1
        and np.prod(weight.dims) >= _SMALLEST
        and weight.name in axes
        and weight.name not in given
    ]
    if not large and any(
        weight.data_type == TensorProto.INT8 and len(weight.dims) > 1
        for weight in model.graph.initializer
    ):
        raise DerivationError("there is nothing to make smaller: its weights are INT8 already")
    if not large:
        raise DerivationError(f"no weight of the graph has {_SMALLEST} numbers or more")
    nodes: list[onnx.NodeProto] = []
    for weight in large:
        model.graph.initializer.extend(_stored(weight, axes[weight.name]))
        model.graph.initializer.remove(weight)
        nodes.extend(_restoring(weight.name))
    nodes.extend(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.save(model, path)
    return len(large)


def _stored(weight: TensorProto, axis: int) -> Iterator[TensorProto]:
    """Whole numbers from -127 to 127, and the scale of each output channel."""
    values = numpy_helper.to_array(weight)
    others = tuple(each for each in range(values.ndim) if each != axis % values.ndim)
    scales = np.abs(values).max(axis=others, keepdims=True) / _LARGEST_CODE
    scales = np.where(scales > 0, scales, 1).astype(np.float32)
    yield numpy_helper.from_array(np.rint(values / scales).astype(np.int8), f"{weight.name}_int8")
    yield numpy_helper.from_array(scales, f"{weight.name}_scale")


def _restoring(name: str) -> Iterator[onnx.NodeProto]:
    yield helper.make_node(
        "Cast", [f"{name}_int8"], [f"{name}_cast"], name=f"{name}_cast", to=TensorProto.FLOAT
    )
    yield helper.make_node("Mul", [f"{name}_cast", f"{name}_scale"], [name], name=f"{name}_mul")

"""A graph that a backward pass is written into: its shapes, and nodes that are added one by one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from eyespot.exporter.errors import GradientError

# Begins the names of all that is added; no name of PyTorch's has such a character.
OURS = "$"

# A size that varies has a name, or none.
Size = int | str | None


class Graph:
    """An ONNX model that grows, node by node.

    Args:
        model: Is changed. Each of its values has its shape written down, or it is found by
            inference.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        self._count = 0
        self._constants: dict[tuple[str, bytes, tuple[int, ...]], str] = {}
        self._shapes, self._types = _read_shapes(model)
        self._producers = {name: node for node in model.graph.node for name in node.output}
        self._initializers = {tensor.name: tensor for tensor in model.graph.initializer}

    def emit(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Add a node of one output, and name that."""
        return self.emit_all(operator, *inputs, outputs=1, **attributes)[0]

    def emit_all(
        self, operator: str, *inputs: str, outputs: int, **attributes: Any
    ) -> tuple[str, ...]:
        """Add a node, and name its outputs."""
        names = tuple(self.fresh_name() for _ in range(outputs))
        self.model.graph.node.append(helper.make_node(operator, inputs, names, **attributes))
        return names

    def fresh_name(self) -> str:
        """Make a name that nothing has."""
        self._count += 1
        return f"{OURS}{self._count}"

    def number(self, value: float) -> str:
        """Name a constant of FP32."""
        return self.constant(np.array(value, np.float32))

    def integers(self, values: Sequence[int]) -> str:
        """Name a constant of INT64, of one axis."""
        return self.constant(np.array(values, np.int64))

    def constant(self, value: NDArray[Any]) -> str:
        """Name a constant; what was asked for before is given again."""
        key = (value.dtype.str, value.tobytes(), value.shape)
        if key not in self._constants:
            name = self.fresh_name()
            self._constants[key] = name
            self.model.graph.initializer.append(numpy_helper.from_array(value, name))
        return self._constants[key]

    def shape(self, name: str) -> tuple[Size, ...]:
        """Tell the shape of a value of the forward pass.

        Raises:
            GradientError: Not even its number of axes is known.
        """
        if name not in self._shapes:
            raise GradientError(f"the number of axes of {name} is not known")
        return self._shapes[name]

    def is_floating(self, name: str) -> bool:
        """Tell whether a value of the forward pass can have a gradient."""
        return self._types.get(name) in _FLOATING

    def producer(self, name: str) -> onnx.NodeProto | None:
        """Find the node of the forward pass that gives a value; None for what is given to it."""
        return self._producers.get(name)

    def value(self, name: str) -> NDArray[Any] | None:
        """Read a constant of the graph; None where it is computed, or lies in another file."""
        tensor = self._initializers.get(name)
        if tensor is None or tensor.external_data:
            return None
        found: NDArray[Any] = numpy_helper.to_array(tensor)
        return found

    def expect_value(self, name: str, what: str) -> NDArray[Any]:
        """Read a constant without which there is no gradient.

        Raises:
            GradientError: It is computed.
        """
        found = self.value(name)
        if found is None:
            raise GradientError(f"its {what} are computed, and no constants")
        return found

    def shape_like(self, gradient: str, name: str) -> str:
        """Give a gradient the shape of a value that has as many elements."""
        sizes = self.shape(name)
        if sum(not isinstance(size, int) for size in sizes) > 1:
            return self.emit("Reshape", gradient, self.emit("Shape", name))
        target = [size if isinstance(size, int) else -1 for size in sizes]
        return self.emit("Reshape", gradient, self.integers(target))

    def zeros_like(self, name: str) -> str:
        """Make zeros of the shape of a value."""
        zero = numpy_helper.from_array(np.zeros(1, np.float32))
        return self.emit("ConstantOfShape", self.emit("Shape", name), value=zero)

    def sum_to(self, gradient: str, name: str, result: str) -> str:
        """Sum a gradient of a result over the axes along which a value was repeated for it."""
        own, full = self.shape(name), self.shape(result)
        missing = len(full) - len(own)
        repeated = [
            axis
            for axis, size in enumerate(full)
            if axis < missing or (own[axis - missing] == 1 and size != 1)
        ]
        if not repeated:
            return gradient
        summed = self.emit("ReduceSum", gradient, self.integers(repeated), keepdims=1)
        return self.shape_like(summed, name) if missing else summed


_FLOATING = (onnx.TensorProto.FLOAT,)


def _read_shapes(model: onnx.ModelProto) -> tuple[dict[str, tuple[Size, ...]], dict[str, int]]:
    shapes: dict[str, tuple[Size, ...]] = {}
    types: dict[str, int] = {}
    graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    for value in (*graph.value_info, *graph.input, *graph.output):
        tensor = value.type.tensor_type
        types[value.name] = tensor.elem_type
        if tensor.HasField("shape"):
            shapes[value.name] = tuple(
                dim.dim_value if dim.HasField("dim_value") else dim.dim_param or None
                for dim in tensor.shape.dim
            )
    for weight in graph.initializer:
        types[weight.name] = weight.data_type
        shapes[weight.name] = tuple(weight.dims)
    return shapes, types


def attributes_of(node: onnx.NodeProto) -> dict[str, Any]:
    """Read the attributes of a node by their names."""
    return {each.name: helper.get_attribute_value(each) for each in node.attribute}

"""`gradient.onnx` and its kin: the served graph, and the backward pass behind it.

What is differentiated is the ONNX graph that is served, and no second translation of the
program: batch norms are folded in it already, its weights are those of `model.onnx`, and a
backward pass takes a second to write where tracing and translating it took a minute.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import helper

from eyespot.exporter.errors import GradientError
from eyespot.exporter.gradient_graph.activation_rules import is_rectifier
from eyespot.exporter.gradient_graph.differentiation import active_values, differentiate
from eyespot.exporter.gradient_graph.graph import Graph, Size
from eyespot.exporter.gradient_graph.rules import RULES
from eyespot.exporter.gradient_graph.shared_weights import read_without_weights
from eyespot.saliency.backend import Rectifier
from eyespot.saliency.graph_backend import COTANGENT, GRADIENT, TOP, outputs_of_layer

_FLOAT = onnx.TensorProto.FLOAT


@dataclass(frozen=True)
class ServedGraph:
    """The graph that is served, as gradients need it: it takes floating point."""

    model: onnx.ModelProto
    input: str
    output: str

    @property
    def rectifier_count(self) -> int:
        """How many rectifiers there are between the input and the output."""
        graph = Graph(copy.deepcopy(self.model))
        active = active_values(graph, list(self.model.graph.node), self.input)
        return sum(
            node.output[0] in active and is_rectifier(graph, node) for node in self.model.graph.node
        )

    def maps(self, shape: Sequence[int | None]) -> list[str]:
        """Name the values of a shape (C, H, W), None being a size that varies, in order."""
        graph = Graph(copy.deepcopy(self.model))
        active = active_values(graph, list(self.model.graph.node), self.input)
        return [
            name
            for node in self.model.graph.node
            for name in node.output
            if name in active and _is_of_shape(graph.shape(name)[1:], shape)
        ]


def read_served_graph(folder: Path) -> ServedGraph:
    """Read the graph of a version, and have it take floating point.

    Raises:
        GradientError: It has several inputs, or no one place where gradients begin.
    """
    model = read_without_weights(folder)
    graph = model.graph
    if len(graph.input) != 1:
        raise GradientError(f"the graph has {len(graph.input)} inputs, and one is expected")
    for node in graph.node:
        del node.metadata_props[:]
    given = graph.input[0]
    if given.type.tensor_type.elem_type != _FLOAT:
        _take_floats(graph, given)
    return ServedGraph(model, given.name, graph.output[0].name)


def write_gradient(
    served: ServedGraph,
    path: Path,
    *,
    rectifier: Rectifier,
    layers: Mapping[str, str],
    is_whole: bool,
) -> None:
    """Write one gradient graph.

    Args:
        served: What is differentiated.
        path: Beside `model.onnx`.
        rectifier: How gradients pass rectifiers.
        layers: The values that are given too, and their gradients, by the names of their layers;
            the empty name is that of the one where none is named, or of the only one.
        is_whole: Whether the gradient by the input is given.

    Raises:
        GradientError: An operator on the way has no rule, and is named; or no way leads to a layer.
    """
    model = copy.deepcopy(served.model)
    graph = Graph(model)
    cotangent = _add_cotangent(graph, served.output)
    wanted = {*layers.values(), *([served.input] if is_whole else [])}
    found = differentiate(
        graph,
        leaf=served.input,
        output=served.output,
        cotangent=cotangent,
        rules=RULES,
        rectifier=rectifier,
        wanted=wanted,
    )
    if is_whole:
        _add_output(graph, found[served.input], GRADIENT, like=served.input)
    for layer, place in layers.items():
        if place not in found:
            raise GradientError(f"no gradient reaches {place}")
        maps, gradient = outputs_of_layer(layer)
        _add_output(graph, place, maps, like=place)
        _add_output(graph, found[place], gradient, like=place)
    del model.graph.value_info[:]
    model.graph.name = path.stem
    path.write_bytes(model.SerializeToString(deterministic=True))


def write_candidates(served: ServedGraph, path: Path, names: Sequence[str]) -> None:
    """Write the served graph with values of its inside as outputs."""
    model = copy.deepcopy(served.model)
    model.graph.output.extend(helper.make_tensor_value_info(name, _FLOAT, None) for name in names)
    path.write_bytes(model.SerializeToString(deterministic=True))


def _take_floats(graph: onnx.GraphProto, given: onnx.ValueInfoProto) -> None:
    casts = [node for node in graph.node if node.op_type == "Cast" and node.input[0] == given.name]
    others = [
        node.op_type
        for node in graph.node
        if given.name in node.input and node.op_type not in ("Cast", "Shape")
    ]
    if len(casts) != 1 or others or helper.get_attribute_value(casts[0].attribute[0]) != _FLOAT:
        raise GradientError(f"{given.name} is not cast to FP32 in exactly one place")
    (cast,) = casts
    for node in graph.node:
        node.input[:] = [given.name if name == cast.output[0] else name for name in node.input]
    graph.node.remove(cast)
    given.type.tensor_type.elem_type = _FLOAT


def _add_cotangent(graph: Graph, output: str) -> str:
    """Add the inputs that the backward pass begins with, and name the sum of what they say."""
    sizes = graph.shape(output)
    places = [None] * (len(sizes) - 2)  # one place will do for all
    _declare(graph.model.graph.input, COTANGENT, (*sizes[:2], *places))
    if len(sizes) != 2:
        return graph.emit("Expand", COTANGENT, graph.emit("Shape", output))
    _declare(graph.model.graph.input, TOP, (sizes[0], 1))
    classes = sizes[1]
    if not isinstance(classes, int):
        raise GradientError("the number of classes varies")
    top = graph.emit("ArgMax", output, axis=1, keepdims=1)  # (B, 1)
    is_top = graph.emit("Equal", graph.constant(np.arange(classes)[None]), top)  # (B, K)
    share = graph.emit("Mul", graph.emit("Cast", is_top, to=_FLOAT), TOP)
    return graph.emit("Add", COTANGENT, share)


def _add_output(graph: Graph, value: str, name: str, *, like: str) -> None:
    graph.model.graph.node.append(helper.make_node("Identity", [value], [name]))
    _declare(graph.model.graph.output, name, graph.shape(like))


def _declare(values: object, name: str, sizes: Sequence[Size]) -> None:
    values.append(helper.make_tensor_value_info(name, _FLOAT, list(sizes)))  # type: ignore[attr-defined]


def _is_of_shape(found: Sequence[Size], expected: Sequence[int | None]) -> bool:
    return len(found) == len(expected) and all(
        isinstance(size, int) == isinstance(other, int) and (other is None or size == other)
        for size, other in zip(found, expected, strict=True)
    )

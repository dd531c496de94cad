"""A network layer by layer: shapes, parameters, MACs and receptive fields of a captured graph."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor, fx
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind
from torch.utils.flop_counter import FlopCounterMode

from eyespot.exporter.capture import find_gradient_node
from eyespot.exporter.errors import InputSizeError
from eyespot.exporter.field_tracking import FieldTracker, is_later_map, is_map
from eyespot.exporter.receptive_field import Field
from eyespot.exporter.smallest_size import smallest_size, unlogged
from eyespot.saliency.errors import SaliencyError
from eyespot.saliency.torch_backend.layers import find_layer
from eyespot.saliency.torch_backend.program import find_node, user_output


@dataclass(frozen=True)
class SeenField:
    """What the units of a map see along one axis of the input, in input pixels.

    Attributes:
        axis: Of the input.
        size: Pixels that one unit depends on, those in the padding as well; behind something
            that upsamples, the most that a unit can depend on.
        stride: From the field of one unit to that of the next.
        offset: First pixel of the first unit's field; below 0 it lies in the padding.
    """

    axis: int
    size: int
    stride: int | float
    offset: int | float


@dataclass(frozen=True)
class Layer:
    """One operator of the graph.

    Attributes:
        node: Its name in the captured graph, which saliency takes as `layer`.
        scope: The module that it comes from.
        kind: What it does.
        output_shape: Rows first.
        output_size: How that follows from kernel, padding, stride and dilation; "" where
            there is no window.
        padding: valid, same, full or a number; "" where there is no window.
        parameters: That it is the first to use.
        macs: Multiplications with accumulation, of convolutions and matrix products.
        fields: One for each axis of a map; empty for what has no positions.
        is_map: It has more than one position.
        undefined: The first operator on the way here that the arithmetic has no rule for.
    """

    node: str
    scope: str
    kind: str
    output_shape: tuple[int, ...]
    output_size: str
    padding: str
    parameters: int
    macs: int
    fields: tuple[SeenField, ...]
    is_map: bool
    undefined: str | None


@dataclass(frozen=True)
class LayerTable:
    """All layers of a network, and their totals.

    Attributes:
        input_shapes: Rows first.
        layers: In the order in which they are computed.
        parameters: Numbers in all parameters, frozen ones too; one used twice counts once.
        macs: For one row.
        notes: What the numbers do not say, such as paths that do not meet centre on centre.
        default_map: The node that saliency takes where it is told no layer; None where it
            could not ask any.
    """

    input_shapes: tuple[tuple[int, ...], ...]
    layers: tuple[Layer, ...]
    parameters: int
    macs: int
    notes: tuple[str, ...]
    default_map: str | None

    @property
    def maps(self) -> tuple[Layer, ...]:
        """The layers that give a map of more than one unit: those that saliency can ask."""
        return tuple(layer for layer in self.layers if layer.is_map)

    @property
    def last_map(self) -> Layer | None:
        """The last map before the network pools all positions, flattens them, or upsamples."""
        last = None
        for layer in self.maps:
            if last is None or is_later_map(layer.fields, last.fields):
                last = layer
        return last

    @property
    def undefined_from(self) -> Layer | None:
        """The first layer from which the arithmetic is lost."""
        return next((layer for layer in self.layers if layer.undefined), None)


def layer_table(program: ExportedProgram, *, input_size: int | None = None) -> LayerTable:
    """Describe a captured program for one row; nothing is computed.

    Args:
        program: Its weights are not looked at.
        input_size: For the sizes that are dynamic; what it was captured with if not told.

    Raises:
        InputSizeError: Its sizes are fixed, or this one is too small.
    """
    if input_size is not None:
        _check_size(program, input_size)
    reader, inputs = _read(program, input_size)
    return LayerTable(
        input_shapes=tuple(tuple(each.shape) for each in inputs),
        layers=tuple(reader.layers),
        parameters=sum(layer.parameters for layer in reader.layers),
        macs=reader.counter.get_total_flops() // 2,
        notes=tuple(_notes(reader.told)),
        default_map=_default_map(program),
    )


def _default_map(program: ExportedProgram) -> str | None:
    """Ask saliency itself, so that what is told is what it does."""
    start = find_gradient_node(program)
    if start is None:
        return None
    try:
        return find_layer(find_node(program.graph, start), user_output(program), "")
    except SaliencyError:
        return None


def _read(program: ExportedProgram, input_size: int | None) -> tuple[_Reader, list[Tensor]]:
    """Run the graph on one row of everything."""
    reader, names = _Reader(program), program.graph_signature.user_inputs
    with FakeTensorMode():
        values = [_stand_in(node, input_size) for node in _placeholders(program)]
        given = zip(_placeholders(program), values, strict=True)
        inputs = [x for node, x in given if node.name in names and isinstance(x, Tensor)]
        for tensor in inputs:
            reader.tracker.begin(tensor)
        with torch.no_grad(), reader.counter, reader.tracker:
            reader.run(*values)
    return reader, inputs


def _check_size(program: ExportedProgram, input_size: int) -> None:
    names = program.graph_signature.user_inputs
    values = [node.meta["val"] for node in _placeholders(program) if node.name in names]
    if all(isinstance(size, int) for value in values for size in value.shape[1:]):
        shapes = ", ".join(str(list(value.shape[1:])) for value in values)
        raise InputSizeError(f"the program takes rows of {shapes} and no other size")

    def passes(size: int) -> bool:
        with unlogged():
            try:
                _read(program, size)
            except RuntimeError:  # of an operator whose output would be empty
                return False
        return True

    if not passes(input_size):
        smallest = smallest_size(passes, above=input_size)
        raise InputSizeError(
            f"inputs with sides of {input_size} do not fit; the smallest that do: {smallest}"
        )


class _Reader(fx.Interpreter):
    """Runs a graph on tensors without memory, and writes down each of its operators."""

    def __init__(self, program: ExportedProgram) -> None:
        super().__init__(program.graph_module)
        self.layers: list[Layer] = []
        self.told: dict[str, list[str]] = {}
        self.tracker = FieldTracker(self._tell)
        self.counter = FlopCounterMode(display=False)
        self._counts = _parameters(program)
        # The parameters that a node brings to the layer that uses it.
        self._brought = {node: {node} for node in self._counts}
        self._node = ""

    def run_node(self, n: fx.Node) -> Any:
        self._node = n.name
        self.tracker.window = None
        flops = self.counter.get_total_flops()
        value = super().run_node(n)
        if n.op == "call_function":
            brought = set().union(*(self._brought.get(each, ()) for each in n.all_input_nodes))
            if not isinstance(value, Tensor) or not self.tracker.depends(value):
                self._brought[n] = brought
            else:
                flops = self.counter.get_total_flops() - flops
                parameters = sum(self._counts.pop(each, 0) for each in brought)
                self.layers.append(self._layer(n, value, parameters, macs=flops // 2))
        return value

    def _layer(self, node: fx.Node, value: Tensor, parameters: int, *, macs: int) -> Layer:
        axes = self.tracker.axes_of(value)
        window, sizes = self.tracker.window or (None, ())
        return Layer(
            node=node.name,
            scope=scope_of(node),
            kind=window.text() if window else _operator(node),
            output_shape=tuple(value.shape),
            output_size=window.formula(sizes) if window else "",
            padding=window.padding_text() if window else "",
            parameters=parameters,
            macs=macs,
            fields=tuple(_seen(field) for field in axes if field is not None),
            is_map=is_map(value, axes),
            undefined=self.tracker.lost_at(value),
        )

    def _tell(self, text: str) -> None:
        nodes = self.told.setdefault(text, [])
        if self._node not in nodes:
            nodes.append(self._node)


def _notes(told: Mapping[str, list[str]]) -> Iterator[str]:
    for text, nodes in told.items():
        more = f", and {len(nodes) - 1} more" if len(nodes) > 1 else ""
        yield f"{nodes[0]} {text}{more}"


def _placeholders(program: ExportedProgram) -> list[fx.Node]:
    return [node for node in program.graph.nodes if node.op == "placeholder"]


def _parameters(program: ExportedProgram) -> dict[fx.Node, int]:
    """Count the numbers of each parameter, by the node that stands for it."""
    specs = zip(_placeholders(program), program.graph_signature.input_specs, strict=True)
    counts, seen = {}, set()
    for node, spec in specs:
        if spec.kind is InputKind.PARAMETER and spec.target not in seen:
            seen.add(spec.target)
            counts[node] = node.meta["val"].numel()
    return counts


def _stand_in(node: fx.Node, input_size: int | None) -> Any:
    """Make a tensor of one row in the place of an input or a weight."""
    value = node.meta["val"]
    if not isinstance(value, Tensor):
        return value
    sizes = []
    for axis, size in enumerate(value.shape):
        if isinstance(size, int):
            sizes.append(size)
        elif axis == 0:
            sizes.append(1)
        else:
            sizes.append(input_size or size.node.hint)
    return torch.empty(sizes, dtype=value.dtype, device=value.device)


def scope_of(node: fx.Node) -> str:
    """Name the module that a node comes from; "" where it comes from none of its own."""
    stack = [scope for scope, _ in (node.meta.get("nn_module_stack") or {}).values() if scope]
    return stack[-1] if stack else ""


def _operator(node: fx.Node) -> str:
    target: Any = node.target
    name = getattr(target, "overloadpacket", target).__name__
    return str(name).rstrip("_").replace("_", " ")


def _seen(field: Field) -> SeenField:
    return SeenField(
        axis=field.axis,
        size=math.ceil(field.size),
        stride=_number(field.stride),
        offset=_number(field.offset),
    )


def _number(value: Fraction) -> int | float:
    return value.numerator if value.denominator == 1 else float(value)

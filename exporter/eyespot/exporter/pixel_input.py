"""Pixels into an ONNX graph made elsewhere: the nodes of a rule in front of what it takes.

A graph that takes floats gets what every export has: UINT8 pixels (batch, height, width, channels)
become floats in [0, 1], are normalised, and brought into its order of axes. One that takes such
pixels already stays as it is: its normalisation, if there is any, is its own, and the rule tells
none.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from eyespot.exporter.errors import OnnxError, PreprocessingFitError
from eyespot.exporter.parity import RTOL, Run, compare, random_batches
from eyespot.exporter.preprocessed import check_rule_fits
from eyespot.exporter.rule_choice import change_rule, choose_rule
from eyespot.v1.manifest import TensorSpec
from eyespot.v1.preprocessing import PreprocessingRule

T = TypeVar("T")

_BRIGHTEST = 255.0
# Since then constants of other shapes than a tensor are spread over it.
_FIRST_OPSET = 7
_ANY_SIZE = 224  # of what is compared where the graph takes any size


@dataclass(frozen=True)
class PixelInput:
    """What a graph takes, as pixels by a rule.

    Attributes:
        rule: From a picture to pixels.
        spec: The input of the graph, rows first.
        channel_axis: Of it, 1 or 3.
    """

    rule: PreprocessingRule
    spec: TensorSpec
    channel_axis: int

    @property
    def is_there(self) -> bool:
        """Whether the graph takes pixels as it is."""
        return self.spec.datatype == "UINT8"

    @property
    def pixels(self) -> TensorSpec:
        """The new input, UINT8 (batch, height, width, channels)."""
        name = self.spec.name if self.is_there else f"{self.spec.name}_pixels"
        rows, *sizes = _channels_last(self.spec.shape, self.channel_axis)
        return TensorSpec(name, "UINT8", (rows, *sizes))

    def put_before(self, model: onnx.ModelProto) -> onnx.ModelProto:
        """Give a graph that makes of pixels what the given one takes.

        Raises:
            OnnxError: It is too old.
        """
        if self.is_there:
            return model
        opset = next((each.version for each in model.opset_import if not each.domain), 0)
        if 0 < opset < _FIRST_OPSET:
            raise OnnxError(f"opset {opset} is too old for preprocessing, which needs 7 or later")
        made = onnx.ModelProto()
        made.CopyFrom(model)
        nodes = [*self._nodes(), *made.graph.node]
        del made.graph.node[:]
        made.graph.node.extend(nodes)
        (taken,) = (value for value in made.graph.input if value.name == self.spec.name)
        tensor = taken.type.tensor_type
        taken.name, tensor.elem_type = self.pixels.name, TensorProto.UINT8
        sizes = [type(size).FromString(size.SerializeToString()) for size in tensor.shape.dim]
        del tensor.shape.dim[:]
        tensor.shape.dim.extend(_channels_last(sizes, self.channel_axis))
        return made

    def check(self, before: Run, after: Run, *, outputs: Sequence[str]) -> None:
        """Compare a graph with itself behind the rule, on random pixels.

        Raises:
            ParityError: They differ.
        """
        rows, *sizes = self.pixels.shape
        known = (size if isinstance(size, int) else _ANY_SIZE for size in sizes)
        pixels = TensorSpec(self.pixels.name, "UINT8", (rows, *known))

        def expected(x: NDArray[np.uint8]) -> tuple[NDArray[Any], ...]:
            if self.is_there:
                return before(x)
            floats = (x / _BRIGHTEST - self.rule.mean) / self.rule.std  # (B, H, W, C)
            moved = np.moveaxis(floats, 3, self.channel_axis)  # -> (B, C, H, W), or as it is
            return before(np.ascontiguousarray(moved, np.float32))

        batches = random_batches([pixels], max_batch_size=1, seed=0)
        compare(expected, after, batches, outputs=outputs, atol=0.0, rtol=RTOL)

    def _nodes(self) -> Iterator[onnx.NodeProto]:
        pixels = self.pixels.name
        values = {"most": (_BRIGHTEST,), "mean": self.rule.mean, "std": self.rule.std}
        for name, numbers in values.items():  # as nodes: early graphs declare initializers twice
            tensor = numpy_helper.from_array(np.array(numbers, np.float32))  # (C,) or (1,)
            yield helper.make_node("Constant", [], [f"{pixels}.{name}"], value=tensor)
        steps: list[tuple[str, list[str], dict[str, Any]]] = [
            ("Cast", [], {"to": TensorProto.FLOAT}),
            ("Div", [f"{pixels}.most"], {}),
            ("Sub", [f"{pixels}.mean"], {}),
            ("Div", [f"{pixels}.std"], {}),
        ]
        if self.channel_axis == 1:
            steps.append(("Transpose", [], {"perm": [0, 3, 1, 2]}))  # -> (B, C, H, W)
        value = pixels
        for number, (operator, constants, attributes) in enumerate(steps, start=1):
            given = [value, *constants]
            value = self.spec.name if number == len(steps) else f"{pixels}.{number}"
            yield helper.make_node(operator, given, [value], **attributes)


def choose_pixel_input(
    inputs: Sequence[TensorSpec],
    wanted: str | Path | PreprocessingRule,
    changes: Mapping[str, Any],
) -> PixelInput:
    """Find out how a graph takes pictures, and choose a rule; a known one follows the graph.

    Args:
        inputs: Of the graph.
        wanted: "imagenet", a rule, or a JSON file with one.
        changes: Values of it to change, by their names.

    Raises:
        PreprocessingFitError: It takes no pictures, or the rule does not fit, or normalises pixels
            that the graph takes as they are.
    """
    spec, channel_axis = _picture_input(inputs)
    _, height, width, channels = _channels_last(spec.shape, channel_axis)
    assert isinstance(channels, int)
    known = [size if isinstance(size, int) else None for size in (height, width)]
    rule = choose_rule(wanted, None, channels=channels, height=known[0], width=known[1])
    if rule is None:
        raise PreprocessingFitError(f"preprocessing {wanted!r} is no rule for a picture")
    chosen = PixelInput(rule, spec, channel_axis)
    if chosen.is_there and isinstance(wanted, str):
        rule = change_rule(rule, {"mean": (0.0,) * channels, "std": (1.0,) * channels})
    rule = change_rule(rule, changes)
    check_rule_fits(rule, channels=channels, height=known[0], width=known[1])
    if chosen.is_there and rule.normalises:
        raise PreprocessingFitError(
            f"the graph takes UINT8 {list(spec.shape)}, pixels as they are, and does its own "
            f"normalising: mean {list(rule.mean)} and std {list(rule.std)} would not be applied; "
            "leave --mean and --std out, in a rule say mean 0 and std 1"
        )
    return dataclasses.replace(chosen, rule=rule)


def _picture_input(inputs: Sequence[TensorSpec]) -> tuple[TensorSpec, int]:
    """Find the input that a picture becomes, and the axis of its channels."""
    if len(inputs) == 1 and len(inputs[0].shape) == 4 and isinstance(inputs[0].shape[0], str):
        (spec,) = inputs
        for axis, datatypes in ((1, ("FP32",)), (3, ("FP32", "UINT8"))):
            if spec.shape[axis] in (1, 3) and spec.datatype in datatypes:
                return spec, axis
    takes = " and ".join(f"{spec.datatype} {list(spec.shape)}" for spec in inputs)
    raise PreprocessingFitError(
        f"the graph takes {takes}; a picture can become FP32 (batch, channels, height, width), "
        "FP32 or UINT8 (batch, height, width, channels), of 1 or 3 channels and any batch: add it "
        "without preprocessing, and ask it with arrays"
    )


def _channels_last(sizes: Sequence[T], channel_axis: int) -> list[T]:
    """Bring the size of the channels behind the others."""
    others = [size for axis, size in enumerate(sizes) if axis != channel_axis]
    return [*others, sizes[channel_axis]]

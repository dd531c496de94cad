"""Effective receptive fields: Luo, Li, Urtasun and Zemel, 2016.

Understanding the Effective Receptive Field in Deep Convolutional Neural Networks, arXiv
1701.04128, NIPS 2016.

Of all the pixels that a unit could depend on, those near the centre reach it by far more paths,
so its gradient is a bump that is much smaller than the theoretical field. Departures: the
gradients of all channels of the centre unit are taken at once, with random signs, and squared
before they are averaged (the paper's own analysis is of their variance), because with random
weights they would cancel; and networks with batch normalisation are measured in evaluation mode.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind

from eyespot.exporter.capture import find_gradient_node
from eyespot.exporter.errors import CaptureError
from eyespot.exporter.field_tracking import spatial_axes
from eyespot.exporter.layers import Layer

# A pixel counts if its gradient is more than this part of the largest: the paper's bound, where
# a Gaussian is two standard deviations away from its centre.
THRESHOLD = 1 - 0.9545


@dataclass(frozen=True)
class EffectiveField:
    """How much each pixel of the input moves the centre unit of a map.

    Attributes:
        node: That gives the map.
        unit: The position of the centre unit in it.
        gradients: (H, W), root mean square over inputs, weights and channels; the largest is 1.
        box: (top, left, height, width) of the theoretical field, in pixels; may leave the image.
        size: Side of a square with as many pixels as have more than `THRESHOLD`.
        samples: Gradients that were averaged.
    """

    node: str
    unit: tuple[int, int]
    gradients: NDArray[np.float32]
    box: tuple[float, float, float, float]
    size: float
    samples: int

    @property
    def part(self) -> float:
        """Side of the effective field, as a part of the theoretical one's."""
        return self.size / math.sqrt(self.box[2] * self.box[3])


def effective_field(
    program: ExportedProgram,
    layer: Layer,
    samples: Iterable[tuple[Mapping[str, Tensor], Tensor]],
    *,
    seed: int = 0,
) -> EffectiveField:
    """Measure the effective receptive field of the centre unit of a map.

    Args:
        program: A captured network that takes one picture, (B, C, H, W) or pixels (B, H, W, C).
        layer: That gives the map (B, C, h, w).
        samples: Weights by their names, and one row of the input to take the gradient at.
        seed: Of the signs.

    Raises:
        CaptureError: The layer gives no map of two axes.
    """
    shape = layer.output_shape
    if len(layer.fields) != 2 or len(shape) != 4:
        raise CaptureError(
            f"{layer.node} gives {list(shape)}: the effective field is drawn of a map (B, C, h, w)"
        )
    unit = (shape[2] // 2, shape[3] // 2)
    generator = torch.Generator().manual_seed(seed)
    total, count = None, 0
    for weights, rows in samples:
        gradient = _gradient(program, layer.node, unit, weights, rows, generator)
        (channels,) = {1, 2, 3} - set(spatial_axes(rows))
        squares = gradient.square().sum(channels)[0]  # (1, C, H, W) or (1, H, W, C) -> (H, W)
        total, count = squares if total is None else total + squares, count + 1
    if total is None:
        raise CaptureError("there is nothing to average: no sample is given")
    gradients = (total / count).sqrt()
    gradients = gradients / gradients.max().clamp_min(torch.finfo(torch.float32).tiny)
    inside = int((gradients > THRESHOLD).sum())
    return EffectiveField(
        node=layer.node,
        unit=unit,
        gradients=gradients.numpy().astype(np.float32),
        box=_box(layer, unit),
        size=math.sqrt(inside),
        samples=count,
    )


def _box(layer: Layer, unit: tuple[int, int]) -> tuple[float, float, float, float]:
    (top, height), (left, width) = (
        (field.offset + field.stride * position, field.size)
        for field, position in zip(layer.fields, unit, strict=True)
    )
    return top, left, height, width


def _gradient(
    program: ExportedProgram,
    node: str,
    unit: tuple[int, int],
    weights: Mapping[str, Tensor],
    rows: Tensor,
    generator: torch.Generator,
) -> Tensor:
    reader = _UpTo(program, node)
    leaf, value = reader.values(_arguments(program, weights, rows))
    centre = value[:, :, unit[0], unit[1]]  # (B, C, h, w) -> (B, C)
    signs = torch.randint(0, 2, centre.shape, generator=generator) * 2.0 - 1
    (gradient,) = torch.autograd.grad((centre * signs).sum(), leaf)
    return gradient


class _UpTo(fx.Interpreter):
    """Runs a graph up to a node, with a leaf to differentiate with respect to at its input."""

    def __init__(self, program: ExportedProgram, node: str) -> None:
        super().__init__(program.graph_module)
        self._leaf_node = find_gradient_node(program)
        self._last_node = node
        self._leaf: Tensor | None = None

    def values(self, arguments: list[Any]) -> tuple[Tensor, Tensor]:
        """Give the leaf, and the value of the node."""
        try:
            with torch.enable_grad():
                self.run(*arguments)
        except _Reached as reached:
            assert self._leaf is not None
            return self._leaf, reached.value
        raise CaptureError(f"the captured program has no node {self._last_node!r}")

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if n.name == self._leaf_node:
            self._leaf = value.detach().float().requires_grad_()
            return self._leaf.clone()  # the network may write into it
        if n.name == self._last_node:
            raise _Reached(value)
        return value


class _Reached(Exception):  # noqa: N818 - not an error: the way out of the interpreter
    def __init__(self, value: Tensor) -> None:
        super().__init__()
        self.value = value


def _arguments(program: ExportedProgram, weights: Mapping[str, Tensor], rows: Tensor) -> list[Any]:
    """Line up weights, constants and the input as the graph takes them."""
    values: list[Any] = []
    for spec in program.graph_signature.input_specs:
        if spec.kind is InputKind.USER_INPUT:
            values.append(rows)
        else:
            assert spec.target is not None
            value = weights.get(spec.target)
            values.append((program.constants[spec.target] if value is None else value).detach())
    return values

"""The rule of resizing: along each axis it is a matrix, and the gradient takes the transposed one.

The matrix of an axis is what the same operator makes of the unit matrix. So no interpolation is
written a second time, and sizes may vary; where they do not, it is folded when a session opens.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from eyespot.exporter.errors import GradientError
from eyespot.exporter.gradient_graph.rule import Rule, Step

_FIRST_PLACE = 2  # of the axes: before it are rows and channels
_PICTURE_RANK = 4
_FLOAT = 1


def _resize(step: Step) -> dict[int, str]:
    options = step.attributes
    if options.get("coordinate_transformation_mode") == b"tf_crop_and_resize":
        raise GradientError("it cuts out, which depends on its third input")
    if "axes" in options or options.get("keep_aspect_ratio_policy", b"stretch") != b"stretch":
        raise GradientError("it has axes of its own, or keeps the proportions")
    sizes, resized = step.graph.shape(step.x), step.graph.shape(step.y)
    rank = len(sizes)
    if rank > _PICTURE_RANK or sizes[1] != resized[1] or not isinstance(sizes[1], int):
        raise GradientError("it resizes more than the places of pictures or sequences")
    gradient = step.gradient
    for axis in range(_FIRST_PLACE, rank):
        if isinstance(sizes[axis], int) and sizes[axis] == resized[axis]:
            continue
        matrix = _matrix(step, axis)  # (n, m), from n places to m
        if axis == rank - 1:
            transposed = step.emit("Transpose", matrix, perm=[1, 0])
            gradient = step.emit("MatMul", gradient, transposed)  # (..., m) -> (..., n)
        else:
            gradient = step.emit("MatMul", matrix, gradient)  # (..., m, W) -> (..., n, W)
    return {0: gradient}


def _matrix(step: Step, axis: int) -> str:
    """Resize the unit matrix along its last axis as the values are along this one."""
    before, after = (_size(step, name, axis) for name in (step.x, step.y))
    square = step.emit("Concat", before, before, axis=0)
    zeros = step.emit("ConstantOfShape", square)
    unit = step.emit("EyeLike", zeros, dtype=_FLOAT)  # (n, n)
    picture = step.emit("Unsqueeze", unit, step.graph.integers([0, 1]))  # (1, 1, n, n)
    wanted = _scales_or_sizes(step, axis, before, after)
    found = step.emit("Resize", picture, "", *wanted, **step.attributes)  # (1, 1, n, m)
    return step.emit("Squeeze", found, step.graph.integers([0, 1]))  # (n, m)


def _scales_or_sizes(step: Step, axis: int, before: str, after: str) -> tuple[str, ...]:
    """Give what the node was given, for this axis alone: each rounds in its own way."""
    if not step.input(2):
        ones = step.graph.integers([1, 1])
        return "", step.emit("Concat", ones, before, after, axis=0)
    scale = float(step.graph.expect_value(step.input(2), "scales")[axis])
    return (step.graph.constant(np.array([1, 1, 1, scale], np.float32)),)


def _size(step: Step, name: str, axis: int) -> str:
    """Give the size of an axis, (1,)."""
    size = step.graph.shape(name)[axis]
    if isinstance(size, int):
        return step.graph.integers([size])
    return step.emit("Shape", name, start=axis, end=axis + 1)


RULES: Mapping[str, Rule] = {"Resize": _resize}

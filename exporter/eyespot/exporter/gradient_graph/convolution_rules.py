"""Rules of convolutions, of batch norms, and of poolings.

The gradient of a convolution by its input is the transposed convolution with the same weights,
laid out as they are: they are not stored again. Where the stride is one that is a convolution
with the kernel turned round, which runs faster; the turning is folded when a session is opened.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from eyespot.exporter.errors import GradientError
from eyespot.exporter.gradient_graph.rule import Rule, Step

# Attributes of a convolution and of its transpose.
_OF_BOTH = ("strides", "pads", "dilations", "group")


@dataclass(frozen=True)
class _Window:
    """How a kernel goes over a picture: one number, or one before and one behind, an axis."""

    kernel: Sequence[int]
    strides: Sequence[int]
    dilations: Sequence[int]
    before: Sequence[int]
    behind: Sequence[int]

    @property
    def reach(self) -> list[int]:
        """Places from the first that a kernel touches to the last."""
        return [d * (k - 1) for k, d in zip(self.kernel, self.dilations, strict=True)]


def _window(step: Step, kernel: Sequence[int]) -> _Window:
    options = step.attributes
    if options.get("auto_pad", b"NOTSET") not in (b"NOTSET", b""):
        raise GradientError(f"its auto_pad is {options['auto_pad'].decode()}")
    axes = len(kernel)
    pads = list(options.get("pads", [0] * 2 * axes))
    ones = [1] * axes
    return _Window(
        kernel,
        options.get("strides", ones),
        options.get("dilations", ones),
        pads[:axes],
        pads[axes:],
    )


def _convolution(step: Step) -> dict[int, str]:
    if any(position in step.asked for position in (1, 2)):
        raise GradientError("its weights depend on the input")
    weights = step.graph.shape(step.input(1))  # (M, C / g, k, k)
    if not all(isinstance(size, int) for size in weights):
        raise GradientError("the sizes of its weights vary")
    sizes = [size for size in weights if isinstance(size, int)]
    window, groups = _window(step, sizes[2:]), int(step.attributes.get("group", 1))
    pads = [
        [reach - pad for reach, pad in zip(window.reach, side, strict=True)]
        for side in (window.before, window.behind)
    ]
    if set(window.strides) == {1} and min(*pads[0], *pads[1]) >= 0:
        return {
            0: step.emit(
                "Conv",
                step.gradient,
                _turned(step, sizes, groups),
                pads=[*pads[0], *pads[1]],
                dilations=window.dilations,
                group=groups,
                kernel_shape=window.kernel,
            )
        }
    return {0: _transposed(step, step.gradient, step.input(1), window, groups=groups)}


def _turned(step: Step, sizes: Sequence[int], groups: int) -> str:
    """Turn kernels round, and exchange what they take and what they give."""
    out, into, *kernel = sizes
    weights = step.input(1)
    places = range(2, 2 + len(kernel))
    if groups == 1:
        weights = step.emit("Transpose", weights, perm=[1, 0, *places])  # (C, M, k, k)
    elif into > 1 or out > groups:
        by_group = step.graph.integers([groups, out // groups, into, *kernel])
        weights = step.emit("Reshape", weights, by_group)  # (g, M / g, C / g, k, k)
        weights = step.emit("Transpose", weights, perm=[0, 2, 1, *(i + 1 for i in places)])
        joined = step.graph.integers([groups * into, out // groups, *kernel])
        weights = step.emit("Reshape", weights, joined)  # (C, M / g, k, k)
    if max(kernel) == 1:
        return weights
    last, beyond = [-1] * len(kernel), [-(2**31)] * len(kernel)
    bounds = (step.graph.integers(each) for each in (last, beyond, list(places), last))
    return step.emit("Slice", weights, *bounds)


def _transposed(step: Step, gradient: str, weights: str, window: _Window, *, groups: int) -> str:
    """Convolve back to the size of the input."""
    places, given = step.graph.shape(step.x)[2:], step.graph.shape(step.y)[2:]
    behind, added, is_cut = list(window.behind), [], False
    for axis, (size, count) in enumerate(zip(places, given, strict=True)):
        stride = window.strides[axis]
        if isinstance(size, int) and isinstance(count, int):
            reached = stride * (count - 1) + window.reach[axis] + 1 - window.before[axis]
            lacking = size - (reached - behind[axis])
            behind[axis] += max(0, -lacking)  # a window beyond the edge, by ceil_mode
            added.append(max(0, lacking))
        else:
            added.append(stride - 1)
            is_cut = is_cut or stride > 1
    found = step.emit(
        "ConvTranspose",
        gradient,
        weights,
        strides=window.strides,
        pads=[*window.before, *behind],
        dilations=window.dilations,
        group=groups,
        kernel_shape=window.kernel,
        output_padding=added,
    )
    if not is_cut:
        return found
    axes = step.graph.integers(range(2, 2 + len(places)))
    zeros = step.graph.integers([0] * len(places))
    return step.emit("Slice", found, zeros, step.emit("Shape", step.x, start=2), axes)


def _transposed_convolution(step: Step) -> dict[int, str]:
    options = step.attributes
    if "output_shape" in options or 1 in step.asked:
        raise GradientError("it has an output_shape, or weights that depend on the input")
    kept = {key: options[key] for key in _OF_BOTH if key in options}
    return {0: step.emit("Conv", step.gradient, step.input(1), **kept)}


def _batch_norm(step: Step) -> dict[int, str]:
    """Scale each channel; the factor is a constant that a session folds."""
    scale, variance = step.input(1), step.input(4)
    epsilon = step.graph.number(float(step.attributes.get("epsilon", 1e-5)))
    deviation = step.emit("Sqrt", step.emit("Add", variance, epsilon))
    rank = len(step.graph.shape(step.x))
    by_channel = step.graph.integers([1, -1, *[1] * (rank - 2)])
    return step.times(step.emit("Reshape", step.emit("Div", scale, deviation), by_channel))


def _max_pool(step: Step) -> dict[int, str]:
    """Add the gradient of each window to where its largest element was.

    The indices count through the whole batch.
    """
    node = step.node
    if len(node.output) == 1:
        node.output.append(step.graph.fresh_name())
    flat = step.graph.integers([-1])
    size = step.emit("Reshape", step.emit("Size", step.x), flat)
    zeros = step.emit("Expand", step.graph.number(0), size)
    scattered = step.emit(
        "ScatterElements",
        zeros,
        step.emit("Reshape", node.output[1], flat),
        step.emit("Reshape", step.gradient, flat),
        axis=0,
        reduction="add",
    )
    return {0: step.graph.shape_like(scattered, step.x)}


def _average_pool(step: Step) -> dict[int, str]:
    """Share the gradient of each window out among its places: a transposed convolution of ones.

    Channels are laid beside the rows, so that there is one kernel for all of them.
    """
    window = _window(step, step.attributes["kernel_shape"])
    ones = step.graph.constant(np.ones((1, 1, *window.kernel), np.float32))
    share = step.emit("Div", step.gradient, _counts(step, window, ones))
    places = step.emit("Shape", step.y, start=2)
    alone = step.emit("Concat", step.graph.integers([-1, 1]), places, axis=0)
    rows = step.emit("Reshape", share, alone)  # (B C, 1, h, w)
    spread = _transposed(step, rows, ones, window, groups=1)
    return {0: step.graph.shape_like(spread, step.x)}


def _counts(step: Step, window: _Window, ones: str) -> str:
    """Count what each window is the mean of."""
    if step.attributes.get("ceil_mode", 0) and not _is_filled(step, window):
        raise GradientError("windows reach beyond the edge")
    if step.attributes.get("count_include_pad", 0) or not any((*window.before, *window.behind)):
        return step.graph.number(float(np.prod(window.kernel)))
    sizes = step.emit("Shape", step.x, start=2)
    alone = step.emit("Concat", step.graph.integers([1, 1]), sizes, axis=0)
    return step.emit(
        "Conv",
        step.emit("Expand", step.graph.number(1), alone),
        ones,
        strides=window.strides,
        dilations=window.dilations,
        pads=[*window.before, *window.behind],
        kernel_shape=window.kernel,
    )


def _is_filled(step: Step, window: _Window) -> bool:
    """Tell whether no window reaches beyond the padded edge."""
    sizes, counts = step.graph.shape(step.x)[2:], step.graph.shape(step.y)[2:]
    return all(
        isinstance(size, int)
        and isinstance(count, int)
        and (count - 1) * stride + reach + 1 <= size + low + high
        for size, count, stride, reach, low, high in zip(
            sizes,
            counts,
            window.strides,
            window.reach,
            window.before,
            window.behind,
            strict=True,
        )
    )


RULES: Mapping[str, Rule] = {
    "Conv": _convolution,
    "ConvTranspose": _transposed_convolution,
    "BatchNormalization": _batch_norm,
    "MaxPool": _max_pool,
    "AveragePool": _average_pool,
}

"""Rules of operators that move elements, and compute nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from eyespot.exporter.errors import GradientError
from eyespot.exporter.gradient_graph.graph import Size
from eyespot.exporter.gradient_graph.rule import Rule, Step


def _reshape(step: Step) -> dict[int, str]:
    return {0: step.graph.shape_like(step.gradient, step.x)}


def _identity(step: Step) -> dict[int, str]:
    return {0: step.gradient}


def _transpose(step: Step) -> dict[int, str]:
    rank = len(step.graph.shape(step.x))
    order = list(step.attributes.get("perm", range(rank)[::-1]))
    return {0: step.emit("Transpose", step.gradient, perm=[order.index(i) for i in range(rank)])}


def _concat(step: Step) -> dict[int, str]:
    axis = int(step.attributes["axis"])
    sizes = [_known(step.graph.shape(name)[axis]) for name in step.node.input]
    if len(sizes) == 1:
        return {0: step.gradient}
    parts = step.graph.emit_all(
        "Split", step.gradient, step.graph.integers(sizes), outputs=len(sizes), axis=axis
    )
    return dict(enumerate(parts))


def _split(step: Step) -> dict[int, str]:
    parts = [
        gradient or step.graph.zeros_like(name)
        for name, gradient in zip(step.node.output, step.gradients, strict=True)
    ]
    return {0: step.emit("Concat", *parts, axis=int(step.attributes.get("axis", 0)))}


def _expand(step: Step) -> dict[int, str]:
    return {0: step.graph.sum_to(step.gradient, step.x, step.y)}


def _pad(step: Step) -> dict[int, str]:
    if step.attributes.get("mode", b"constant") != b"constant":
        raise GradientError(f"its mode is {step.attributes['mode'].decode()}")
    shape = step.graph.shape(step.x)
    pads = step.graph.expect_value(step.input(1), "pads").tolist()
    axes = _axes(step, 3, len(shape))
    before, after = pads[: len(axes)], pads[len(axes) :]
    if min(pads) < 0:
        raise GradientError("it cuts off")
    kept = [
        (axis, low, -high if high else _TO_THE_END)
        for axis, low, high in zip(axes, before, after, strict=True)
        if low or high
    ]
    if not kept:
        return {0: step.gradient}
    cut_axes, starts, ends = zip(*kept, strict=True)
    return {
        0: step.emit(
            "Slice",
            step.gradient,
            *(step.graph.integers(each) for each in (starts, ends, cut_axes)),
        )
    }


def _slice(step: Step) -> dict[int, str]:
    shape = step.graph.shape(step.x)
    starts, ends = (step.graph.expect_value(step.input(i), "bounds").tolist() for i in (1, 2))
    axes = _axes(step, 3, len(shape))
    steps = (
        step.graph.expect_value(step.input(4), "steps").tolist()
        if step.input(4)
        else [1] * len(axes)
    )
    gradient = step.gradient
    sizes: list[Size] = list(step.graph.shape(step.y))
    for axis, start, end, stride in zip(axes, starts, ends, steps, strict=True):
        if stride == 1 and start == 0 and end >= _TO_THE_END // 2**33:
            continue
        size = _known(shape[axis])
        begin, stop, stride = slice(start, end, stride).indices(size)
        if stride < 1:
            raise GradientError("it goes backwards")
        count = len(range(begin, stop, stride))
        if stride > 1:
            gradient = _spaced(step, gradient, sizes, axis, stride)
        gradient = _framed(
            step, gradient, axis, (begin, size - begin - count * stride), rank=len(shape)
        )
        sizes[axis] = size
    return {0: gradient}


def _spaced(step: Step, gradient: str, sizes: Sequence[Size], axis: int, stride: int) -> str:
    """Put zeros behind each place of an axis: (..., n, ...) -> (..., n * stride, ...)."""
    wide = step.emit("Unsqueeze", gradient, step.graph.integers([axis + 1]))  # (..., n, 1, ...)
    wide = _framed(step, wide, axis + 1, (0, stride - 1), rank=len(sizes) + 1)
    target = [size if isinstance(size, int) else 0 for size in sizes]
    if axis and not isinstance(sizes[0], int) and 0 not in target[1:]:
        target[0] = -1
    elif 0 in target:
        raise GradientError("more than one of its sizes varies")
    target[axis] = _known(sizes[axis]) * stride
    return step.emit("Reshape", wide, step.graph.integers(target))


def _framed(step: Step, gradient: str, axis: int, pads: tuple[int, int], *, rank: int) -> str:
    """Put zeros before and behind, or cut off where they are less than none."""
    if pads == (0, 0):
        return gradient
    given = [0] * (2 * rank)
    given[axis], given[axis + rank] = pads
    return step.emit("Pad", gradient, step.graph.integers(given))


def _gather(step: Step) -> dict[int, str]:
    """Add what was taken from places of one axis to these places."""
    sizes = step.graph.shape(step.x)
    rank = len(sizes)
    axis = int(step.attributes.get("axis", 0)) % rank
    places_rank = len(step.graph.shape(step.input(1)))
    known = step.graph.value(step.input(1))
    if known is None:
        last = step.graph.integers([places_rank])
        places: NDArray[np.int64] | str = step.emit("Unsqueeze", step.input(1), last)
    else:
        places = known[..., np.newaxis]
    zeros = step.graph.zeros_like(step.x)
    if axis == 0:
        return {0: _put_back(step, zeros, places, step.gradient, sizes[:1])}
    first = [axis, *(i for i in range(rank) if i != axis)]
    taken = list(range(axis, axis + places_rank))
    rest = [i for i in range(rank - 1 + places_rank) if i not in taken]
    moved = step.emit("Transpose", zeros, perm=first)
    gradient = step.emit("Transpose", step.gradient, perm=[*taken, *rest])
    added = _put_back(step, moved, places, gradient, [sizes[axis]])
    return {0: step.emit("Transpose", added, perm=[first.index(i) for i in range(rank)])}


def _gather_nd(step: Step) -> dict[int, str]:
    """Do the same for places by the first axes, as adaptive pooling takes them."""
    if step.attributes.get("batch_dims", 0):
        raise GradientError("its places are apart for each row")
    places = step.graph.expect_value(step.input(1), "places")
    zeros, sizes = step.graph.zeros_like(step.x), step.graph.shape(step.x)
    return {0: _put_back(step, zeros, places, step.gradient, sizes[: places.shape[-1]])}


def _put_back(
    step: Step,
    zeros: str,
    places: NDArray[np.int64] | str,
    gradient: str,
    sizes: Sequence[Size],
) -> str:
    """Add to zeros what was taken from their first axes.

    Where a place was taken from more than once it is a product with ones and zeros: to add by
    `ScatterND`, threads of ONNX Runtime overtake each other, and some of it is lost. Places that
    the graph computes are those of memory that is looked at anew, each once (as_strided).

    Args:
        step: Of the node.
        zeros: (*sizes, ...).
        places: (*taken, axes) of what was taken; below zero they count from the end. Or the name
            of what is computed.
        gradient: (*taken, ...).
        sizes: Of the axes that places are on.
    """
    if isinstance(places, str):
        return step.emit("ScatterND", zeros, places, gradient, reduction="add")
    found = places.reshape(-1, places.shape[-1])
    if len(np.unique(found, axis=0)) == len(found) and (found >= 0).all():
        return step.emit("ScatterND", zeros, step.graph.constant(places), gradient)
    known = tuple(map(_known, sizes))
    numbers = np.ravel_multi_index(tuple((found % known).T), known)
    product = np.zeros((math.prod(known), len(numbers)), np.float32)
    product[numbers, np.arange(len(numbers))] = 1
    flat = step.emit("Reshape", gradient, step.graph.integers([len(numbers), -1]))
    added = step.emit("MatMul", step.graph.constant(product), flat)  # (places, ...)
    return step.emit("Reshape", added, step.emit("Shape", zeros))


def _axes(step: Step, position: int, rank: int) -> list[int]:
    if not step.input(position):
        return list(range(rank))
    return [axis % rank for axis in step.graph.expect_value(step.input(position), "axes").tolist()]


def _known(size: Size) -> int:
    if not isinstance(size, int):
        raise GradientError("the size along its axis varies")
    return size


_TO_THE_END = 2**63 - 1

RULES: Mapping[str, Rule] = {
    **dict.fromkeys(("Reshape", "Flatten", "Squeeze", "Unsqueeze"), _reshape),
    **dict.fromkeys(("Identity", "Cast"), _identity),
    "Transpose": _transpose,
    "Concat": _concat,
    "Split": _split,
    "Expand": _expand,
    "Pad": _pad,
    "Slice": _slice,
    "Gather": _gather,
    "GatherND": _gather_nd,
}

"""Occlusion.

Zeiler, Fergus: Visualizing and Understanding Convolutional Networks. ECCV 2014,
arXiv 1311.2901 (2013), section 4.2.

A square slides over the picture. The paper shows the score with the square at each place;
the attribution of a pixel is by how much the score falls, in the mean of all squares that
cover it.
"""

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyespot.saliency.attribution import (
    Attribution,
    Method,
    ParameterSpec,
    ParameterValue,
    Step,
)
from eyespot.saliency.backend import Scorer
from eyespot.saliency.baseline import BASELINE
from eyespot.saliency.maps import check_pictures, spatial_axes
from eyespot.saliency.objective import Objective
from eyespot.saliency.parts import even_parts


def attribute_occlusion(
    backend: Scorer,
    x: NDArray[np.generic],
    objective: Objective,
    parameters: Mapping[str, ParameterValue],
) -> Iterator[Step]:
    """By how much the score falls when a square hides the pixel."""
    axis = backend.channel_axis
    assert axis is not None
    windows = _windows(parameters, x.shape[1:], axis)
    outputs = backend.scores(x)
    objective = objective.resolve(outputs)
    seen = objective(outputs)
    rows, per_row = len(x), objective.per_row(len(x))
    height, width = (x.shape[each] for each in spatial_axes(axis))
    fall = np.zeros((len(seen.values), height, width))  # (N, H, W), in double precision
    counts = np.zeros_like(fall)

    def read() -> Attribution:
        mean = (fall / np.maximum(counts, 1)).astype(np.float32)
        return Attribution(np.expand_dims(mean, axis), seen.classes, seen.values, [{}] * len(mean))

    count = rows * len(windows)  # pairs of a window and a row
    for pairs in even_parts(count, backend.rows_at_once(x.shape[1:])):
        hidden = x[pairs % rows]
        for item, pair in zip(np.moveaxis(hidden, axis, 1), pairs, strict=True):
            item[:, *windows[pair // rows]] = parameters["baseline"]
        own = objective.of_rows(pairs % rows, rows=rows)
        values = own(backend.scores(hidden)).values.reshape(-1, per_row)
        for pair, value in zip(pairs, values, strict=True):
            targets = slice(pair % rows * per_row, (pair % rows + 1) * per_row)
            place = (targets, *windows[pair // rows])
            fall[place] += (seen.values[targets].astype(np.float64) - value)[:, None, None]
            counts[place] += 1
        yield Step((pairs[-1] + 1) / count, read)


def _windows(
    parameters: Mapping[str, Any], row_shape: tuple[int, ...], channel_axis: int
) -> list[tuple[slice, slice]]:
    """Where the square is put; at the far edges as much of it as there is room for."""
    sizes = [row_shape[axis - 1] for axis in spatial_axes(channel_axis)]
    window = parameters["window"] or max(1, min(sizes) // 8)
    stride = parameters["stride"] or max(1, window // 2)
    starts = [range(0, max(size - window, 0) + stride, stride) for size in sizes]
    return [
        (slice(top, top + window), slice(left, left + window))
        for top, left in itertools.product(*starts)
        if top < sizes[0] and left < sizes[1]
    ]


def _cost(
    parameters: Mapping[str, Any], row_shape: tuple[int, ...], channel_axis: int | None
) -> float:
    return 1 + len(_windows(parameters, row_shape, channel_axis)) if channel_axis else 0


OCCLUSION = Method(
    name="occlusion",
    paper="Zeiler, Fergus 2013",
    parameters=(
        ParameterSpec(
            "window",
            "int64",
            0,
            "side of the square in pixels; 0: an eighth of the shorter side",
            minimum=0,
        ),
        ParameterSpec(
            "stride", "int64", 0, "pixels from square to square; 0: half a side", minimum=0
        ),
        BASELINE,
    ),
    function=attribute_occlusion,
    cost=_cost,
    has_channels=False,
    needs_gradients=False,
    is_stepwise=True,
    check_backend=lambda backend: check_pictures(backend.channel_axis),
)

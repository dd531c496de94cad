"""Occlusion.

Zeiler, Fergus: Visualizing and Understanding Convolutional Networks. ECCV 2014,
arXiv 1311.2901 (2013), section 4.2.

A square slides over the picture. The paper shows the score with the square at each place;
the attribution of a pixel is by how much the score falls, in the mean of all squares that
cover it.
"""

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyespot.saliency.attribution import (
    Attribution,
    Method,
    ParameterSpec,
    ParameterValue,
)
from eyespot.saliency.backend import Scorer
from eyespot.saliency.baseline import BASELINE
from eyespot.saliency.maps import check_pictures, spatial_axes
from eyespot.saliency.objective import Objective
from eyespot.saliency.refinement import Found, Refinement, Rows


class _Squares(Refinement):
    """By how much the score falls when a square hides the pixel; a piece is a square on a row."""

    def __init__(
        self,
        backend: Scorer,
        x: NDArray[np.generic],
        objective: Objective,
        parameters: Mapping[str, ParameterValue],
    ) -> None:
        axis = backend.channel_axis
        assert axis is not None
        self._windows = _windows(parameters, x.shape[1:], axis)
        super().__init__(len(self._windows) * len(x))
        self._x, self._axis, self._baseline = x, axis, parameters["baseline"]
        outputs = backend.scores(x)
        self._objective = objective.resolve(outputs)
        self._seen = self._objective(outputs)
        self._per_row = objective.per_row(len(x))
        height, width = (x.shape[each] for each in spatial_axes(axis))
        count = len(objective.targets)
        self._fall = np.zeros((count, height, width))  # (N, H, W), in double precision
        self._counts = np.zeros_like(self._fall)

    def read(self) -> Attribution:
        """The mean fall of the squares that covered each pixel so far."""
        mean = (self._fall / np.maximum(self._counts, 1)).astype(np.float32)
        seen = self._seen
        maps = np.expand_dims(mean, self._axis)
        return Attribution(maps, seen.classes, seen.values, [{}] * len(mean))

    def _rows(self, pieces: NDArray[np.int64]) -> Rows:
        count = len(self._x)
        rows = pieces % count
        hidden = self._x[rows]
        for item, piece in zip(np.moveaxis(hidden, self._axis, 1), pieces, strict=True):
            item[:, *self._windows[piece // count]] = self._baseline
        return Rows(hidden, self._objective.of_rows(rows, rows=count))

    def _add(self, pieces: NDArray[np.int64], found: Found) -> None:
        count, per_row = len(self._x), self._per_row
        for piece, values in zip(pieces, found.reshape(-1, per_row), strict=True):
            targets = slice(piece % count * per_row, (piece % count + 1) * per_row)
            place = (targets, *self._windows[piece // count])
            fall = self._seen.values[targets].astype(np.float64) - values
            self._fall[place] += fall[:, None, None]
            self._counts[place] += 1


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
    begin=_Squares,
    cost=_cost,
    has_channels=False,
    needs_gradients=False,
    check_backend=lambda backend: check_pictures(backend.channel_axis),
)

"""RISE: randomised input sampling for explanation.

Petsiuk, Das, Saenko: RISE: Randomized Input Sampling for Explanation of Black-box Models.
BMVC 2018, arXiv 1806.07421, section 3.

The masks depend on the seed alone, so that a row gets the same ones whatever stands beside
it. What a mask takes away becomes the baseline, in the paper black. Where the network takes
whole numbers, masked pixels are rounded to such.

The scores' own mean, which `mean_score` reports, is taken off them first: the paper's map is
larger by about that everywhere, which its pictures, scaled from least to most, do not show.
"""

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from eyespot.saliency.attribution import (
    Attribution,
    Method,
    ParameterSpec,
    ParameterValue,
    Step,
)
from eyespot.saliency.backend import Scorer, to_float
from eyespot.saliency.baseline import BASELINE
from eyespot.saliency.maps import blend, check_pictures, spatial_axes
from eyespot.saliency.noise import SEED
from eyespot.saliency.objective import Objective


def attribute_rise(
    backend: Scorer,
    x: NDArray[np.generic],
    objective: Objective,
    parameters: Mapping[str, ParameterValue],
) -> Iterator[Step]:
    """The mean of random masks, each weighed by the score of what it leaves to be seen."""
    axis = backend.channel_axis
    assert axis is not None
    outputs = backend.scores(x)
    objective = objective.resolve(outputs)
    seen = objective(outputs)
    n_masks, rows, per_row = int(parameters["n_masks"]), len(x), objective.per_row(len(x))
    height, width = (x.shape[each] for each in spatial_axes(axis))
    share = float(parameters["probability"])
    draw = _Masks(int(parameters["cells"]), share, (height, width), int(parameters["seed"])).draw
    weighed = np.zeros((rows * per_row, height * width))  # (N, H W), in double precision
    visible = np.zeros(height * width)
    scores = np.zeros(rows * per_row)
    done = 0

    def read() -> Attribution:
        centred = weighed - np.outer(scores / done, visible)
        maps = (centred / (share * done)).astype(np.float32).reshape(-1, height, width)
        reports = [{"mean_score": mean} for mean in (scores / done).tolist()]
        return Attribution(np.expand_dims(maps, axis), seen.classes, seen.values, reports)

    size = max(1, backend.rows_at_once(x.shape[1:]) // rows)
    while done < n_masks:
        masks = draw(min(size, n_masks - done))  # (M, H, W)
        indices = np.tile(np.arange(rows), len(masks))
        own = objective.of_rows(indices, rows=rows)
        masked = _mask(x, np.expand_dims(masks, axis), parameters["baseline"])  # (M B, ...)
        values = own(backend.scores(masked)).values.reshape(len(masks), -1).astype(np.float64)
        flat = masks.reshape(len(masks), -1)  # (M, H W)
        weighed += values.T @ flat
        visible += flat.sum(0)
        scores += values.sum(0)
        done += len(masks)
        yield Step(done / n_masks, read)


def _mask(
    x: NDArray[np.generic], masks: NDArray[np.float32], baseline: ParameterValue
) -> NDArray[np.generic]:
    """Every row behind every mask: (B, ...), (M, ...) -> (M B, ...)."""
    nothing = np.float32(baseline)
    masked = nothing + masks[:, None] * (to_float(x) - nothing)
    if x.dtype.kind != "f":
        masked = np.rint(masked)
    rows: NDArray[np.generic] = masked.astype(x.dtype).reshape(-1, *x.shape[1:])
    return rows


class _Masks:
    """Coarse grids of ones and zeros, enlarged smoothly and shifted by part of a cell."""

    def __init__(self, cells: int, share: float, sizes: tuple[int, int], seed: int) -> None:
        self._random = np.random.default_rng(seed)
        self._cells, self._share, self._sizes = cells, share, sizes
        self._cell = [-(-size // cells) for size in sizes]
        self._blend = [blend(cells + 1, (cells + 1) * cell) for cell in self._cell]

    def draw(self, count: int) -> NDArray[np.float32]:
        """The next masks, (M, H, W), with values in 0 to 1."""
        return np.stack([self._draw_one() for _ in range(count)])

    def _draw_one(self) -> NDArray[np.float32]:
        grid = self._random.random((self._cells + 1, self._cells + 1)) < self._share
        top, left = (int(self._random.integers(cell)) for cell in self._cell)
        height, width = self._sizes
        rows = self._blend[0][top : top + height]  # (H, cells + 1)
        columns = self._blend[1][left : left + width]
        mask: NDArray[np.float32] = rows @ grid.astype(np.float32) @ columns.T
        return mask


RISE = Method(
    name="rise",
    paper="Petsiuk, Das, Saenko 2018",
    parameters=(
        ParameterSpec("n_masks", "int64", 1000, "masks", minimum=1, maximum=100_000),
        ParameterSpec("cells", "int64", 7, "cells along each side", minimum=1, maximum=100),
        ParameterSpec(
            "probability",
            "double",
            0.5,
            "that a cell is left to be seen",
            minimum=0.01,
            maximum=1,
        ),
        BASELINE,
        SEED,
    ),
    function=attribute_rise,
    cost=lambda parameters, row_shape, channel_axis: parameters["n_masks"] + 1,
    scales_with="n_masks",
    has_channels=False,
    needs_gradients=False,
    is_stepwise=True,
    check_backend=lambda backend: check_pictures(backend.channel_axis),
)

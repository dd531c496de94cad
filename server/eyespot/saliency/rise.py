"""RISE: randomised input sampling for explanation.

Petsiuk, Das, Saenko: RISE: Randomized Input Sampling for Explanation of Black-box Models.
BMVC 2018, arXiv 1806.07421, section 3.

The masks depend on the seed alone, so that a row gets the same ones whatever stands beside
it. What a mask takes away becomes the baseline, in the paper black. Where the network takes
whole numbers, masked pixels are rounded to such.

The scores' own mean, which `mean_score` reports, is taken off them first: the paper's map is
larger by about that everywhere, which its pictures, scaled from least to most, do not show.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from eyespot.saliency.attribution import (
    Attribution,
    Method,
    ParameterSpec,
    ParameterValue,
)
from eyespot.saliency.backend import Scorer, to_float
from eyespot.saliency.baseline import BASELINE
from eyespot.saliency.maps import blend, check_pictures, spatial_axes
from eyespot.saliency.noise import SEED
from eyespot.saliency.objective import Objective
from eyespot.saliency.refinement import Found, Refinement, Rows


class _Masked(Refinement):
    """Random masks, each weighed by the score of what it leaves to be seen.

    A piece is a mask on a row; all rows see a mask before the next one comes.
    """

    def __init__(
        self,
        backend: Scorer,
        x: NDArray[np.generic],
        objective: Objective,
        parameters: Mapping[str, ParameterValue],
    ) -> None:
        super().__init__(int(parameters["n_masks"]) * len(x))
        axis = backend.channel_axis
        assert axis is not None
        self._x, self._axis, self._baseline = x, axis, parameters["baseline"]
        self._share = float(parameters["probability"])
        height, width = self._sizes = tuple(x.shape[each] for each in spatial_axes(axis))
        cells, seed = int(parameters["cells"]), int(parameters["seed"])
        self._masks = _Masks(cells, self._share, (height, width), seed)
        outputs = backend.scores(x)
        self._objective = objective.resolve(outputs)
        self._seen = self._objective(outputs)
        self._per_row = objective.per_row(len(x))
        count = len(objective.targets)
        self._weighed = np.zeros((count, height * width))  # (N, H W), in double precision
        self._visible = np.zeros((len(x), height * width))
        self._scores = np.zeros(count)
        self._counts = np.zeros(len(x))  # of masks that the row has seen

    def read(self) -> Attribution:
        """The masks that were seen so far, weighed by their scores off the mean."""
        counts = np.repeat(np.maximum(self._counts, 1), self._per_row)[:, None]  # (N, 1)
        mean = self._scores[:, None] / counts
        centred = self._weighed - mean * np.repeat(self._visible, self._per_row, axis=0)
        maps = (centred / (self._share * counts)).astype(np.float32).reshape(-1, *self._sizes)
        seen = self._seen
        reports = [{"mean_score": value} for value in mean[:, 0].tolist()]
        return Attribution(np.expand_dims(maps, self._axis), seen.classes, seen.values, reports)

    def _rows(self, pieces: NDArray[np.int64]) -> Rows:
        count = len(self._x)
        rows = pieces % count
        masks = np.expand_dims(self._masks.take(pieces // count), self._axis)  # (P, ., ., .)
        masked = _mask(self._x[rows], masks, self._baseline)
        return Rows(masked, self._objective.of_rows(rows, rows=count))

    def _add(self, pieces: NDArray[np.int64], found: Found) -> None:
        count, per_row = len(self._x), self._per_row
        flat = self._masks.take(pieces // count).reshape(len(pieces), -1)  # (P, H W)
        values = found.astype(np.float64).reshape(-1, per_row)
        for row in np.unique(pieces % count):
            own, targets = pieces % count == row, slice(row * per_row, (row + 1) * per_row)
            self._weighed[targets] += values[own].T @ flat[own]
            self._scores[targets] += values[own].sum(0)
            self._visible[row] += flat[own].sum(0)
            self._counts[row] += own.sum()


def _mask(
    x: NDArray[np.generic], masks: NDArray[np.float32], baseline: ParameterValue
) -> NDArray[np.generic]:
    """Each row behind its mask, (R, ...)."""
    nothing = np.float32(baseline)
    masked = nothing + masks * (to_float(x) - nothing)
    if x.dtype.kind != "f":
        masked = np.rint(masked)
    return masked.astype(x.dtype)


class _Masks:
    """Coarse grids of ones and zeros, enlarged smoothly and shifted by part of a cell."""

    def __init__(self, cells: int, share: float, sizes: tuple[int, int], seed: int) -> None:
        self._random = np.random.default_rng(seed)
        self._cells, self._share, self._sizes = cells, share, sizes
        self._cell = [-(-size // cells) for size in sizes]
        self._blend = [blend(cells + 1, (cells + 1) * cell) for cell in self._cell]
        self._drawn: dict[int, NDArray[np.float32]] = {}  # by their numbers; the last few

    def take(self, numbers: NDArray[np.int64]) -> NDArray[np.float32]:
        """The masks of some numbers, (P, H, W), with values in 0 to 1.

        Chance goes one way: the numbers begin at 0 and leave none out.
        """
        for number in np.unique(numbers).tolist():
            if number not in self._drawn:
                self._drawn[number] = self._draw_one()
        self._drawn = {n: mask for n, mask in self._drawn.items() if n >= numbers[0]}
        return np.stack([self._drawn[number] for number in numbers.tolist()])

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
    begin=_Masked,
    cost=lambda parameters, row_shape, channel_axis: parameters["n_masks"] + 1,
    scales_with="n_masks",
    has_channels=False,
    needs_gradients=False,
    check_backend=lambda backend: check_pictures(backend.channel_axis),
)

"""Integrated gradients.

Sundararajan, Taly, Yan: Axiomatic Attribution for Deep Networks. ICML 2017,
arXiv 1703.01365, sections 3 and 5.

The integral along the straight line from baseline to input is taken by Gauss and Legendre's
quadrature, which needs fewer steps than the paper's Riemann sum. The line's points are
visited in scattered order, so that what is known early is known of the whole line.
`convergence_delta` is by how much the attributions fail to add up to the score's difference.
"""

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
from eyespot.saliency.backend import Backend, to_float
from eyespot.saliency.baseline import BASELINE
from eyespot.saliency.objective import Objective
from eyespot.saliency.refinement import Found, Refinement, Rows

_GOLDEN_RATIO = (5**0.5 - 1) / 2


class _Line(Refinement):
    """The way from the baselines to the inputs, and the gradients that were seen on it.

    A piece is a point of one row's line; the same points of all rows come together.
    """

    def __init__(
        self,
        backend: Backend,
        x: NDArray[np.generic],
        objective: Objective,
        parameters: Mapping[str, ParameterValue],
    ) -> None:
        inputs, n_steps = to_float(x), int(parameters["n_steps"])
        super().__init__(n_steps * len(x))
        self._alphas, self._weights = _quadrature(n_steps)
        self._baselines = np.full_like(inputs, parameters["baseline"])
        self._difference = inputs - self._baselines
        rows = len(inputs)
        outputs = backend.scores(np.concatenate([inputs, self._baselines]))
        # What is explained must stay the same all along the line.
        self._objective = objective.resolve(outputs[:rows])
        self._at_inputs = self._objective(outputs[:rows])
        self._at_baselines = self._objective(outputs[rows:]).values
        self._per_row = objective.per_row(rows)
        count = len(objective.targets)
        self._total = np.zeros((count, *inputs.shape[1:]))  # (N, ...), in double precision
        self._weight = np.zeros((count, *[1] * (inputs.ndim - 1)))

    def _rows(self, pieces: NDArray[np.int64]) -> Rows:
        count = len(self._difference)
        rows = pieces % count
        difference = self._difference[rows]
        alphas = self._alphas[pieces // count].astype(difference.dtype)
        points = self._baselines[rows] + _beside(alphas, difference) * difference
        return Rows(points, self._objective.of_rows(rows, rows=count))

    def _add(self, pieces: NDArray[np.int64], found: Found) -> None:
        count, per_row = len(self._difference), self._per_row
        rows, weights = pieces % count, self._weights[pieces // count]
        targets = (rows[:, None] * per_row + np.arange(per_row)).ravel()
        for target, gradient, weight in zip(
            targets, found, np.repeat(weights, per_row), strict=True
        ):
            self._total[target] += weight * gradient
            self._weight[target] += weight

    def read(self) -> Attribution:
        """The mean gradient that was seen so far, times the difference of the line's ends."""
        mean = self._total / np.maximum(self._weight, np.finfo(np.float64).tiny)
        attributions = mean * np.repeat(self._difference, self._per_row, axis=0)
        total = attributions.reshape(len(attributions), -1).sum(1)
        values = self._at_inputs.values
        deltas = total - (values.astype(np.float64) - self._at_baselines)
        return Attribution(
            attributions.astype(np.float32),
            self._at_inputs.classes,
            values,
            [{"convergence_delta": delta} for delta in deltas.tolist()],
        )


def _beside(values: NDArray[Any], rows: NDArray[Any]) -> NDArray[Any]:
    """One value for each row, (R,) -> (R, 1, ...)."""
    return values.reshape(-1, *[1] * (rows.ndim - 1))


def _quadrature(n_steps: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Points in (0, 1) in scattered order, and their weights, which add up to 1."""
    points, weights = np.polynomial.legendre.leggauss(n_steps)
    order = np.argsort(np.arange(n_steps) * _GOLDEN_RATIO % 1)
    return (points[order] + 1) / 2, weights[order] / 2


INTEGRATED_GRADIENTS = Method(
    name="integrated_gradients",
    paper="Sundararajan, Taly, Yan 2017",
    parameters=(
        ParameterSpec(
            "n_steps", "int64", 50, "points of the line that are seen", minimum=1, maximum=1000
        ),
        BASELINE,
    ),
    begin=_Line,
    cost=lambda parameters, row_shape, channel_axis: 3 * parameters["n_steps"] + 2,
    scales_with="n_steps",
)

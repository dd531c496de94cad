"""Integrated gradients.

Sundararajan, Taly, Yan: Axiomatic Attribution for Deep Networks. ICML 2017,
arXiv 1703.01365, sections 3 and 5.

The integral along the straight line from baseline to input is taken by Gauss and Legendre's
quadrature, which needs fewer steps than the paper's Riemann sum. The line's points are
visited in scattered order, so that what is known early is known of the whole line.
`convergence_delta` is by how much the attributions fail to add up to the score's difference.
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
from eyespot.saliency.backend import Backend, to_float
from eyespot.saliency.baseline import BASELINE
from eyespot.saliency.objective import Objective
from eyespot.saliency.parts import even_parts

_GOLDEN_RATIO = (5**0.5 - 1) / 2


def attribute_integrated_gradients(
    backend: Backend,
    x: NDArray[np.generic],
    objective: Objective,
    parameters: Mapping[str, ParameterValue],
) -> Iterator[Step]:
    """The mean gradient along the line, times the difference of its ends."""
    inputs, n_steps = to_float(x), int(parameters["n_steps"])
    baselines = np.full_like(inputs, parameters["baseline"])
    line = _Line(backend, inputs, baselines, objective)
    alphas, weights = _quadrature(n_steps)
    rows = len(x)
    count = n_steps * rows
    for points in even_parts(count, backend.rows_at_once(x.shape[1:])):
        line.add(points % rows, alphas[points // rows], weights[points // rows])
        yield Step((points[-1] + 1) / count, line.read)


class _Line:
    """The way from the baselines to the inputs, and the gradients that were seen on it."""

    def __init__(
        self,
        backend: Backend,
        inputs: NDArray[np.floating],
        baselines: NDArray[np.floating],
        objective: Objective,
    ) -> None:
        self._backend = backend
        self._baselines, self._difference = baselines, inputs - baselines
        rows = len(inputs)
        outputs = backend.scores(np.concatenate([inputs, baselines]))
        # What is explained must stay the same all along the line.
        self._objective = objective.resolve(outputs[:rows])
        self._at_inputs = self._objective(outputs[:rows])
        self._at_baselines = self._objective(outputs[rows:]).values
        self._per_row = objective.per_row(rows)
        count = len(objective.targets)
        self._total = np.zeros((count, *inputs.shape[1:]))  # (N, ...), in double precision
        self._weight = np.zeros((count, *[1] * (inputs.ndim - 1)))

    def add(
        self,
        rows: NDArray[np.int64],
        alphas: NDArray[np.float64],
        weights: NDArray[np.float64],
    ) -> None:
        """Differentiate at one point of each of some rows' lines."""
        shape = (-1, *[1] * (self._difference.ndim - 1))
        difference = self._difference[rows]
        points = self._baselines[rows] + alphas.reshape(shape).astype(difference.dtype) * difference
        objective = self._objective.of_rows(rows, rows=len(self._difference))
        gradients = self._backend.gradients(points, objective).gradients  # (R N / B, ...)
        targets = (rows[:, None] * self._per_row + np.arange(self._per_row)).ravel()
        each = zip(targets, gradients, np.repeat(weights, self._per_row), strict=True)
        for target, gradient, weight in each:
            self._total[target] += weight * gradient
            self._weight[target] += weight

    def read(self) -> Attribution:
        """The mean of what was seen so far, times the difference."""
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
    function=attribute_integrated_gradients,
    cost=lambda parameters, row_shape, channel_axis: 3 * parameters["n_steps"] + 2,
    scales_with="n_steps",
    is_stepwise=True,
)

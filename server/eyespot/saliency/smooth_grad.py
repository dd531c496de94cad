"""SmoothGrad.

Smilkov, Thorat, Kim, Viégas, Wattenberg: SmoothGrad: removing noise by adding noise. 2017,
arXiv 1706.03825, section 3.

The noise's deviation is a share of the row's own range of values, as the paper has it. The
class that is explained is that of the row without noise.
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
from eyespot.saliency.backend import Backend, to_float
from eyespot.saliency.noise import SEED, generator_of_row
from eyespot.saliency.objective import Objective
from eyespot.saliency.refinement import Found, Refinement, Rows


class _Samples(Refinement):
    """Rows with noise, and the gradients that were seen there; a piece is a draw for a row."""

    def __init__(
        self,
        backend: Backend,
        x: NDArray[np.generic],
        objective: Objective,
        parameters: Mapping[str, ParameterValue],
    ) -> None:
        super().__init__(int(parameters["n_samples"]) * len(x))
        inputs = to_float(x)
        self._count_of_rows = len(inputs)
        self._noisy = _Noisy(inputs, float(parameters["noise_level"]), int(parameters["seed"]))
        outputs = backend.scores(inputs)
        self._at_inputs = objective(outputs)
        self._objective = objective.resolve(outputs)
        self._per_row = objective.per_row(len(inputs))
        count = len(objective.targets)
        self._total = np.zeros((count, *inputs.shape[1:]))  # (N, ...), in double precision
        self._counts = np.zeros((count, *[1] * (inputs.ndim - 1)))

    def read(self) -> Attribution:
        """The mean of the gradients that were seen so far."""
        mean = (self._total / np.maximum(self._counts, 1)).astype(np.float32)
        scored = self._at_inputs
        return Attribution(mean, scored.classes, scored.values, [{}] * len(mean))

    def _rows(self, pieces: NDArray[np.int64]) -> Rows:
        rows = pieces % self._count_of_rows
        objective = self._objective.of_rows(rows, rows=self._count_of_rows)
        return Rows(self._noisy.draw(rows), objective)

    def _add(self, pieces: NDArray[np.int64], found: Found) -> None:
        rows = pieces % self._count_of_rows
        targets = (rows[:, None] * self._per_row + np.arange(self._per_row)).ravel()
        for target, gradient in zip(targets, found, strict=True):
            self._total[target] += gradient
            self._counts[target] += 1


class _Noisy:
    """Rows with noise, each drawn from chance of its own."""

    def __init__(self, inputs: NDArray[np.floating], level: float, seed: int) -> None:
        self._inputs = inputs
        self._generators = [generator_of_row(row, seed) for row in inputs]
        flat = inputs.reshape(len(inputs), -1)
        self._deviations = level * (flat.max(1) - flat.min(1))  # (B,)

    def draw(self, rows: NDArray[np.int64]) -> NDArray[np.floating]:
        """One sample of each of the rows, (R, ...)."""
        return np.stack([self._sample(row) for row in rows.tolist()])

    def _sample(self, row: int) -> NDArray[np.floating]:
        noise = self._generators[row].standard_normal(self._inputs.shape[1:], np.float32)
        sample: NDArray[np.floating] = self._inputs[row] + self._deviations[row] * noise
        return sample.astype(self._inputs.dtype, copy=False)


SMOOTH_GRAD = Method(
    name="smooth_grad",
    paper="Smilkov, Thorat, Kim, Viégas, Wattenberg 2017",
    parameters=(
        ParameterSpec("n_samples", "int64", 50, "draws of noise", minimum=1, maximum=1000),
        ParameterSpec(
            "noise_level",
            "double",
            0.15,
            "deviation of the noise, as a share of the row's range",
            minimum=0,
            maximum=10,
        ),
        SEED,
    ),
    begin=_Samples,
    cost=lambda parameters, row_shape, channel_axis: 3 * parameters["n_samples"] + 1,
    scales_with="n_samples",
)

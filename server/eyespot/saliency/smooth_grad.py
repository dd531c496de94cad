"""SmoothGrad.

Smilkov, Thorat, Kim, Viégas, Wattenberg: SmoothGrad: removing noise by adding noise. 2017,
arXiv 1706.03825, section 3.

The noise's deviation is a share of the row's own range of values, as the paper has it. The
class that is explained is that of the row without noise.
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
from eyespot.saliency.noise import SEED, generator_of_row
from eyespot.saliency.objective import Objective
from eyespot.saliency.parts import even_parts


def attribute_smooth_grad(
    backend: Backend,
    x: NDArray[np.generic],
    objective: Objective,
    parameters: Mapping[str, ParameterValue],
) -> Iterator[Step]:
    """The mean gradient of the row with noise."""
    n_samples, rows = int(parameters["n_samples"]), len(x)
    inputs = to_float(x)
    scored, objective = _at_rows(backend, inputs, objective)
    noisy = _Noisy(inputs, float(parameters["noise_level"]), int(parameters["seed"]))
    per_row = objective.per_row(rows)
    total = np.zeros((len(objective.targets), *x.shape[1:]))  # (N, ...), in double precision
    counts = np.zeros(len(total))
    count = n_samples * rows

    def read() -> Attribution:
        mean = total / np.maximum(counts, 1).reshape(-1, *[1] * (x.ndim - 1))
        return Attribution(mean.astype(np.float32), *scored, [{}] * len(mean))

    for draws in even_parts(count, backend.rows_at_once(x.shape[1:])):
        samples = draws % rows
        own = objective.of_rows(samples, rows=rows)
        gradients = backend.gradients(noisy.draw(samples), own).gradients
        targets = (samples[:, None] * per_row + np.arange(per_row)).ravel()
        for target, gradient in zip(targets, gradients, strict=True):
            total[target] += gradient
            counts[target] += 1
        yield Step((draws[-1] + 1) / count, read)


def _at_rows(
    backend: Backend, inputs: NDArray[np.floating], objective: Objective
) -> tuple[tuple[NDArray[np.int64], NDArray[np.float32]], Objective]:
    """Classes and scores without noise, and the objective that stays the same with it."""
    outputs = backend.scores(inputs)
    scored = objective(outputs)
    return (scored.classes, scored.values), objective.resolve(outputs)


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
    function=attribute_smooth_grad,
    cost=lambda parameters, row_shape, channel_axis: 3 * parameters["n_samples"] + 1,
    scales_with="n_samples",
    is_stepwise=True,
)

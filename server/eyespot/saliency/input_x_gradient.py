"""Input times gradient.

Shrikumar, Greenside, Shcherbina, Kundaje: Not Just a Black Box: Learning Important Features
Through Propagating Activation Differences. 2016, arXiv 1605.01713, section 2.

For a network of pixels the input is the pixel, as it is before the network's own
normalisation.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from eyespot.saliency.attribution import (
    Attribution,
    Method,
    ParameterValue,
    constant_cost,
    without_reports,
)
from eyespot.saliency.backend import Backend
from eyespot.saliency.objective import Objective


def attribute_input_x_gradient(
    backend: Backend,
    x: NDArray[np.generic],
    objective: Objective,
    parameters: Mapping[str, ParameterValue],
) -> Attribution:
    """X dS/dx: what a linear network adds up to its score."""
    found = backend.gradients(x, objective)
    inputs = np.repeat(found.values, objective.per_row(len(x)), axis=0)  # (B, ...) -> (N, ...)
    return without_reports(found, inputs * found.gradients)


INPUT_X_GRADIENT = Method(
    name="input_x_gradient",
    paper="Shrikumar, Greenside, Shcherbina, Kundaje 2016",
    parameters=(),
    function=attribute_input_x_gradient,
    cost=constant_cost(3),
)

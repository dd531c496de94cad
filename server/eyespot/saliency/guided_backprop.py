"""Guided backpropagation.

Springenberg, Dosovitskiy, Brox, Riedmiller: Striving for Simplicity: The All Convolutional
Net. ICLR workshop 2015, arXiv 1412.6806 (2014), section 3.4.

The paper has networks of ReLUs. At a rectifier of another kind its own derivative stands
in, where both the activation and the gradient are positive.
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


def attribute_guided_backprop(
    backend: Backend,
    x: NDArray[np.generic],
    objective: Objective,
    parameters: Mapping[str, ParameterValue],
) -> Attribution:
    """Gradients that pass rectifiers where they and the activations are positive."""
    found = backend.gradients(x, objective, rectifier="guided")
    return without_reports(found, found.gradients)


GUIDED_BACKPROP = Method(
    name="guided_backprop",
    paper="Springenberg, Dosovitskiy, Brox, Riedmiller 2014",
    parameters=(),
    function=attribute_guided_backprop,
    cost=constant_cost(3),
    check_backend=lambda backend: backend.check_rectifiers(),
)

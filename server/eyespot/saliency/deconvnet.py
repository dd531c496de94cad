"""Deconvolutional networks.

Zeiler, Fergus: Visualizing and Understanding Convolutional Networks. ECCV 2014,
arXiv 1311.2901 (2013), section 2.1.

Backwards through the network: a convolution by its transpose, a max pool by the switches
that its forward pass recorded, a rectifier by rectifying what comes back. The first two are
what a gradient does anyway: a max pool's own backward pass routes by the maxima of the
forward pass. The paper begins at one activation of a layer, we at a score of the output.
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


def attribute_deconvnet(
    backend: Backend,
    x: NDArray[np.generic],
    objective: Objective,
    parameters: Mapping[str, ParameterValue],
) -> Attribution:
    """What the deconvolutional network projects back into the input."""
    found = backend.gradients(x, objective, rectifier="deconvnet")
    return without_reports(found, found.gradients)


DECONVNET = Method(
    name="deconvnet",
    paper="Zeiler, Fergus 2013",
    parameters=(),
    function=attribute_deconvnet,
    cost=constant_cost(3),
    check_backend=lambda backend: backend.check_rectifiers(),
)

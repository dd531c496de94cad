"""Vanilla gradients.

Simonyan, Vedaldi, Zisserman: Deep Inside Convolutional Networks: Visualising Image
Classification Models and Saliency Maps. ICLR workshop 2014, arXiv 1312.6034, section 3.

The attributions are the raw, signed derivatives dS_c/dx. The paper's picture of them, the
largest magnitude over the channels, is `reduce_channels(..., "max")`. The paper knows no
`modifier`; it is keras-vis's.
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
from eyespot.saliency.modifier import MODIFIER, rule_of
from eyespot.saliency.objective import Objective


def attribute_saliency(
    backend: Backend,
    x: NDArray[np.generic],
    objective: Objective,
    parameters: Mapping[str, ParameterValue],
) -> Attribution:
    """The derivative of each score with respect to its row."""
    found = backend.gradients(x, objective, rectifier=rule_of(parameters["modifier"]))
    return without_reports(found, found.gradients)


SALIENCY = Method(
    name="saliency",
    paper="Simonyan, Vedaldi, Zisserman 2014",
    parameters=(MODIFIER,),
    function=attribute_saliency,
    cost=constant_cost(3),
)

"""Guided Grad-CAM.

Selvaraju, Cogswell, Das, Vedantam, Parikh, Batra: Grad-CAM: Visual Explanations from Deep
Networks via Gradient-based Localization. ICCV 2017, arXiv 1610.02391 (2016), section 3.2.
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
from eyespot.saliency.grad_cam import GRAD_CAM
from eyespot.saliency.layer import LAYER, check_maps
from eyespot.saliency.objective import Objective


def attribute_guided_grad_cam(
    backend: Backend,
    x: NDArray[np.generic],
    objective: Objective,
    parameters: Mapping[str, ParameterValue],
) -> Attribution:
    """Guided backpropagation, times the enlarged Grad-CAM of the layer."""
    where = GRAD_CAM.explain(backend, x, objective, layer=parameters["layer"])
    what = backend.gradients(x, objective, rectifier="guided")
    return without_reports(what, what.gradients * where.attributions)


GUIDED_GRAD_CAM = Method(
    name="guided_grad_cam",
    paper="Selvaraju, Cogswell, Das, Vedantam, Parikh, Batra 2016",
    parameters=(LAYER,),
    function=attribute_guided_grad_cam,
    cost=constant_cost(4.5),
    check_backend=check_maps,
)

"""Gradient-weighted class activation maps.

Selvaraju, Cogswell, Das, Vedantam, Parikh, Batra: Grad-CAM: Visual Explanations from Deep
Networks via Gradient-based Localization. ICCV 2017, arXiv 1610.02391 (2016), section 3.

The paper knows no `modifier`; it is keras-vis's.
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
from eyespot.saliency.layer import LAYER, check_maps
from eyespot.saliency.maps import enlarge
from eyespot.saliency.modifier import MODIFIER, rule_of
from eyespot.saliency.objective import Objective


def attribute_grad_cam(
    backend: Backend,
    x: NDArray[np.generic],
    objective: Objective,
    parameters: Mapping[str, ParameterValue],
) -> Attribution:
    """The layer's maps, weighed by their mean gradients, where that is positive."""
    found = backend.gradients(
        x, objective, rectifier=rule_of(parameters["modifier"]), layer=str(parameters["layer"])
    )
    weights = found.gradients.mean((2, 3))  # (N, C, h, w) -> (N, C)
    maps = np.repeat(found.values, objective.per_row(len(x)), axis=0)  # (N, C, h, w)
    weighed = np.einsum("nc,nchw->nhw", weights, maps, optimize=True)
    return without_reports(found, enlarge(weighed.clip(0), x.shape, backend.channel_axis))


GRAD_CAM = Method(
    name="grad_cam",
    paper="Selvaraju, Cogswell, Das, Vedantam, Parikh, Batra 2016",
    parameters=(LAYER, MODIFIER),
    function=attribute_grad_cam,
    has_channels=False,
    cost=constant_cost(1.5),
    check_backend=check_maps,
)

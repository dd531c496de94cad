"""Grad-CAM++.

Chattopadhay, Sarkar, Howlader, Balasubramanian: Grad-CAM++: Generalized Gradient-based
Visual Explanations for Deep Convolutional Networks. WACV 2018, arXiv 1710.11063, section 3.

As in the paper's equation 19, the class score is exp(S), so that its second and third
derivatives are powers of the gradient of S. The factor exp(S), common to all places of a
row, is left out: it is no part of the map's form, and overflows. Where a gradient is zero
its weight is, whatever the quotient 0 / 0 would be.
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
from eyespot.saliency.objective import Objective


def attribute_grad_cam_plus_plus(
    backend: Backend,
    x: NDArray[np.generic],
    objective: Objective,
    parameters: Mapping[str, ParameterValue],
) -> Attribution:
    """The layer's maps, weighed by their positive gradients, each place by its own alpha."""
    found = backend.gradients(x, objective, layer=str(parameters["layer"]))
    maps = np.repeat(found.values, objective.per_row(len(x)), axis=0)  # (N, C, h, w)
    weights = _weights(found.gradients, maps)
    weighed = np.einsum("nc,nchw->nhw", weights, maps, optimize=True)
    return without_reports(found, enlarge(weighed.clip(0), x.shape, backend.channel_axis))


def _weights(gradients: NDArray[np.float32], maps: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N, C): sum of alpha max(g, 0), alpha = g^2 / (2 g^2 + sum(A) g^3) = 1 / (2 + sum(A) g)."""
    total = maps.sum((2, 3), keepdims=True)  # (N, C, 1, 1)
    divisor = 2 + total * gradients  # (N, C, h, w)
    is_counted = (gradients > 0) & (divisor != 0)
    alpha = np.where(is_counted, 1 / np.where(is_counted, divisor, 1), 0)
    weights: NDArray[np.float32] = (alpha * gradients).sum((2, 3))
    return weights


GRAD_CAM_PLUS_PLUS = Method(
    name="grad_cam_plus_plus",
    paper="Chattopadhay, Sarkar, Howlader, Balasubramanian 2018",
    parameters=(LAYER,),
    function=attribute_grad_cam_plus_plus,
    has_channels=False,
    cost=constant_cost(1.5),
    check_backend=check_maps,
)

"""Class activation maps.

Zhou, Khosla, Lapedriza, Oliva, Torralba: Learning Deep Features for Discriminative
Localization. CVPR 2016, arXiv 1512.04150, section 2.

Where a global average pool feeds one linear layer, the maps that are pooled, weighed by the
class's weights, say where the logit comes from. Other scores weigh by their derivative.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from eyespot.saliency.attribution import (
    Attribution,
    Method,
    ParameterValue,
    constant_cost,
)
from eyespot.saliency.backend import Backend
from eyespot.saliency.layer import check_maps
from eyespot.saliency.maps import enlarge
from eyespot.saliency.objective import Objective


def attribute_cam(
    backend: Backend,
    x: NDArray[np.generic],
    objective: Objective,
    parameters: Mapping[str, ParameterValue],
) -> Attribution:
    """The sum of the last maps, each weighed by what the class makes of it; signed."""
    head = backend.linear_head()
    outputs, maps = backend.activations(x, head.layer)  # (B, K), (B, C, h, w)
    scored = objective(outputs)
    weights = scored.derivatives @ head.weights  # (N, K) (K, C) -> (N, C)
    maps = np.repeat(maps, objective.per_row(len(x)), axis=0)  # (N, C, h, w)
    weighed = np.einsum("nc,nchw->nhw", weights, maps, optimize=True)
    return Attribution(
        enlarge(weighed, x.shape, backend.channel_axis),
        scored.classes,
        scored.values,
        [{}] * len(weighed),
    )


def check_head(backend: Backend) -> None:
    """Check that the network ends as the paper's do."""
    check_maps(backend)
    backend.linear_head()


CAM = Method(
    name="cam",
    paper="Zhou, Khosla, Lapedriza, Oliva, Torralba 2016",
    parameters=(),
    function=attribute_cam,
    has_channels=False,
    cost=constant_cost(1),
    check_backend=check_head,
)

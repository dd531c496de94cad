"""LayerCAM.

Jiang, Zhang, Hou, Cheng, Wei: LayerCAM: Exploring Hierarchical Class Activation Maps for
Localization. IEEE Transactions on Image Processing 2021, section III.

Without the paper's tanh scaling of shallow layers, which serves to fuse the maps of several.
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


def attribute_layer_cam(
    backend: Backend,
    x: NDArray[np.generic],
    objective: Objective,
    parameters: Mapping[str, ParameterValue],
) -> Attribution:
    """The layer's maps, each place weighed by its own positive gradient."""
    found = backend.gradients(x, objective, layer=str(parameters["layer"]))
    maps = np.repeat(found.values, objective.per_row(len(x)), axis=0)  # (N, C, h, w)
    weighed = np.einsum("nchw,nchw->nhw", found.gradients.clip(0), maps, optimize=True)
    return without_reports(found, enlarge(weighed.clip(0), x.shape, backend.channel_axis))


LAYER_CAM = Method(
    name="layer_cam",
    paper="Jiang, Zhang, Hou, Cheng, Wei 2021",
    parameters=(LAYER,),
    function=attribute_layer_cam,
    has_channels=False,
    cost=constant_cost(1.5),
    check_backend=check_maps,
)

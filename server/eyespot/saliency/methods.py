"""The registry of methods, by name."""

from collections.abc import Mapping
from types import MappingProxyType

from eyespot.saliency.attribution import Method, suggest
from eyespot.saliency.cam import CAM
from eyespot.saliency.deconvnet import DECONVNET
from eyespot.saliency.deep_lift import DEEP_LIFT
from eyespot.saliency.errors import UnknownMethodError
from eyespot.saliency.grad_cam import GRAD_CAM
from eyespot.saliency.grad_cam_plus_plus import GRAD_CAM_PLUS_PLUS
from eyespot.saliency.guided_backprop import GUIDED_BACKPROP
from eyespot.saliency.guided_grad_cam import GUIDED_GRAD_CAM
from eyespot.saliency.input_x_gradient import INPUT_X_GRADIENT
from eyespot.saliency.integrated_gradients import INTEGRATED_GRADIENTS
from eyespot.saliency.layer_cam import LAYER_CAM
from eyespot.saliency.lrp import LRP
from eyespot.saliency.occlusion import OCCLUSION
from eyespot.saliency.rise import RISE
from eyespot.saliency.saliency import SALIENCY
from eyespot.saliency.smooth_grad import SMOOTH_GRAD

METHODS: Mapping[str, Method] = MappingProxyType(
    {
        method.name: method
        for method in (
            SALIENCY,
            INPUT_X_GRADIENT,
            GUIDED_BACKPROP,
            DECONVNET,
            INTEGRATED_GRADIENTS,
            SMOOTH_GRAD,
            CAM,
            GRAD_CAM,
            GUIDED_GRAD_CAM,
            GRAD_CAM_PLUS_PLUS,
            LAYER_CAM,
            OCCLUSION,
            RISE,
            DEEP_LIFT,
            LRP,
        )
    }
)


def find_method(name: str) -> Method:
    """The method of a name.

    Raises:
        UnknownMethodError: there is none; names the nearest.
    """
    method = METHODS.get(name)
    if method is None:
        raise UnknownMethodError(f"there is no method {name!r}; {suggest(name, list(METHODS))}")
    return method

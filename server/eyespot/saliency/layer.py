"""The `layer` parameter, and the check that a network has maps to explain by."""

from eyespot.saliency.attribution import ParameterSpec
from eyespot.saliency.backend import Backend
from eyespot.saliency.errors import LayerError, UnavailableMethodError
from eyespot.saliency.maps import check_pictures

LAYER = ParameterSpec(
    "layer",
    "string",
    "",
    "node of the graph whose maps are weighed, or module that ends in it; empty: the last spatial "
    "map before pooling",
)


def check_maps(backend: Backend) -> None:
    """Check that the input is pictures, and that some layer holds maps of them.

    Raises:
        UnavailableMethodError: one of them is not so.
    """
    check_pictures(backend.channel_axis)
    try:
        backend.find_layer("")
    except LayerError as error:
        raise UnavailableMethodError(str(error)) from error

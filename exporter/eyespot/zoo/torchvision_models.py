"""The one door to torchvision: every room that wants it calls `load_torchvision`.

A torchvision wheel built for CUDA beside a torch built for CPU (a common mix of registries)
cannot load its compiled library. Its classification networks and its transforms need none of
that library, but ``import torchvision`` fails all the same, because torchvision describes the
detection operators to the compiler without asking whether they exist. Here they are declared
first, by their schemas alone: the import succeeds, and whoever calls such an operator is told by
torchvision that its library could not be loaded.
"""

from __future__ import annotations

import importlib
import logging
import sys
import threading
from types import ModuleType

import torch

from eyespot.zoo.errors import MissingTorchvisionError

logger = logging.getLogger(__name__)

# The operators that torchvision/_meta_registrations.py names unconditionally (nms, qnms), and
# those that it names today only where the library is loaded.
_DETECTION_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "roi_align(Tensor input, Tensor rois, float spatial_scale, SymInt pooled_height, "
    "SymInt pooled_width, int sampling_ratio, bool aligned) -> Tensor",
    "roi_pool(Tensor input, Tensor rois, float spatial_scale, SymInt pooled_height, "
    "SymInt pooled_width) -> (Tensor, Tensor)",
    "ps_roi_align(Tensor input, Tensor rois, float spatial_scale, SymInt pooled_height, "
    "SymInt pooled_width, int sampling_ratio) -> (Tensor, Tensor)",
    "ps_roi_pool(Tensor input, Tensor rois, float spatial_scale, SymInt pooled_height, "
    "SymInt pooled_width) -> (Tensor, Tensor)",
)

_lock = threading.Lock()
# Declarations live as long as this object.
_declared: list[torch.library.Library] = []


def load_torchvision() -> ModuleType:
    """Import torchvision, and give the module.

    Afterwards plain imports of its parts (``from torchvision.transforms import v2``) work too.

    Raises:
        MissingTorchvisionError: It is not installed, or does not fit this torch.
    """
    with _lock:
        try:
            return _import_whole()
        except ModuleNotFoundError as error:
            if error.name != "torchvision":
                raise
            raise MissingTorchvisionError(
                "torchvision is not installed: pip install 'eyespot[export]'"
            ) from None
        except RuntimeError as error:
            if "operator torchvision::" not in str(error) or _declared:
                raise _unusable(error) from error
        logger.debug("torchvision's compiled library cannot be loaded: no detection operators")
        _declare_detection_operators()
        try:
            return _import_whole()
        except RuntimeError as error:
            raise _unusable(error) from error


def _import_whole() -> ModuleType:
    """Import torchvision or leave no trace of it: Python itself keeps the submodules of a failure.

    What an earlier failure of somebody else's has left goes first.
    """
    if "torchvision" not in sys.modules:
        _forget_torchvision()
    try:
        return importlib.import_module("torchvision")
    except BaseException:
        _forget_torchvision()
        raise


def _forget_torchvision() -> None:
    for name, module in list(sys.modules.items()):
        # None is somebody's way of forbidding the import.
        if name.split(".", 1)[0] == "torchvision" and module is not None:
            del sys.modules[name]


def _declare_detection_operators() -> None:
    library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    _declared.append(library)
    for schema in _DETECTION_SCHEMAS:
        library.define(schema)  # type: ignore[no-untyped-call]


def _unusable(error: RuntimeError) -> MissingTorchvisionError:
    return MissingTorchvisionError(
        f"the installed torchvision does not fit torch {torch.__version__} ({error}): "
        "pip install --upgrade 'eyespot[export]'"
    )

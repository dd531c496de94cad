"""The one door to timm, whose extra is optional: every room that wants it calls `load_timm`."""

from __future__ import annotations

import importlib
from types import ModuleType

from eyespot.zoo.errors import MissingTimmError
from eyespot.zoo.torchvision_models import load_torchvision


def load_timm() -> ModuleType:
    """Import timm, and give the module.

    timm imports torchvision, which goes through its own door first. Nothing is fetched: weights
    are files of the user's.

    Raises:
        MissingTimmError: timm is not installed.
        MissingTorchvisionError: torchvision is not installed, or does not fit this torch.
    """
    load_torchvision()
    try:
        return importlib.import_module("timm")
    except ModuleNotFoundError as error:
        if error.name != "timm":
            raise
        raise MissingTimmError("timm is not installed: pip install 'eyespot[timm]'") from None

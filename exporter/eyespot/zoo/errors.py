"""What can go wrong between a name and a network that computes.

ZooError (ValueError)
├── UnknownModelError         no network of that name
├── DuplicateModelError       the name is taken
├── ArchitectureError         this network cannot have that shape
├── WeightsError              the weights cannot be read, or do not fit
├── DeadNetworkError          random weights let no signal through
├── MissingTorchvisionError   torchvision is absent, or cannot be imported
└── MissingTimmError          timm is absent
"""

from __future__ import annotations


class ZooError(ValueError):
    """Something was asked of the zoo that it cannot give."""


class UnknownModelError(ZooError):
    """No network is registered under this name."""


class DuplicateModelError(ZooError):
    """Two networks were registered under one name."""


class ArchitectureError(ZooError):
    """The network cannot be built with the classes, channels or input size asked for."""


class WeightsError(ZooError):
    """The weights cannot be found, read or trusted, or belong to another network."""


class DeadNetworkError(ZooError):
    """The network answers every input alike, or with no numbers: nothing can be shown by it."""


class MissingTorchvisionError(ZooError):
    """The torchvision package is not installed, or its import fails."""


class MissingTimmError(ZooError):
    """The timm package is not installed."""

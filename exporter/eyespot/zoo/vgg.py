"""VGG: Simonyan and Zisserman, 2014; torchvision's modules.

Very Deep Convolutional Networks for Large-Scale Image Recognition, arXiv 1409.1556, ICLR 2015.
Configurations A, B, D and E of its table 1, each as it is and with batch normalisation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from eyespot.v1.preprocessing import IMAGENET
from eyespot.zoo.entry import Builder
from eyespot.zoo.input_channels import replace_input_layer
from eyespot.zoo.registry import register_model
from eyespot.zoo.torchvision_models import load_torchvision

_POOLING = (
    "Average pooling to 7x7 before the classifier, which changes nothing at 224x224; random "
    "weights after He et al. 2015."
)
_BATCH_NORM = (
    "Batch normalisation between every convolution and its rectifier, which came a year after "
    "the paper."
)


def register_vgg(name: str, *, departures: str, **facts: Any) -> Callable[[Builder], Builder]:
    """Register a VGG: what all of them share, and the `facts` in which they differ."""
    return register_model(
        name,
        paper="Simonyan and Zisserman: Very Deep Convolutional Networks for Large-Scale Image "
        "Recognition, arXiv 1409.1556, ICLR 2015",
        year=2014,
        input_size=(3, 224, 224),
        min_input_size=32,
        num_classes=1000,
        departures=departures,
        preprocessing=IMAGENET,
        torchvision_name=name,
        **facts,
    )



"""VGG: Simonyan and Zisserman, 2014; torchvision's module.

Very Deep Convolutional Networks for Large-Scale Image Recognition, arXiv 1409.1556, ICLR 2015.
"""

from __future__ import annotations

from torch import nn

from eyespot.v1.preprocessing import IMAGENET
from eyespot.zoo.input_channels import replace_input_layer
from eyespot.zoo.registry import register_model
from eyespot.zoo.torchvision_models import load_torchvision


@register_model(
    "vgg16",
    paper="Simonyan and Zisserman: Very Deep Convolutional Networks for Large-Scale Image "
    "Recognition, arXiv 1409.1556, ICLR 2015",
    year=2014,
    input_size=(3, 224, 224),
    min_input_size=32,
    num_classes=1000,
    parameter_count=138_357_544,
    macs=15_470_264_320,
    receptive_field=212,
    departures="Configuration D. Average pooling to 7x7 before the classifier, which changes "
    "nothing at 224x224; random weights after He et al. 2015.",
    preprocessing=IMAGENET,
    torchvision_name="vgg16",
)
def vgg16(*, num_classes: int, in_channels: int, input_size: int) -> nn.Module:
    """Build VGG-16; its pooling takes any `input_size` from 32 on."""
    network: nn.Module = load_torchvision().models.vgg16(num_classes=num_classes)
    replace_input_layer(network, "features.0", in_channels)
    return network

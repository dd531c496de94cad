"""VGG: Simonyan and Zisserman, 2014; torchvision's modules.

Very Deep Convolutional Networks for Large-Scale Image Recognition, arXiv 1409.1556, ICLR 2015.
Configurations A, B, D and E of its table 1, each as it is and with batch normalisation.
"""

from __future__ import annotations

from functools import partial

from torch import nn

from eyespot.v1.preprocessing import IMAGENET
from eyespot.zoo.input_channels import replace_input_layer
from eyespot.zoo.registry import register_model
from eyespot.zoo.torchvision_models import load_torchvision

_POOLED = (
    "Average pooling to 7x7 before the classifier, which changes nothing at 224x224; random "
    "weights after He et al. 2015."
)
_NORMALISED = (
    "Batch normalisation between each convolution and its rectifier, younger than the paper. "
)


def _build(
    torchvision_name: str, *, num_classes: int, in_channels: int, input_size: int
) -> nn.Module:
    """Build a VGG; its pooling takes any `input_size` from 32 on."""
    builder = getattr(load_torchvision().models, torchvision_name)
    network: nn.Module = builder(num_classes=num_classes)
    replace_input_layer(network, "features.0", in_channels)
    return network


def _register(
    name: str, *, configuration: str, parameter_count: int, macs: int, receptive_field: int
) -> None:
    normalised = _NORMALISED if name.endswith("_bn") else ""
    register_model(
        name,
        paper="Simonyan and Zisserman: Very Deep Convolutional Networks for Large-Scale Image "
        "Recognition, arXiv 1409.1556, ICLR 2015",
        year=2014,
        input_size=(3, 224, 224),
        min_input_size=32,
        num_classes=1000,
        parameter_count=parameter_count,
        macs=macs,
        receptive_field=receptive_field,
        departures=f"Configuration {configuration}. {normalised}{_POOLED}",
        preprocessing=IMAGENET,
        torchvision_name=name,
    )(partial(_build, name))


_register(
    "vgg11",
    configuration="A",
    parameter_count=132_863_336,
    macs=7_609_090_048,
    receptive_field=150,
)
_register(
    "vgg11_bn",
    configuration="A",
    parameter_count=132_868_840,
    macs=7_609_090_048,
    receptive_field=150,
)
_register(
    "vgg13",
    configuration="B",
    parameter_count=133_047_848,
    macs=11_308_466_176,
    receptive_field=156,
)
_register(
    "vgg13_bn",
    configuration="B",
    parameter_count=133_053_736,
    macs=11_308_466_176,
    receptive_field=156,
)
_register(
    "vgg16",
    configuration="D",
    parameter_count=138_357_544,
    macs=15_470_264_320,
    receptive_field=212,
)
_register(
    "vgg16_bn",
    configuration="D",
    parameter_count=138_365_992,
    macs=15_470_264_320,
    receptive_field=212,
)
_register(
    "vgg19",
    configuration="E",
    parameter_count=143_667_240,
    macs=19_632_062_464,
    receptive_field=268,
)
_register(
    "vgg19_bn",
    configuration="E",
    parameter_count=143_678_248,
    macs=19_632_062_464,
    receptive_field=268,
)

"""MobileNetV2: Sandler, Howard, Zhu, Zhmoginov and Chen, 2018; torchvision's module.

MobileNetV2: Inverted Residuals and Linear Bottlenecks, arXiv 1801.04381, CVPR 2018.
"""

from __future__ import annotations

from torch import nn

from eyespot.v1.preprocessing import IMAGENET
from eyespot.zoo.initialisation import initialise
from eyespot.zoo.input_channels import replace_input_layer
from eyespot.zoo.registry import register_model
from eyespot.zoo.torchvision_models import load_torchvision


@register_model(
    "mobilenet_v2",
    paper="Sandler et al.: MobileNetV2: Inverted Residuals and Linear Bottlenecks, "
    "arXiv 1801.04381, CVPR 2018",
    year=2018,
    input_size=(3, 224, 224),
    min_input_size=1,
    num_classes=1000,
    parameter_count=3_504_872,
    macs=300_774_272,
    receptive_field=491,
    departures="Dropout before the classifier; random weights after He et al. 2015.",
    preprocessing=IMAGENET,
    torchvision_name="mobilenet_v2",
)
def mobilenet_v2(*, num_classes: int, in_channels: int, input_size: int) -> nn.Module:
    """Build MobileNetV2; its pooling takes any `input_size`."""
    network: nn.Module = load_torchvision().models.mobilenet_v2(num_classes=num_classes)
    replace_input_layer(network, "features.0.0", in_channels)
    initialise(network)
    return network

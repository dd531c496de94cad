"""Residual networks for ImageNet: He, Zhang, Ren and Sun, 2015; torchvision's modules.

Deep Residual Learning for Image Recognition, arXiv 1512.03385, CVPR 2016.
"""

from __future__ import annotations

from torch import nn

from eyespot.v1.preprocessing import IMAGENET
from eyespot.zoo.input_channels import replace_input_layer
from eyespot.zoo.registry import register_model
from eyespot.zoo.torchvision_models import load_torchvision

PAPER = (
    "He, Zhang, Ren and Sun: Deep Residual Learning for Image Recognition, "
    "arXiv 1512.03385, CVPR 2016"
)


@register_model(
    "resnet18",
    paper=PAPER,
    year=2015,
    input_size=(3, 224, 224),
    min_input_size=1,
    num_classes=1000,
    parameter_count=11_689_512,
    macs=1_814_073_344,
    receptive_field=435,
    departures="None; shortcuts are of the paper's option B.",
    preprocessing=IMAGENET,
    torchvision_name="resnet18",
)
def resnet18(*, num_classes: int, in_channels: int, input_size: int) -> nn.Module:
    """Build ResNet-18; its pooling takes any `input_size`."""
    network: nn.Module = load_torchvision().models.resnet18(num_classes=num_classes)
    replace_input_layer(network, "conv1", in_channels)
    return network


@register_model(
    "resnet50",
    paper=PAPER,
    year=2015,
    input_size=(3, 224, 224),
    min_input_size=1,
    num_classes=1000,
    parameter_count=25_557_032,
    macs=4_089_184_256,
    receptive_field=427,
    departures="A bottleneck's stride is in its 3x3 convolution, not in its first 1x1 "
    '("ResNet v1.5"); shortcuts are of the paper\'s option B.',
    preprocessing=IMAGENET,
    torchvision_name="resnet50",
)
def resnet50(*, num_classes: int, in_channels: int, input_size: int) -> nn.Module:
    """Build ResNet-50; its pooling takes any `input_size`."""
    network: nn.Module = load_torchvision().models.resnet50(num_classes=num_classes)
    replace_input_layer(network, "conv1", in_channels)
    return network

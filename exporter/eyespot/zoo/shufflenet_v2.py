"""ShuffleNet V2: Ma, Zhang, Zheng and Sun, 2018; torchvision's modules.

ShuffleNet V2: Practical Guidelines for Efficient CNN Architecture Design,
arXiv 1807.11164, ECCV 2018.
"""

from __future__ import annotations

from torch import nn

from eyespot.v1.preprocessing import IMAGENET
from eyespot.zoo.initialisation import initialise
from eyespot.zoo.input_channels import replace_input_layer
from eyespot.zoo.registry import register_model
from eyespot.zoo.torchvision_models import load_torchvision

PAPER = (
    "Ma, Zhang, Zheng and Sun: ShuffleNet V2: Practical Guidelines for Efficient CNN "
    "Architecture Design, arXiv 1807.11164, ECCV 2018"
)
DEPARTURES = "None in the network; random weights after He et al. 2015."


@register_model(
    "shufflenet_v2_x0_5",
    paper=PAPER,
    year=2018,
    input_size=(3, 224, 224),
    min_input_size=1,
    num_classes=1000,
    parameter_count=1_366_792,
    macs=40_476_448,
    receptive_field=527,
    departures=DEPARTURES,
    preprocessing=IMAGENET,
    torchvision_name="shufflenet_v2_x0_5",
)
def shufflenet_v2_x0_5(*, num_classes: int, in_channels: int, input_size: int) -> nn.Module:
    """Build ShuffleNet V2 of half the width; its pooling takes any `input_size`."""
    network: nn.Module = load_torchvision().models.shufflenet_v2_x0_5(num_classes=num_classes)
    replace_input_layer(network, "conv1.0", in_channels)
    initialise(network)
    return network


@register_model(
    "shufflenet_v2_x1_0",
    paper=PAPER,
    year=2018,
    input_size=(3, 224, 224),
    min_input_size=1,
    num_classes=1000,
    parameter_count=2_278_604,
    macs=144_907_992,
    receptive_field=527,
    departures=DEPARTURES,
    preprocessing=IMAGENET,
    torchvision_name="shufflenet_v2_x1_0",
)
def shufflenet_v2_x1_0(*, num_classes: int, in_channels: int, input_size: int) -> nn.Module:
    """Build ShuffleNet V2; its pooling takes any `input_size`."""
    network: nn.Module = load_torchvision().models.shufflenet_v2_x1_0(num_classes=num_classes)
    replace_input_layer(network, "conv1.0", in_channels)
    initialise(network)
    return network

"""Inception-v4 and Inception-ResNet-v2: Szegedy, Ioffe, Vanhoucke and Alemi, 2016; timm's modules.

Inception-v4, Inception-ResNet and the Impact of Residual Connections on Learning,
arXiv 1602.07261, AAAI 2017.
"""

from __future__ import annotations

import dataclasses

from torch import nn

from eyespot.v1.preprocessing import PreprocessingRule
from eyespot.zoo.initialisation import initialise
from eyespot.zoo.registry import register_model
from eyespot.zoo.timm_models import load_timm

PAPER = (
    "Szegedy, Ioffe, Vanhoucke and Alemi: Inception-v4, Inception-ResNet and the Impact of "
    "Residual Connections on Learning, arXiv 1602.07261, AAAI 2017"
)

# Pixels between -1 and 1; the crop is 87.5 % of the picture.
INCEPTION = PreprocessingRule(
    resize_size=341,
    crop_size=(299, 299),
    interpolation="bicubic",
    color_order="RGB",
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
)


@register_model(
    "inception_v4",
    paper=PAPER,
    year=2016,
    input_size=(3, 299, 299),
    min_input_size=75,
    num_classes=1000,
    parameter_count=42_679_816,
    macs=12_253_974_624,
    receptive_field=2071,
    departures="The order of factorised convolutions (1x7 before 7x1, or after) is that of the "
    "network which the authors released; random weights after He et al. 2015.",
    preprocessing=INCEPTION,
)
def inception_v4(*, num_classes: int, in_channels: int, input_size: int) -> nn.Module:
    """Build Inception-v4; its pooling takes any `input_size` from 75 on."""
    network: nn.Module = load_timm().create_model(
        "inception_v4",
        pretrained=False,
        num_classes=num_classes,
        in_chans=in_channels,
        drop_rate=0.2,
    )
    initialise(network)
    return network


@register_model(
    "inception_resnet_v2",
    paper=PAPER,
    year=2016,
    input_size=(3, 299, 299),
    min_input_size=75,
    num_classes=1000,
    parameter_count=55_843_464,
    macs=13_155_794_016,
    receptive_field=3039,
    departures="The network that the authors released rather than the paper's figure 15: 10, 20 "
    "and 10 residual blocks for 5, 10 and 5; the stem of Inception-v3 and one more Inception "
    "block for that of Inception-v4, and with it 320, 1088 and 2080 channels; no rectifier after "
    "the last block; a 1x1 convolution to 1536 channels before the pooling. Random weights after "
    "He et al. 2015.",
    preprocessing=dataclasses.replace(INCEPTION, resize_size=333),
)
def inception_resnet_v2(*, num_classes: int, in_channels: int, input_size: int) -> nn.Module:
    """Build Inception-ResNet-v2; its pooling takes any `input_size` from 75 on."""
    network: nn.Module = load_timm().create_model(
        "inception_resnet_v2",
        pretrained=False,
        num_classes=num_classes,
        in_chans=in_channels,
        drop_rate=0.2,
    )
    initialise(network)
    return network

"""Xception: Chollet, 2016; timm's module.

Xception: Deep Learning with Depthwise Separable Convolutions, arXiv 1610.02357, CVPR 2017.
"""

from __future__ import annotations

import dataclasses

from torch import nn

from eyespot.zoo.inception_v4 import INCEPTION
from eyespot.zoo.initialisation import initialise
from eyespot.zoo.registry import register_model
from eyespot.zoo.timm_models import load_timm


@register_model(
    "xception",
    paper="Chollet: Xception: Deep Learning with Depthwise Separable Convolutions, "
    "arXiv 1610.02357, CVPR 2017",
    year=2016,
    input_size=(3, 299, 299),
    min_input_size=7,
    num_classes=1000,
    parameter_count=22_855_952,
    macs=8_357_403_496,
    receptive_field=1083,
    departures="A pooling pads maps of even size on both sides, where the author's code pads "
    "them below and to the right alone; random weights after He et al. 2015.",
    preprocessing=dataclasses.replace(INCEPTION, resize_size=333),
)
def xception(*, num_classes: int, in_channels: int, input_size: int) -> nn.Module:
    """Build Xception; its pooling takes any `input_size` from 7 on."""
    network: nn.Module = load_timm().create_model(
        "legacy_xception",
        pretrained=False,
        num_classes=num_classes,
        in_chans=in_channels,
        drop_rate=0.5,
    )
    depthwise = [
        layer for layer in network.modules() if isinstance(layer, nn.Conv2d) and layer.groups > 1
    ]
    initialise(network, unrectified=depthwise)
    return network

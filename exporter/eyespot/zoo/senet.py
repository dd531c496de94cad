"""Squeeze-and-excitation networks: Hu, Shen, Albanie, Sun and Wu, 2017; timm's modules.

Squeeze-and-Excitation Networks, arXiv 1709.01507, CVPR 2018.

They are timm's "legacy" ones: as the authors released them, stride in a bottleneck's first 1x1
convolution. What excites a channel is its mean over the whole map, so that every element of the
last map depends on every pixel: no receptive field is declared (without the excitation
it would be 483 and 1455).
"""

from __future__ import annotations

from torch import nn

from eyespot.v1.preprocessing import IMAGENET
from eyespot.zoo.registry import register_model
from eyespot.zoo.timm_models import load_timm

PAPER = (
    "Hu, Shen, Albanie, Sun and Wu: Squeeze-and-Excitation Networks, arXiv 1709.01507, CVPR 2018"
)


@register_model(
    "se_resnet50",
    paper=PAPER,
    year=2017,
    input_size=(3, 224, 224),
    min_input_size=3,
    num_classes=1000,
    parameter_count=28_088_024,
    macs=3_860_488_192,
    receptive_field=None,
    departures="None; the linear layers of squeeze and excitation are 1x1 convolutions, and have "
    "biases as in the network that the authors released.",
    preprocessing=IMAGENET,
)
def se_resnet50(*, num_classes: int, in_channels: int, input_size: int) -> nn.Module:
    """Build SE-ResNet-50, of reduction 16; its pooling takes any `input_size` from 3 on."""
    network: nn.Module = load_timm().create_model(
        "legacy_seresnet50",
        pretrained=False,
        num_classes=num_classes,
        in_chans=in_channels,
        drop_rate=0.0,
    )
    return network


@register_model(
    "senet154",
    paper=PAPER,
    year=2017,
    input_size=(3, 224, 224),
    min_input_size=3,
    num_classes=1000,
    parameter_count=115_088_984,
    macs=20_688_363_520,
    receptive_field=None,
    departures="None; the linear layers of squeeze and excitation are 1x1 convolutions, and have "
    "biases as in the network that the authors released.",
    preprocessing=IMAGENET,
)
def senet154(*, num_classes: int, in_channels: int, input_size: int) -> nn.Module:
    """Build SENet-154: a ResNeXt-152 of 64x4d with another stem and other shortcuts.

    Its pooling takes any `input_size` from 3 on.
    """
    network: nn.Module = load_timm().create_model(
        "legacy_senet154",
        pretrained=False,
        num_classes=num_classes,
        in_chans=in_channels,
        drop_rate=0.2,
    )
    return network

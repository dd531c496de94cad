"""Wide residual networks: Zagoruyko and Komodakis, 2016; torchvision's modules for ImageNet.

Wide Residual Networks, arXiv 1605.07146, BMVC 2016. Few units, of many channels. The network for
CIFAR is of pre-activation units; files of its weights may have the names of the port in which
most checkpoints circulate (github.com/xternalz/WideResNet-pytorch).
"""

from __future__ import annotations

import re
from functools import partial

from torch import nn

from eyespot.v1.preprocessing import IMAGENET
from eyespot.zoo.entry import StateDict
from eyespot.zoo.preact_resnet import CIFAR10, BasicUnit, CifarPreActResNet
from eyespot.zoo.registry import register_model
from eyespot.zoo.resnet import build_torchvision

PAPER = "Zagoruyko and Komodakis: Wide Residual Networks, arXiv 1605.07146, BMVC 2016"

_PORTED_NAMES = {
    r"^block(\d)\.layer\.": r"layer\1.",  # block1.layer.0.conv1.weight
    r"\.convShortcut\.": ".shortcut.",
    r"^bn1\.": "bn.",  # the network's; a unit's has the unit's name before it
}


def rename_ported_layers(state_dict: StateDict) -> StateDict:
    """Give the layers of the port's files their names here."""
    renamed = {}
    for name, tensor in state_dict.items():
        for ported, ours in _PORTED_NAMES.items():
            name = re.sub(ported, ours, name)
        renamed[name] = tensor
    return renamed


@register_model(
    "wide_resnet28_10",
    paper=PAPER,
    year=2016,
    input_size=(3, 32, 32),
    min_input_size=1,
    num_classes=10,
    parameter_count=36_479_194,
    macs=5_243_328_768,
    receptive_field=109,
    departures="None; the paper's network without dropout. Random residual branches begin small.",
    preprocessing=CIFAR10,
    adapt_state_dict=rename_ported_layers,
)
def wide_resnet28_10(*, num_classes: int, in_channels: int, input_size: int) -> nn.Module:
    """Build WRN-28-10: 3 x 4 units, ten times as wide as ResNet's; any `input_size`."""
    return CifarPreActResNet(
        BasicUnit,
        units=4,
        widths=(160, 320, 640),
        num_classes=num_classes,
        in_channels=in_channels,
    )


def _register(name: str, *, parameter_count: int, macs: int, receptive_field: int) -> None:
    register_model(
        name,
        paper=PAPER,
        year=2016,
        input_size=(3, 224, 224),
        min_input_size=1,
        num_classes=1000,
        parameter_count=parameter_count,
        macs=macs,
        receptive_field=receptive_field,
        departures="The paper does not say where a bottleneck strides: here in its 3x3 "
        "convolution. Random residual branches begin small.",
        preprocessing=IMAGENET,
        torchvision_name=name,
    )(partial(build_torchvision, name))


_register("wide_resnet50_2", parameter_count=68_883_240, macs=11_398_021_120, receptive_field=427)
_register("wide_resnet101_2", parameter_count=126_886_696, macs=22_753_050_624, receptive_field=971)

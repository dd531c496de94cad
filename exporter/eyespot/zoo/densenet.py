"""DenseNet: Huang, Liu, van der Maaten and Weinberger, 2016; torchvision's modules.

Densely Connected Convolutional Networks, arXiv 1608.06993, CVPR 2017.
"""

from __future__ import annotations

import re

from torch import nn

from eyespot.v1.preprocessing import IMAGENET
from eyespot.zoo.entry import StateDict
from eyespot.zoo.input_channels import replace_input_layer
from eyespot.zoo.registry import register_model
from eyespot.zoo.torchvision_models import load_torchvision

PAPER = (
    "Huang, Liu, van der Maaten and Weinberger: Densely Connected Convolutional Networks, "
    "arXiv 1608.06993, CVPR 2017"
)

# torchvision's published file still says "norm.1" where its module says "norm1".
_OLD_NAME = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)")


def rename_old_layers(state_dict: StateDict) -> StateDict:
    """Give the layers of files from before PyTorch 0.4 their present names."""
    return {_OLD_NAME.sub(r"\1\2", name): tensor for name, tensor in state_dict.items()}


@register_model(
    "densenet121",
    paper=PAPER,
    year=2016,
    input_size=(3, 224, 224),
    min_input_size=29,
    num_classes=1000,
    parameter_count=7_978_856,
    macs=2_834_161_664,
    receptive_field=2071,
    departures="None; the paper's DenseNet-BC of growth rate 32.",
    preprocessing=IMAGENET,
    torchvision_name="densenet121",
    adapt_state_dict=rename_old_layers,
)
def densenet121(*, num_classes: int, in_channels: int, input_size: int) -> nn.Module:
    """Build DenseNet-121; its pooling takes any `input_size` from 29 on."""
    network: nn.Module = load_torchvision().models.densenet121(num_classes=num_classes)
    replace_input_layer(network, "features.conv0", in_channels)
    return network


@register_model(
    "densenet169",
    paper=PAPER,
    year=2016,
    input_size=(3, 224, 224),
    min_input_size=29,
    num_classes=1000,
    parameter_count=14_149_480,
    macs=3_359_843_328,
    receptive_field=3351,
    departures="None; the paper's DenseNet-BC of growth rate 32.",
    preprocessing=IMAGENET,
    torchvision_name="densenet169",
    adapt_state_dict=rename_old_layers,
)
def densenet169(*, num_classes: int, in_channels: int, input_size: int) -> nn.Module:
    """Build DenseNet-169; its pooling takes any `input_size` from 29 on."""
    network: nn.Module = load_torchvision().models.densenet169(num_classes=num_classes)
    replace_input_layer(network, "features.conv0", in_channels)
    return network


@register_model(
    "densenet201",
    paper=PAPER,
    year=2016,
    input_size=(3, 224, 224),
    min_input_size=29,
    num_classes=1000,
    parameter_count=20_013_928,
    macs=4_291_365_888,
    receptive_field=3863,
    departures="None; the paper's DenseNet-BC of growth rate 32.",
    preprocessing=IMAGENET,
    torchvision_name="densenet201",
    adapt_state_dict=rename_old_layers,
)
def densenet201(*, num_classes: int, in_channels: int, input_size: int) -> nn.Module:
    """Build DenseNet-201; its pooling takes any `input_size` from 29 on."""
    network: nn.Module = load_torchvision().models.densenet201(num_classes=num_classes)
    replace_input_layer(network, "features.conv0", in_channels)
    return network


@register_model(
    "densenet161",
    paper=PAPER,
    year=2016,
    input_size=(3, 224, 224),
    min_input_size=29,
    num_classes=1000,
    parameter_count=28_681_000,
    macs=7_727_907_072,
    receptive_field=2967,
    departures="None; the paper's DenseNet-BC of growth rate 48.",
    preprocessing=IMAGENET,
    torchvision_name="densenet161",
    adapt_state_dict=rename_old_layers,
)
def densenet161(*, num_classes: int, in_channels: int, input_size: int) -> nn.Module:
    """Build DenseNet-161; its pooling takes any `input_size` from 29 on."""
    network: nn.Module = load_torchvision().models.densenet161(num_classes=num_classes)
    replace_input_layer(network, "features.conv0", in_channels)
    return network

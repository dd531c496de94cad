"""ShuffleNet: Zhang, Zhou, Lin and Sun, 2017, table 1 at scale 1x.

ShuffleNet: An Extremely Efficient Convolutional Neural Network for Mobile Devices,
arXiv 1707.01083, CVPR 2018.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from eyespot.v1.preprocessing import IMAGENET
from eyespot.zoo.initialisation import initialise
from eyespot.zoo.registry import register_model

PAPER = (
    "Zhang, Zhou, Lin and Sun: ShuffleNet: An Extremely Efficient Convolutional Neural Network "
    "for Mobile Devices, arXiv 1707.01083, CVPR 2018"
)
DEPARTURES = (
    "None in the network. Zeros around a map count in the average pooling of a shortcut, of which "
    "the paper says nothing; random weights after He et al. 2015."
)

_STEM_CHANNELS = 24
_REPEATS = (4, 8, 4)  # units of stages 2, 3 and 4, the one of stride 2 included
_STAGE_2_CHANNELS = {1: 144, 2: 200, 3: 240, 4: 272, 8: 384}  # by groups; doubled by each stage


class ChannelShuffle(nn.Module):
    """Deal the channels of each group out to all groups, so that the groups mix.

    In a table with one row for each group, rows and columns change places. It has no parameters.
    """

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        """Permute the channels of (B, C, H, W)."""
        table = torch.unflatten(x, 1, (self.groups, -1))  # -> (B, groups, C/groups, H, W)
        return table.transpose(1, 2).flatten(1, 2)  # -> (B, C, H, W)


class ShuffleUnit(nn.Module):
    """A bottleneck of grouped 1x1 convolutions, shuffled before the 3x3 of each channel.

    With stride 1 the input is added to what the branch gives; with stride 2 it is averaged and
    concatenated, so that the branch gives only the channels that are missing.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, stride: int, groups: int, first_groups: int
    ) -> None:
        super().__init__()
        bottleneck = out_channels // 4
        branch_channels = out_channels - in_channels if stride == 2 else out_channels
        self.compress = nn.Conv2d(in_channels, bottleneck, 1, groups=first_groups, bias=False)
        self.compress_norm = nn.BatchNorm2d(bottleneck)
        self.shuffle = ChannelShuffle(groups)
        self.depthwise = nn.Conv2d(
            bottleneck, bottleneck, 3, stride=stride, padding=1, groups=bottleneck, bias=False
        )
        self.depthwise_norm = nn.BatchNorm2d(bottleneck)
        self.expand = nn.Conv2d(bottleneck, branch_channels, 1, groups=groups, bias=False)
        self.expand_norm = nn.BatchNorm2d(branch_channels)
        self.shortcut = nn.AvgPool2d(3, stride=2, padding=1) if stride == 2 else None

    def forward(self, x: Tensor) -> Tensor:
        """Give (B, out_channels, H / stride, W / stride)."""
        branch = functional.relu(self.compress_norm(self.compress(x)))  # -> (B, out/4, H, W)
        branch = self.shuffle(branch)
        branch = self.depthwise_norm(self.depthwise(branch))  # -> (B, out/4, H/stride, W/stride)
        branch = self.expand_norm(self.expand(branch))  # -> (B, branch_channels, ...)
        if self.shortcut is None:
            return functional.relu(x + branch)
        # -> (B, in_channels + branch_channels, H/2, W/2)
        return functional.relu(torch.cat([self.shortcut(x), branch], 1))


class ShuffleNet(nn.Module):
    """A 3x3 convolution, a pooling, three stages of units, and a linear layer on the mean."""

    def __init__(self, groups: int, *, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, _STEM_CHANNELS, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(_STEM_CHANNELS)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        out_channels = _STAGE_2_CHANNELS[groups]
        # Its input is too narrow to be worth splitting: no groups in the first 1x1 convolution.
        self.stage2 = _stage(_STEM_CHANNELS, out_channels, _REPEATS[0], groups, first_groups=1)
        self.stage3 = _stage(
            out_channels, 2 * out_channels, _REPEATS[1], groups, first_groups=groups
        )
        self.stage4 = _stage(
            2 * out_channels, 4 * out_channels, _REPEATS[2], groups, first_groups=groups
        )
        self.linear = nn.Linear(4 * out_channels, num_classes)
        units = [unit for unit in self.modules() if isinstance(unit, ShuffleUnit)]
        initialise(
            self,
            unrectified=[layer for unit in units for layer in (unit.depthwise, unit.expand)],
        )

    def forward(self, x: Tensor) -> Tensor:
        """Give the logits, (B, num_classes)."""
        x = functional.relu(self.bn1(self.conv1(x)))  # (B, C, 224, 224) -> (B, 24, 112, 112)
        x = self.maxpool(x)  # -> (B, 24, 56, 56)
        x = self.stage2(x)  # -> (B, out, 28, 28)
        x = self.stage3(x)  # -> (B, 2 out, 14, 14)
        x = self.stage4(x)  # -> (B, 4 out, 7, 7)
        x = torch.flatten(functional.adaptive_avg_pool2d(x, 1), 1)  # -> (B, 4 out)
        logits: Tensor = self.linear(x)  # -> (B, num_classes)
        return logits


def _stage(
    in_channels: int, out_channels: int, units: int, groups: int, *, first_groups: int
) -> nn.Sequential:
    first = ShuffleUnit(
        in_channels, out_channels, stride=2, groups=groups, first_groups=first_groups
    )
    rest = (
        ShuffleUnit(out_channels, out_channels, stride=1, groups=groups, first_groups=groups)
        for _ in range(units - 1)
    )
    return nn.Sequential(first, *rest)


@register_model(
    "shufflenet_v1_g1",
    paper=PAPER,
    year=2017,
    input_size=(3, 224, 224),
    min_input_size=1,
    num_classes=1000,
    parameter_count=1_531_936,
    macs=143_078_976,
    receptive_field=527,
    departures=DEPARTURES,
    preprocessing=IMAGENET,
)
def shufflenet_v1_g1(*, num_classes: int, in_channels: int, input_size: int) -> nn.Module:
    """Build ShuffleNet without groups, which shuffles nothing."""
    return ShuffleNet(1, num_classes=num_classes, in_channels=in_channels)


@register_model(
    "shufflenet_v1_g2",
    paper=PAPER,
    year=2017,
    input_size=(3, 224, 224),
    min_input_size=1,
    num_classes=1000,
    parameter_count=1_733_848,
    macs=140_836_512,
    receptive_field=527,
    departures=DEPARTURES,
    preprocessing=IMAGENET,
)
def shufflenet_v1_g2(*, num_classes: int, in_channels: int, input_size: int) -> nn.Module:
    """Build ShuffleNet of 2 groups."""
    return ShuffleNet(2, num_classes=num_classes, in_channels=in_channels)


@register_model(
    "shufflenet_v1_g3",
    paper=PAPER,
    year=2017,
    input_size=(3, 224, 224),
    min_input_size=1,
    num_classes=1000,
    parameter_count=1_865_728,
    macs=137_460_672,
    receptive_field=527,
    departures=DEPARTURES,
    preprocessing=IMAGENET,
)
def shufflenet_v1_g3(*, num_classes: int, in_channels: int, input_size: int) -> nn.Module:
    """Build ShuffleNet of 3 groups."""
    return ShuffleNet(3, num_classes=num_classes, in_channels=in_channels)


@register_model(
    "shufflenet_v1_g4",
    paper=PAPER,
    year=2017,
    input_size=(3, 224, 224),
    min_input_size=1,
    num_classes=1000,
    parameter_count=1_968_344,
    macs=134_339_776,
    receptive_field=527,
    departures=DEPARTURES,
    preprocessing=IMAGENET,
)
def shufflenet_v1_g4(*, num_classes: int, in_channels: int, input_size: int) -> nn.Module:
    """Build ShuffleNet of 4 groups."""
    return ShuffleNet(4, num_classes=num_classes, in_channels=in_channels)


@register_model(
    "shufflenet_v1_g8",
    paper=PAPER,
    year=2017,
    input_size=(3, 224, 224),
    min_input_size=1,
    num_classes=1000,
    parameter_count=2_434_768,
    macs=138_365_952,
    receptive_field=527,
    departures=DEPARTURES,
    preprocessing=IMAGENET,
)
def shufflenet_v1_g8(*, num_classes: int, in_channels: int, input_size: int) -> nn.Module:
    """Build ShuffleNet of 8 groups."""
    return ShuffleNet(8, num_classes=num_classes, in_channels=in_channels)

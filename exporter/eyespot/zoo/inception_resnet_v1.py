"""Inception-ResNet-v1: Szegedy, Ioffe, Vanhoucke and Alemi, 2016, figures 7 and 10 to 15.

Inception-v4, Inception-ResNet and the Impact of Residual Connections on Learning,
arXiv 1602.07261, AAAI 2017.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from eyespot.zoo.inception_v4 import INCEPTION, PAPER
from eyespot.zoo.initialisation import initialise
from eyespot.zoo.registry import register_model

# The paper scales residuals by "between 0.1 and 0.3"; the authors' code for the second version
# has these, for 35x35, 17x17 and 8x8 maps.
SCALES = (0.17, 0.10, 0.20)


class ConvUnit(nn.Module):
    """Convolution, batch normalisation, rectifier."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        *,
        stride: int = 1,
        padding: int | tuple[int, int] = 0,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            in_channels, out_channels, kernel_size, stride=stride, padding=padding, bias=False
        )
        self.norm = nn.BatchNorm2d(out_channels, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        """Give (B, out_channels, H', W')."""
        return functional.relu(self.norm(self.conv(x)))


class Branches(nn.Module):
    """Several paths side by side, their channels concatenated."""

    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        """Give (B, channels of all branches, H', W')."""
        return torch.cat([branch(x) for branch in self.branches], 1)


class ResidualBlock(nn.Module):
    """An Inception block as a residual: expanded to the input's width, scaled, added, rectified."""

    def __init__(self, channels: int, branches: Branches, width: int, *, scale: float) -> None:
        super().__init__()
        self.branches = branches
        # Neither normalised nor rectified: the paper's "1x1 Conv (Linear)".
        self.expand = nn.Conv2d(width, channels, 1)
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        """Give (B, channels, H, W), as the input is."""
        residual = self.expand(self.branches(x))  # -> (B, width, H, W) -> (B, channels, H, W)
        return functional.relu(x + self.scale * residual)


def block_a(channels: int) -> ResidualBlock:
    """Build Inception-ResNet-A, for 35x35 maps (figure 10)."""
    branches = Branches(
        ConvUnit(channels, 32, 1),
        nn.Sequential(ConvUnit(channels, 32, 1), ConvUnit(32, 32, 3, padding=1)),
        nn.Sequential(
            ConvUnit(channels, 32, 1),
            ConvUnit(32, 32, 3, padding=1),
            ConvUnit(32, 32, 3, padding=1),
        ),
    )
    return ResidualBlock(channels, branches, 96, scale=SCALES[0])


def block_b(channels: int) -> ResidualBlock:
    """Build Inception-ResNet-B, for 17x17 maps (figure 11)."""
    branches = Branches(
        ConvUnit(channels, 128, 1),
        nn.Sequential(
            ConvUnit(channels, 128, 1),
            ConvUnit(128, 128, (1, 7), padding=(0, 3)),
            ConvUnit(128, 128, (7, 1), padding=(3, 0)),
        ),
    )
    return ResidualBlock(channels, branches, 256, scale=SCALES[1])


def block_c(channels: int) -> ResidualBlock:
    """Build Inception-ResNet-C, for 8x8 maps (figure 13)."""
    branches = Branches(
        ConvUnit(channels, 192, 1),
        nn.Sequential(
            ConvUnit(channels, 192, 1),
            ConvUnit(192, 192, (1, 3), padding=(0, 1)),
            ConvUnit(192, 192, (3, 1), padding=(1, 0)),
        ),
    )
    return ResidualBlock(channels, branches, 384, scale=SCALES[2])


def reduction_a(channels: int) -> Branches:
    """Build Reduction-A, from 35x35 to 17x17, of k, l, m, n = 192, 192, 256, 384 (figure 7)."""
    return Branches(
        nn.MaxPool2d(3, stride=2),
        ConvUnit(channels, 384, 3, stride=2),
        nn.Sequential(
            ConvUnit(channels, 192, 1),
            ConvUnit(192, 192, 3, padding=1),
            ConvUnit(192, 256, 3, stride=2),
        ),
    )


def reduction_b(channels: int) -> Branches:
    """Build Reduction-B, from 17x17 to 8x8 (figure 12)."""
    return Branches(
        nn.MaxPool2d(3, stride=2),
        nn.Sequential(ConvUnit(channels, 256, 1), ConvUnit(256, 384, 3, stride=2)),
        nn.Sequential(ConvUnit(channels, 256, 1), ConvUnit(256, 256, 3, stride=2)),
        nn.Sequential(
            ConvUnit(channels, 256, 1),
            ConvUnit(256, 256, 3, padding=1),
            ConvUnit(256, 256, 3, stride=2),
        ),
    )


def stem(in_channels: int) -> nn.Sequential:
    """Build what comes before the blocks, from 299x299 to 35x35 (figure 14)."""
    return nn.Sequential(
        ConvUnit(in_channels, 32, 3, stride=2),  # -> (B, 32, 149, 149)
        ConvUnit(32, 32, 3),  # -> (B, 32, 147, 147)
        ConvUnit(32, 64, 3, padding=1),  # -> (B, 64, 147, 147)
        nn.MaxPool2d(3, stride=2),  # -> (B, 64, 73, 73)
        ConvUnit(64, 80, 1),  # -> (B, 80, 73, 73)
        ConvUnit(80, 192, 3),  # -> (B, 192, 71, 71)
        ConvUnit(192, 256, 3, stride=2),  # -> (B, 256, 35, 35)
    )


class InceptionResNetV1(nn.Module):
    """Five, ten and five residual blocks at three sizes of the maps (figure 15)."""

    def __init__(self, *, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.stem = stem(in_channels)
        self.blocks_a = nn.Sequential(*(block_a(256) for _ in range(5)))
        self.reduction_a = reduction_a(256)
        self.blocks_b = nn.Sequential(*(block_b(896) for _ in range(10)))
        self.reduction_b = reduction_b(896)
        self.blocks_c = nn.Sequential(*(block_c(1792) for _ in range(5)))
        self.dropout = nn.Dropout(0.2)
        self.linear = nn.Linear(1792, num_classes)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Give the logits, (B, num_classes)."""
        x = self.stem(x)  # (B, C, 299, 299) -> (B, 256, 35, 35)
        x = self.reduction_a(self.blocks_a(x))  # -> (B, 896, 17, 17)
        x = self.reduction_b(self.blocks_b(x))  # -> (B, 1792, 8, 8)
        x = self.blocks_c(x)
        x = torch.flatten(functional.adaptive_avg_pool2d(x, 1), 1)  # -> (B, 1792)
        logits: Tensor = self.linear(self.dropout(x))  # -> (B, num_classes)
        return logits


@register_model(
    "inception_resnet_v1",
    paper=PAPER,
    year=2016,
    input_size=(3, 299, 299),
    min_input_size=75,
    num_classes=1000,
    parameter_count=22_756_328,
    macs=6_206_361_696,
    receptive_field=1567,
    departures="None in the network; residuals are scaled by 0.17, 0.10 and 0.20, where the paper "
    "says between 0.1 and 0.3; random weights after He et al. 2015.",
    preprocessing=INCEPTION,
)
def inception_resnet_v1(*, num_classes: int, in_channels: int, input_size: int) -> nn.Module:
    """Build Inception-ResNet-v1; its pooling takes any `input_size` from 75 on."""
    return InceptionResNetV1(num_classes=num_classes, in_channels=in_channels)

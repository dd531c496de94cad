"""DenseNet for CIFAR-10: Huang, Liu, van der Maaten and Weinberger, 2016, section 4.2.

Densely Connected Convolutional Networks, arXiv 1608.06993, CVPR 2017.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from eyespot.v1.preprocessing import PreprocessingRule
from eyespot.zoo.densenet import PAPER
from eyespot.zoo.initialisation import initialise
from eyespot.zoo.registry import register_model

_BLOCKS = 3

# Mean and deviation of CIFAR-10's own training pictures, out of 255, as the authors' code has them.
CIFAR10 = PreprocessingRule(
    resize_size=(32, 32),
    crop_size=None,
    interpolation="bilinear",
    color_order="RGB",
    mean=(125.3 / 255, 123.0 / 255, 113.9 / 255),
    std=(63.0 / 255, 62.1 / 255, 66.7 / 255),
)


class DenseLayer(nn.Module):
    """Batch normalisation, rectifier, 3x3 convolution to `growth_rate` maps."""

    def __init__(self, in_channels: int, growth_rate: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(in_channels)
        self.conv = nn.Conv2d(in_channels, growth_rate, 3, padding=1, bias=False)

    def forward(self, earlier: list[Tensor]) -> Tensor:
        """Give new maps, (B, growth_rate, H, W), from all the earlier ones of the block."""
        x = torch.cat(earlier, 1)  # -> (B, in_channels, H, W)
        new: Tensor = self.conv(functional.relu(self.norm(x)))  # -> (B, growth_rate, H, W)
        return new


class DenseBlock(nn.Module):
    """Layers of which each sees the block's input and what all layers before it gave."""

    def __init__(self, in_channels: int, growth_rate: int, *, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            DenseLayer(in_channels + i * growth_rate, growth_rate) for i in range(layers)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Give the input and all new maps, (B, in_channels + layers * growth_rate, H, W)."""
        maps = [x]
        for layer in self.layers:
            maps.append(layer(maps))
        return torch.cat(maps, 1)


class Transition(nn.Sequential):
    """Between two blocks: a 1x1 convolution to as many channels, and the maps halved."""

    def __init__(self, channels: int) -> None:
        super().__init__(
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 1, bias=False),
            nn.AvgPool2d(2),  # (B, C, H, W) -> (B, C, H/2, W/2)
        )


class CifarDenseNet(nn.Module):
    """Three dense blocks of (depth - 4) / 3 layers each, without bottleneck or compression."""

    def __init__(self, depth: int, growth_rate: int, *, num_classes: int, in_channels: int) -> None:
        super().__init__()
        layers = (depth - 4) // _BLOCKS
        channels = 16
        self.conv = nn.Conv2d(in_channels, channels, 3, padding=1, bias=False)
        self.blocks = nn.ModuleList()
        self.transitions = nn.ModuleList()
        for index in range(_BLOCKS):
            self.blocks.append(DenseBlock(channels, growth_rate, layers=layers))
            channels += layers * growth_rate
            last = index == _BLOCKS - 1
            self.transitions.append(nn.Identity() if last else Transition(channels))
        self.norm = nn.BatchNorm2d(channels)
        self.linear = nn.Linear(channels, num_classes)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Give the logits, (B, num_classes)."""
        x = self.conv(x)  # (B, C, 32, 32) -> (B, 16, 32, 32)
        for block, transition in zip(self.blocks, self.transitions, strict=True):
            x = transition(block(x))  # -> (B, 160, 16, 16) -> (B, 304, 8, 8) -> (B, 448, 8, 8)
        x = functional.relu(self.norm(x))
        x = torch.flatten(functional.adaptive_avg_pool2d(x, 1), 1)  # -> (B, 448)
        logits: Tensor = self.linear(x)  # -> (B, num_classes)
        return logits


@register_model(
    "densenet40_k12",
    paper=PAPER,
    year=2016,
    input_size=(3, 32, 32),
    min_input_size=4,
    num_classes=10,
    parameter_count=1_019_722,
    macs=264_812_928,
    receptive_field=174,
    departures="None in the network: L = 40, k = 12, without bottleneck or compression. The "
    "paper's dropout of 20 %, for training without augmentation, is left out; the last linear "
    "layer of random weights keeps the variance of its input.",
    preprocessing=CIFAR10,
)
def densenet40_k12(*, num_classes: int, in_channels: int, input_size: int) -> nn.Module:
    """Build DenseNet-40 of growth rate 12; its pooling takes any `input_size` from 4 on."""
    return CifarDenseNet(40, 12, num_classes=num_classes, in_channels=in_channels)

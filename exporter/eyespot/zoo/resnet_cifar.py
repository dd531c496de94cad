"""Residual networks for CIFAR-10: He, Zhang, Ren and Sun, 2015, section 4.2.

Deep Residual Learning for Image Recognition, arXiv 1512.03385, CVPR 2016. The names of the layers
are those of the checkpoints that circulate (github.com/akamaster/pytorch_resnet_cifar10).
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from eyespot.v1.preprocessing import PreprocessingRule
from eyespot.zoo.initialisation import temper_residuals
from eyespot.zoo.registry import register_model
from eyespot.zoo.resnet import PAPER

CIFAR10 = PreprocessingRule(
    resize_size=(32, 32),
    crop_size=None,
    interpolation="bilinear",
    color_order="RGB",
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
)


class IdentityShortcut(nn.Module):
    """The paper's option A: every other pixel, and zeros for the channels to come.

    It has no parameters.
    """

    def __init__(self, in_channels: int, out_channels: int, *, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.added_channels = out_channels - in_channels

    def forward(self, x: Tensor) -> Tensor:
        """Carry the input past the block, to the block's shape."""
        if self.stride > 1:
            x = x[:, :, :: self.stride, :: self.stride]  # (B, C, H, W) -> (B, C, H/2, W/2)
        if self.added_channels:
            before = self.added_channels // 2
            # Pairs from the last dimension on -> (B, C + added, H/2, W/2)
            x = functional.pad(x, (0, 0, 0, 0, before, self.added_channels - before))
        return x


class PlainBlock(nn.Module):
    """Two 3x3 convolutions and nothing past them."""

    def __init__(self, in_channels: int, out_channels: int, *, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)

    def residual(self, x: Tensor) -> Tensor:
        """Give what comes before the last rectifier: (B, C, H, W) -> (B, C', H', W')."""
        x = functional.relu(self.bn1(self.conv1(x)))  # -> (B, C', H/stride, W/stride)
        residual: Tensor = self.bn2(self.conv2(x))
        return residual

    def forward(self, x: Tensor) -> Tensor:
        """Give the rectified residual alone."""
        return functional.relu(self.residual(x))


class BasicBlock(PlainBlock):
    """The same, and a shortcut past them."""

    def __init__(self, in_channels: int, out_channels: int, *, stride: int) -> None:
        super().__init__(in_channels, out_channels, stride=stride)
        self.shortcut = IdentityShortcut(in_channels, out_channels, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        """Add the residual to the input."""
        return functional.relu(self.residual(x) + self.shortcut(x))


class CifarNetwork(nn.Module):
    """Three stages of `blocks` blocks with 16, 32 and 64 channels: 6 * blocks + 2 layers."""

    def __init__(
        self, block: type[PlainBlock], *, blocks: int, num_classes: int, in_channels: int
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = _stage(block, 16, 16, blocks=blocks, stride=1)
        self.layer2 = _stage(block, 16, 32, blocks=blocks, stride=2)
        self.layer3 = _stage(block, 32, 64, blocks=blocks, stride=2)
        self.linear = nn.Linear(64, num_classes)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(layer.weight)
        residuals = [part for part in self.modules() if isinstance(part, BasicBlock)]
        temper_residuals([part.bn2 for part in residuals])

    def forward(self, x: Tensor) -> Tensor:
        """Give the logits, (B, num_classes)."""
        x = functional.relu(self.bn1(self.conv1(x)))  # (B, C, 32, 32) -> (B, 16, 32, 32)
        x = self.layer1(x)
        x = self.layer2(x)  # -> (B, 32, 16, 16)
        x = self.layer3(x)  # -> (B, 64, 8, 8)
        x = torch.flatten(functional.adaptive_avg_pool2d(x, 1), 1)  # -> (B, 64)
        logits: Tensor = self.linear(x)  # -> (B, num_classes)
        return logits


def _stage(
    block: type[PlainBlock], in_channels: int, out_channels: int, *, blocks: int, stride: int
) -> nn.Sequential:
    first = block(in_channels, out_channels, stride=stride)
    rest = (block(out_channels, out_channels, stride=1) for _ in range(blocks - 1))
    return nn.Sequential(first, *rest)


def _build(
    block: type[PlainBlock], blocks: int, *, num_classes: int, in_channels: int, input_size: int
) -> nn.Module:
    """Build a CIFAR network; its pooling takes any `input_size`."""
    return CifarNetwork(block, blocks=blocks, num_classes=num_classes, in_channels=in_channels)


def _register(
    name: str,
    block: type[PlainBlock],
    *,
    blocks: int,
    parameter_count: int,
    macs: int,
    receptive_field: int,
) -> None:
    shortcuts = (
        "Shortcuts are of option A, as in the paper's section 4.2; random residual branches "
        "begin small. "
        if block is BasicBlock
        else ""
    )
    register_model(
        name,
        paper=PAPER,
        year=2015,
        input_size=(3, 32, 32),
        min_input_size=1,
        num_classes=10,
        parameter_count=parameter_count,
        macs=macs,
        receptive_field=receptive_field,
        departures=f"None in the network. {shortcuts}"
        "Pixels are normalised with ImageNet's mean and standard deviation, as the circulating "
        "checkpoints want it, where the paper subtracts the mean picture.",
        preprocessing=CIFAR10,
    )(partial(_build, block, blocks))


_register(
    "resnet20",
    BasicBlock,
    blocks=3,
    parameter_count=269_722,
    macs=40_551_040,
    receptive_field=81,
)
_register(
    "resnet32",
    BasicBlock,
    blocks=5,
    parameter_count=464_154,
    macs=68_862_592,
    receptive_field=137,
)
_register(
    "resnet44",
    BasicBlock,
    blocks=7,
    parameter_count=658_586,
    macs=97_174_144,
    receptive_field=193,
)
_register(
    "resnet56",
    BasicBlock,
    blocks=9,
    parameter_count=853_018,
    macs=125_485_696,
    receptive_field=249,
)
_register(
    "resnet110",
    BasicBlock,
    blocks=18,
    parameter_count=1_727_962,
    macs=252_887_680,
    receptive_field=501,
)
_register(
    "plain20",
    PlainBlock,
    blocks=3,
    parameter_count=269_722,
    macs=40_551_040,
    receptive_field=81,
)
_register(
    "plain56",
    PlainBlock,
    blocks=9,
    parameter_count=853_018,
    macs=125_485_696,
    receptive_field=249,
)

"""Pre-activation residual networks: He, Zhang, Ren and Sun, 2016.

Identity Mappings in Deep Residual Networks, arXiv 1603.05027, ECCV 2016. Normalisation and
rectifier stand before a convolution, so that the sum goes from unit to unit untouched. Where a
unit changes the shape, its input is activated before branch and shortcut part, as in the authors'
code (github.com/KaimingHe/resnet-1k-layers).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from eyespot.v1.preprocessing import IMAGENET, PreprocessingRule
from eyespot.zoo.initialisation import initialise, temper_residuals
from eyespot.zoo.registry import register_model

PAPER = (
    "He, Zhang, Ren and Sun: Identity Mappings in Deep Residual Networks, "
    "arXiv 1603.05027, ECCV 2016"
)

# Mean and standard deviation of CIFAR-10's own training pictures.
CIFAR10 = PreprocessingRule(
    resize_size=(32, 32),
    crop_size=None,
    interpolation="bilinear",
    color_order="RGB",
    mean=(125.3 / 255, 123.0 / 255, 113.9 / 255),
    std=(63.0 / 255, 62.1 / 255, 66.7 / 255),
)


class PreActivation(nn.Module):
    """A unit: its branch is the subclass's; the shortcut is the input, or a 1x1 convolution of it.

    Args:
        in_channels: Of the input.
        out_channels: Of the output; the shortcut is a convolution where they differ.
        stride: Of the shortcut.
        is_activated: The input comes activated, as the first unit's behind a stem.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, stride: int, is_activated: bool
    ) -> None:
        super().__init__()
        self.bn1 = None if is_activated else nn.BatchNorm2d(in_channels)
        self.shortcut = (
            nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False)
            if in_channels != out_channels
            else None
        )

    def branch(self, activated: Tensor) -> Tensor:
        """Give what is added to the shortcut."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Add the branch to the shortcut: (B, C, H, W) -> (B, C', H/stride, W/stride)."""
        activated = x if self.bn1 is None else functional.relu(self.bn1(x))
        return self.branch(activated) + (x if self.shortcut is None else self.shortcut(activated))


class BasicUnit(PreActivation):
    """Two 3x3 convolutions."""

    expansion = 1

    def __init__(
        self, in_channels: int, width: int, *, stride: int, is_activated: bool = False
    ) -> None:
        super().__init__(in_channels, width, stride=stride, is_activated=is_activated)
        self.conv1 = nn.Conv2d(in_channels, width, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)

    @property
    def last(self) -> nn.Conv2d:
        """The convolution that ends the branch."""
        return self.conv2

    def branch(self, activated: Tensor) -> Tensor:
        """Give what is added to the shortcut."""
        x = self.conv1(activated)  # (B, C, H, W) -> (B, C', H/stride, W/stride)
        residual: Tensor = self.conv2(functional.relu(self.bn2(x)))
        return residual


class BottleneckUnit(PreActivation):
    """A 3x3 convolution between two of 1x1; the stride is in the first."""

    expansion = 4

    def __init__(
        self, in_channels: int, width: int, *, stride: int, is_activated: bool = False
    ) -> None:
        out_channels = width * self.expansion
        super().__init__(in_channels, out_channels, stride=stride, is_activated=is_activated)
        self.conv1 = nn.Conv2d(in_channels, width, 1, stride=stride, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out_channels, 1, bias=False)

    @property
    def last(self) -> nn.Conv2d:
        """The convolution that ends the branch."""
        return self.conv3

    def branch(self, activated: Tensor) -> Tensor:
        """Give what is added to the shortcut."""
        x = self.conv1(activated)  # (B, C, H, W) -> (B, W, H/stride, W/stride)
        x = self.conv2(functional.relu(self.bn2(x)))
        residual: Tensor = self.conv3(functional.relu(self.bn3(x)))  # -> (B, 4W, ...)
        return residual


Unit = type[BasicUnit] | type[BottleneckUnit]


class CifarPreActResNet(nn.Module):
    """Three stages of `units` units, whose 3x3 convolutions have `widths` channels."""

    def __init__(
        self,
        unit: Unit,
        *,
        units: int,
        widths: tuple[int, int, int],
        num_classes: int,
        in_channels: int,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, 16, 3, padding=1, bias=False)
        channels = [16, *(width * unit.expansion for width in widths)]
        self.layer1 = _stage(unit, channels[0], widths[0], units=units, stride=1)
        self.layer2 = _stage(unit, channels[1], widths[1], units=units, stride=2)
        self.layer3 = _stage(unit, channels[2], widths[2], units=units, stride=2)
        self.bn = nn.BatchNorm2d(channels[3])
        self.fc = nn.Linear(channels[3], num_classes)
        _draw(self)

    def forward(self, x: Tensor) -> Tensor:
        """Give the logits, (B, num_classes)."""
        x = self.conv1(x)  # (B, C, 32, 32) -> (B, 16, 32, 32)
        x = self.layer1(x)  # -> (B, channels[1], 32, 32)
        x = self.layer2(x)  # -> (B, channels[2], 16, 16)
        x = self.layer3(x)  # -> (B, channels[3], 8, 8)
        x = functional.relu(self.bn(x))
        x = torch.flatten(functional.adaptive_avg_pool2d(x, 1), 1)  # -> (B, channels[3])
        logits: Tensor = self.fc(x)  # -> (B, num_classes)
        return logits


class PreActResNet18(nn.Module):
    """ResNet-18's layout for ImageNet: a stem of 7x7, and four stages of two units."""

    def __init__(self, *, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1 = _stage(BasicUnit, 64, 64, units=2, stride=1, is_activated=True)
        self.layer2 = _stage(BasicUnit, 64, 128, units=2, stride=2)
        self.layer3 = _stage(BasicUnit, 128, 256, units=2, stride=2)
        self.layer4 = _stage(BasicUnit, 256, 512, units=2, stride=2)
        self.bn = nn.BatchNorm2d(512)
        self.fc = nn.Linear(512, num_classes)
        _draw(self)

    def forward(self, x: Tensor) -> Tensor:
        """Give the logits, (B, num_classes)."""
        x = functional.relu(self.bn1(self.conv1(x)))  # (B, 3, 224, 224) -> (B, 64, 112, 112)
        x = self.maxpool(x)  # -> (B, 64, 56, 56)
        x = self.layer1(x)
        x = self.layer2(x)  # -> (B, 128, 28, 28)
        x = self.layer3(x)  # -> (B, 256, 14, 14)
        x = self.layer4(x)  # -> (B, 512, 7, 7)
        x = functional.relu(self.bn(x))
        x = torch.flatten(functional.adaptive_avg_pool2d(x, 1), 1)  # -> (B, 512)
        logits: Tensor = self.fc(x)  # -> (B, num_classes)
        return logits


def _stage(
    unit: Unit,
    in_channels: int,
    width: int,
    *,
    units: int,
    stride: int,
    is_activated: bool = False,
) -> nn.Sequential:
    first = unit(in_channels, width, stride=stride, is_activated=is_activated)
    rest = (unit(width * unit.expansion, width, stride=1) for _ in range(units - 1))
    return nn.Sequential(first, *rest)


def _draw(network: nn.Module) -> None:
    initialise(network)
    units = [part for part in network.modules() if isinstance(part, BasicUnit | BottleneckUnit)]
    temper_residuals([unit.last for unit in units])


@register_model(
    "preact_resnet18",
    paper=PAPER,
    year=2016,
    input_size=(3, 224, 224),
    min_input_size=1,
    num_classes=1000,
    parameter_count=11_687_720,
    macs=1_814_073_344,
    receptive_field=435,
    departures="None in the units; the paper has no network of 18 layers for ImageNet: this is "
    "ResNet-18 by its appendix's rules for the first and the last unit. Random residual branches "
    "begin small.",
    preprocessing=IMAGENET,
)
def preact_resnet18(*, num_classes: int, in_channels: int, input_size: int) -> nn.Module:
    """Build the ImageNet layout of 18 layers; its pooling takes any `input_size`."""
    return PreActResNet18(num_classes=num_classes, in_channels=in_channels)


@register_model(
    "preact_resnet164",
    paper=PAPER,
    year=2016,
    input_size=(3, 32, 32),
    min_input_size=1,
    num_classes=10,
    parameter_count=1_703_258,
    macs=244_500_992,
    receptive_field=255,
    departures="None in the network; shortcuts that change the shape are 1x1 convolutions, as in "
    "the authors' code. Random residual branches begin small. Pixels are normalised per channel.",
    preprocessing=CIFAR10,
)
def preact_resnet164(*, num_classes: int, in_channels: int, input_size: int) -> nn.Module:
    """Build the CIFAR network of 3 x 18 bottlenecks; its pooling takes any `input_size`."""
    return CifarPreActResNet(
        BottleneckUnit,
        units=18,
        widths=(16, 32, 64),
        num_classes=num_classes,
        in_channels=in_channels,
    )

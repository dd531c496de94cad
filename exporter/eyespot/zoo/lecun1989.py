"""The network of the zip codes: LeCun, Boser, Denker, Henderson, Howard, Hubbard and Jackel, 1989.

Backpropagation Applied to Handwritten Zip Code Recognition, Neural Computation 1(4). The first
convolutional network that backpropagation trained on real pictures; layer names are the paper's.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from eyespot.v1.preprocessing import PreprocessingRule
from eyespot.zoo.lenet5 import PartialConvolution, squash
from eyespot.zoo.registry import register_model

# Background (0) becomes -1 and ink (1) becomes 1.
ZIP_DIGITS = PreprocessingRule(
    resize_size=(16, 16),
    crop_size=None,
    interpolation="bilinear",
    color_order="GRAY",
    mean=(0.5,),
    std=(0.5,),
)

MAPS = 12
SOURCES = 8
KERNEL = 5
# Beyond the edge every plane shows background.
BACKGROUND = -1.0

# For each map of H2, the eight maps of H1 that it sees; each map of H1 is seen by eight.
H2_CONNECTIONS = tuple(
    tuple(sorted((target + step) % MAPS for step in range(SOURCES))) for target in range(MAPS)
)


class ZipCodeNetwork(nn.Module):
    """The network of 1989; units of a map share their kernel, but each has its own bias."""

    def __init__(self, *, num_classes: int, in_channels: int, input_size: int) -> None:
        super().__init__()
        h1_side = _halved(input_size)
        h2_side = _halved(h1_side)
        self.h1 = nn.Conv2d(in_channels, MAPS, KERNEL, stride=2, bias=False)
        _draw(self.h1.weight, fan_in=in_channels * KERNEL**2)
        self.h1_bias = _drawn(MAPS, h1_side, h1_side, fan_in=in_channels * KERNEL**2)
        self.h2 = PartialConvolution(H2_CONNECTIONS, kernel_size=KERNEL, stride=2, has_bias=False)
        self.h2_bias = _drawn(MAPS, h2_side, h2_side, fan_in=SOURCES * KERNEL**2)
        self.h3 = nn.Linear(MAPS * h2_side**2, 30)
        self.output = nn.Linear(30, num_classes)
        for layer in (self.h3, self.output):
            _draw(layer.weight, fan_in=layer.in_features)
            _draw(layer.bias, fan_in=layer.in_features)

    def forward(self, x: Tensor) -> Tensor:
        """Give the outputs, (B, num_classes); the targets are +1 for the class and -1."""
        x = squash(self.h1(_surround(x)) + self.h1_bias)  # (B, 1, 16, 16) -> (B, 12, 8, 8)
        x = squash(self.h2(_surround(x)) + self.h2_bias)  # -> (B, 12, 4, 4)
        x = squash(self.h3(torch.flatten(x, 1)))  # -> (B, 192) -> (B, 30)
        return squash(self.output(x))  # -> (B, num_classes)


def _surround(x: Tensor) -> Tensor:
    return functional.pad(x, (2, 2, 2, 2), value=BACKGROUND)  # (B, C, H, W) -> (B, C, H+4, W+4)


def _halved(side: int) -> int:
    return (side + 1) // 2


def _drawn(*shape: int, fan_in: int) -> nn.Parameter:
    parameter = nn.Parameter(torch.empty(shape))
    _draw(parameter, fan_in=fan_in)
    return parameter


def _draw(parameter: Tensor, *, fan_in: int) -> None:
    """Draw uniformly from ±2.4 / fan_in, so that sums stay where the squashing is not flat."""
    bound = 2.4 / fan_in
    nn.init.uniform_(parameter, -bound, bound)


@register_model(
    "lecun1989",
    paper="LeCun et al.: Backpropagation Applied to Handwritten Zip Code Recognition, Neural "
    "Computation 1(4), 1989",
    year=1989,
    input_size=(1, 16, 16),
    min_input_size=1,
    num_classes=10,
    parameter_count=9_760,
    macs=82_860,
    receptive_field=13,
    departures="The paper does not print which eight maps of H1 a map of H2 sees: here they are "
    "eight in a row, beginning with its own number and going round.",
    preprocessing=ZIP_DIGITS,
)
def lecun1989(*, num_classes: int, in_channels: int, input_size: int) -> nn.Module:
    """Build the network of 1989; its maps and H3 grow with `input_size`."""
    return ZipCodeNetwork(num_classes=num_classes, in_channels=in_channels, input_size=input_size)

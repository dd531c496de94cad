"""The worked example: how many weights a small convolutional network has, and why so few.

A picture of 30x30 pixels, ten 5x5 filters without a margin, 2x2 pooling and 200 units: 260
parameters in the convolution, and 338,200 in the full layer behind it. It follows the pattern of
LeCun et al.: Backpropagation Applied to Handwritten Zip Code Recognition, Neural Computation 1(4),
1989.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from eyespot.v1.preprocessing import PreprocessingRule
from eyespot.zoo.initialisation import initialise
from eyespot.zoo.registry import register_model

GREY_30 = PreprocessingRule(
    resize_size=(30, 30),
    crop_size=None,
    interpolation="bilinear",
    color_order="GRAY",
    mean=(0.5,),
    std=(0.5,),
)
_FILTERS = 10


class ArticleExample(nn.Module):
    """A convolution, a pooling, and units that see all that is left."""

    def __init__(self, *, num_classes: int, in_channels: int, input_size: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, _FILTERS, 5)
        side = (input_size - 4) // 2
        self.fc = nn.Linear(_FILTERS * side * side, num_classes)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Give the units' values, (B, num_classes)."""
        x = functional.relu(self.conv(x))  # (B, 1, 30, 30) -> (B, 10, 26, 26)
        x = functional.max_pool2d(x, 2)  # -> (B, 10, 13, 13)
        units: Tensor = self.fc(torch.flatten(x, 1))  # -> (B, 1690) -> (B, 200)
        return units


@register_model(
    "article_example",
    paper="LeCun et al.: Backpropagation Applied to Handwritten Zip Code Recognition, Neural "
    "Computation 1(4), 1989, of whose kind of network it is a small example",
    year=1989,
    input_size=(1, 30, 30),
    min_input_size=6,
    num_classes=200,
    parameter_count=338_460,
    macs=507_000,
    receptive_field=6,
    departures="The example counts weights and names no more than sizes: rectifiers, max pooling "
    "and random weights after He et al. 2015 are ours. Its 200 units are the output.",
    preprocessing=GREY_30,
)
def article_example(*, num_classes: int, in_channels: int, input_size: int) -> nn.Module:
    """Build the example; its full layer grows with `input_size`."""
    return ArticleExample(num_classes=num_classes, in_channels=in_channels, input_size=input_size)

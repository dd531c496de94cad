"""ZFNet: Zeiler and Fergus, 2013: AlexNet with a first layer that sees finer detail.

Visualizing and Understanding Convolutional Networks, arXiv 1311.2901, ECCV 2014; the network of
figure 3.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from eyespot.v1.preprocessing import IMAGENET
from eyespot.zoo.alexnet import response_normalisation
from eyespot.zoo.initialisation import initialise
from eyespot.zoo.registry import register_model


class ZFNet(nn.Module):
    """Five convolutions, without groups, and three full layers."""

    def __init__(self, *, num_classes: int, in_channels: int, input_size: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, 96, 7, stride=2, padding=1)
        # Rounded up, as figure 3's maps of 55x55 and 13x13 want it.
        self.pool1 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.norm1 = response_normalisation()
        self.conv2 = nn.Conv2d(96, 256, 5, stride=2)
        self.pool2 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.norm2 = response_normalisation()
        self.conv3 = nn.Conv2d(256, 384, 3, padding=1)
        self.conv4 = nn.Conv2d(384, 384, 3, padding=1)
        self.conv5 = nn.Conv2d(384, 256, 3, padding=1)
        self.pool5 = nn.MaxPool2d(3, stride=2)
        self.fc6 = nn.Linear(256 * _last_map_size(input_size) ** 2, 4096)
        self.fc7 = nn.Linear(4096, 4096)
        self.fc8 = nn.Linear(4096, num_classes)
        self.dropout = nn.Dropout(0.5)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Give the logits, (B, num_classes)."""
        x = functional.relu(self.conv1(x))  # (B, 3, 224, 224) -> (B, 96, 110, 110)
        x = self.norm1(self.pool1(x))  # -> (B, 96, 55, 55)
        x = functional.relu(self.conv2(x))  # -> (B, 256, 26, 26)
        x = self.norm2(self.pool2(x))  # -> (B, 256, 13, 13)
        x = functional.relu(self.conv3(x))  # -> (B, 384, 13, 13)
        x = functional.relu(self.conv4(x))
        x = functional.relu(self.conv5(x))  # -> (B, 256, 13, 13)
        x = torch.flatten(self.pool5(x), 1)  # -> (B, 256, 6, 6) -> (B, 9216)
        x = self.dropout(functional.relu(self.fc6(x)))  # -> (B, 4096)
        x = self.dropout(functional.relu(self.fc7(x)))
        logits: Tensor = self.fc8(x)  # -> (B, num_classes)
        return logits


def _last_map_size(input_size: int) -> int:
    """Height and width behind two strided convolutions and three poolings: 224 -> 6."""
    first = ((input_size - 5) // 2 + 1) // 2  # a pooling rounded up halves what it rounds down
    second = ((first - 5) // 2 + 1) // 2
    return (second - 3) // 2 + 1


@register_model(
    "zfnet",
    paper="Zeiler and Fergus: Visualizing and Understanding Convolutional Networks, "
    "arXiv 1311.2901, ECCV 2014",
    year=2013,
    input_size=(3, 224, 224),
    min_input_size=63,
    num_classes=1000,
    parameter_count=62_357_608,
    macs=1_168_032_896,
    receptive_field=171,
    departures="The paper names the contrast normalisation without its constants: AlexNet's are "
    "taken, and it follows pooling as in the paper's figure 3. Filters are not renormalised to a "
    "fixed norm in training. Random weights after He et al. 2015. Pixels are divided by their "
    "standard deviation, where the paper subtracts the mean picture alone.",
    preprocessing=IMAGENET,
)
def zfnet(*, num_classes: int, in_channels: int, input_size: int) -> nn.Module:
    """Build ZFNet; its first full layer grows with `input_size`."""
    return ZFNet(num_classes=num_classes, in_channels=in_channels, input_size=input_size)

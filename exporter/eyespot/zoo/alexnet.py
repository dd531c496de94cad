"""AlexNet: Krizhevsky, Sutskever and Hinton, 2012; the paper's network and torchvision's module.

ImageNet Classification with Deep Convolutional Neural Networks, NeurIPS 2012. `alexnet` is the
single tower of 2014 that torchvision has, `alexnet_2012` the network of the paper, whose section
3 the comments name.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn
from torch.nn import functional

from eyespot.v1.preprocessing import IMAGENET
from eyespot.zoo.initialisation import initialise
from eyespot.zoo.input_channels import replace_input_layer
from eyespot.zoo.registry import register_model
from eyespot.zoo.torchvision_models import load_torchvision

PAPER = (
    "Krizhevsky, Sutskever and Hinton: ImageNet Classification with Deep Convolutional "
    "Neural Networks, NeurIPS 2012"
)


def response_normalisation() -> nn.LocalResponseNorm:
    """Divide by the activity of the five nearest maps: section 3.3, k=2, n=5, 1e-4 and 0.75."""
    neighbours = 5
    # PyTorch takes the mean of the squares where the paper takes their sum.
    return nn.LocalResponseNorm(neighbours, alpha=1e-4 * neighbours, beta=0.75, k=2.0)


class AlexNet2012(nn.Module):
    """The network of figure 2: two halves on two GPUs, which meet in conv3 and the full layers."""

    def __init__(self, *, num_classes: int, in_channels: int, input_size: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, 96, 11, stride=4)
        self.norm1 = response_normalisation()
        self.conv2 = nn.Conv2d(96, 256, 5, padding=2, groups=2)
        self.norm2 = response_normalisation()
        self.conv3 = nn.Conv2d(256, 384, 3, padding=1)
        self.conv4 = nn.Conv2d(384, 384, 3, padding=1, groups=2)
        self.conv5 = nn.Conv2d(384, 256, 3, padding=1, groups=2)
        self.pool = nn.MaxPool2d(3, stride=2)  # overlapping: section 3.4
        self.fc6 = nn.Linear(256 * _last_map_size(input_size) ** 2, 4096)
        self.fc7 = nn.Linear(4096, 4096)
        self.fc8 = nn.Linear(4096, num_classes)
        self.dropout = nn.Dropout(0.5)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Give the logits, (B, num_classes)."""
        x = self.norm1(functional.relu(self.conv1(x)))  # (B, 3, 227, 227) -> (B, 96, 55, 55)
        x = self.pool(x)  # -> (B, 96, 27, 27)
        x = self.norm2(functional.relu(self.conv2(x)))  # -> (B, 256, 27, 27)
        x = self.pool(x)  # -> (B, 256, 13, 13)
        x = functional.relu(self.conv3(x))  # -> (B, 384, 13, 13)
        x = functional.relu(self.conv4(x))
        x = functional.relu(self.conv5(x))  # -> (B, 256, 13, 13)
        x = torch.flatten(self.pool(x), 1)  # -> (B, 256, 6, 6) -> (B, 9216)
        x = self.dropout(functional.relu(self.fc6(x)))  # -> (B, 4096)
        x = self.dropout(functional.relu(self.fc7(x)))
        logits: Tensor = self.fc8(x)  # -> (B, num_classes)
        return logits


def _last_map_size(input_size: int) -> int:
    """Height and width behind conv1's stride of four and three overlapping poolings: 227 -> 6."""
    size = (input_size - 11) // 4 + 1
    for _ in range(3):
        size = (size - 3) // 2 + 1
    return size


@register_model(
    "alexnet",
    paper=PAPER,
    year=2012,
    input_size=(3, 224, 224),
    min_input_size=63,
    num_classes=1000,
    parameter_count=61_100_840,
    macs=714_188_480,
    receptive_field=195,
    departures="The single tower of Krizhevsky 2014 (arXiv 1404.5997): 64, 192, 384, 256 and 256 "
    "filters and no groups for two GPUs; no local response normalisation; average pooling to 6x6 "
    "before the classifier, which changes nothing at 224x224.",
    preprocessing=IMAGENET,
    torchvision_name="alexnet",
)
def alexnet(*, num_classes: int, in_channels: int, input_size: int) -> nn.Module:
    """Build AlexNet; its pooling takes any `input_size` from 63 on."""
    network: nn.Module = load_torchvision().models.alexnet(num_classes=num_classes)
    replace_input_layer(network, "features.0", in_channels)
    return network


@register_model(
    "alexnet_2012",
    paper=PAPER,
    year=2012,
    input_size=(3, 227, 227),
    min_input_size=67,
    num_classes=1000,
    parameter_count=60_965_224,
    macs=724_406_816,
    receptive_field=195,
    departures="Pictures of 227x227: the paper writes 224, from which its own maps of 55x55 do "
    "not follow. Dropout scales in training what the paper halves in testing. Random weights after "
    "He et al. 2015. Pixels are divided by their standard deviation, where the paper subtracts the "
    "mean picture alone.",
    preprocessing=dataclasses.replace(IMAGENET, crop_size=(227, 227)),
)
def alexnet_2012(*, num_classes: int, in_channels: int, input_size: int) -> nn.Module:
    """Build the network of 2012; its first full layer grows with `input_size`."""
    return AlexNet2012(num_classes=num_classes, in_channels=in_channels, input_size=input_size)

"""Network in Network: Lin, Chen and Yan, 2013.

Network In Network, arXiv 1312.4400, ICLR 2014. A small multilayer perceptron, which is a row of
1x1 convolutions, slides over the picture in place of a linear filter, and the mean of each class's
own map in place of full layers is its logit. The paper's network is for CIFAR; the one for
ImageNet is its authors', published after it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from eyespot.zoo.initialisation import initialise
from eyespot.zoo.registry import register_model
from eyespot.zoo.resnet_cifar import CIFAR10

# The ImageNet network's class maps are 3x3 here, and 6x6 at 224.
IMAGENET_FROM = 128


def mlpconv(
    in_channels: int, *widths: int, kernel_size: int, stride: int = 1, padding: int = 0
) -> nn.Sequential:
    """Make a convolution and the 1x1 convolutions behind it, each with its rectifier."""
    first, *others = widths
    layers = [
        nn.Conv2d(in_channels, first, kernel_size, stride=stride, padding=padding),
        nn.ReLU(inplace=True),
    ]
    for before, width in zip(widths, others, strict=False):
        layers += [nn.Conv2d(before, width, 1), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


class CifarNetworkInNetwork(nn.Module):
    """The network of section 4.2: three perceptrons that slide, two poolings between them."""

    def __init__(self, *, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.mlpconv1 = mlpconv(in_channels, 192, 160, 96, kernel_size=5, padding=2)
        self.mlpconv2 = mlpconv(96, 192, 192, 192, kernel_size=5, padding=2)
        self.mlpconv3 = mlpconv(192, 192, 192, num_classes, kernel_size=3, padding=1)
        self.pool = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.dropout = nn.Dropout(0.5)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Give the logits, (B, num_classes)."""
        x = self.dropout(self.pool(self.mlpconv1(x)))  # (B, 3, 32, 32) -> (B, 96, 16, 16)
        x = self.dropout(self.pool(self.mlpconv2(x)))  # -> (B, 192, 8, 8)
        x = self.mlpconv3(x)  # -> (B, num_classes, 8, 8)
        return _average(x)


class ImageNetNetworkInNetwork(nn.Module):
    """The authors' network for ImageNet: four perceptrons that slide."""

    def __init__(self, *, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.mlpconv1 = mlpconv(in_channels, 96, 96, 96, kernel_size=11, stride=4)
        self.mlpconv2 = mlpconv(96, 256, 256, 256, kernel_size=5, padding=2)
        self.mlpconv3 = mlpconv(256, 384, 384, 384, kernel_size=3, padding=1)
        self.mlpconv4 = mlpconv(384, 1024, 1024, num_classes, kernel_size=3, padding=1)
        self.pool = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.dropout = nn.Dropout(0.5)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Give the logits, (B, num_classes)."""
        x = self.pool(self.mlpconv1(x))  # (B, 3, 224, 224) -> (B, 96, 27, 27)
        x = self.pool(self.mlpconv2(x))  # -> (B, 256, 13, 13)
        x = self.dropout(self.pool(self.mlpconv3(x)))  # -> (B, 384, 6, 6)
        x = self.mlpconv4(x)  # -> (B, num_classes, 6, 6)
        return _average(x)


def _average(maps: Tensor) -> Tensor:
    """Pool globally: (B, K, H, W) -> (B, K)."""
    return torch.flatten(functional.adaptive_avg_pool2d(maps, 1), 1)


@register_model(
    "network_in_network",
    paper="Lin, Chen and Yan: Network In Network, arXiv 1312.4400, ICLR 2014",
    year=2013,
    input_size=(3, 32, 32),
    min_input_size=4,
    num_classes=10,
    parameter_count=966_986,
    macs=222_486_528,
    receptive_field=27,
    departures=f"From {IMAGENET_FROM}x{IMAGENET_FROM} on it is the authors' later network for "
    "ImageNet (7,595,176 parameters at 1000 classes), which the paper does not have. The paper "
    "gives no widths: they are those of the authors' published files, which pool by average the "
    "second time, where the paper and this network take the maximum. Random weights after He et "
    "al. 2015. Pixels are normalised per channel, not by contrast and whitening.",
    preprocessing=CIFAR10,
)
def network_in_network(*, num_classes: int, in_channels: int, input_size: int) -> nn.Module:
    """Build the CIFAR network, or from 128 on the ImageNet one; the pooling takes any size."""
    network = CifarNetworkInNetwork if input_size < IMAGENET_FROM else ImageNetNetworkInNetwork
    return network(num_classes=num_classes, in_channels=in_channels)

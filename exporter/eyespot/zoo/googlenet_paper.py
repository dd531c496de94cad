"""GoogLeNet as its paper has it: Szegedy et al., 2014.

Going Deeper with Convolutions, arXiv 1409.4842, CVPR 2015; the network of table 1 and figure 3,
where torchvision's (`googlenet`) has batch normalisation and no kernel of 5x5.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from eyespot.v1.preprocessing import IMAGENET
from eyespot.zoo.alexnet import response_normalisation
from eyespot.zoo.errors import ArchitectureError
from eyespot.zoo.googlenet import PAPER, drop_auxiliary_heads
from eyespot.zoo.initialisation import initialise
from eyespot.zoo.registry import register_model

AUXILIARY_WEIGHT = 0.3  # of a head's loss in the sum: section 5
_SMALLEST_WITH_HEADS = 79


class TrainingLogits(NamedTuple):
    """What the network gives in training: the logits of its three classifiers, (B, K) each."""

    logits: Tensor
    after_4a: Tensor
    after_4d: Tensor


class Inception(nn.Module):
    """Four views of one map side by side: 1x1, 3x3, 5x5 and pooled; figure 2b.

    Args:
        in_channels: Of the input.
        one: Channels of the 1x1 view.
        three: Of the 3x3 view, after the reduction before it.
        five: Of the 5x5 view, after the reduction before it.
        pooled: Of the projection behind the pooling.
    """

    def __init__(
        self,
        in_channels: int,
        *,
        one: int,
        three: tuple[int, int],
        five: tuple[int, int],
        pooled: int,
    ) -> None:
        super().__init__()
        self.one = nn.Conv2d(in_channels, one, 1)
        self.three_reduce = nn.Conv2d(in_channels, three[0], 1)
        self.three = nn.Conv2d(*three, 3, padding=1)
        self.five_reduce = nn.Conv2d(in_channels, five[0], 1)
        self.five = nn.Conv2d(*five, 5, padding=2)
        self.pool = nn.MaxPool2d(3, stride=1, padding=1)
        self.pool_project = nn.Conv2d(in_channels, pooled, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Join the views: (B, C, H, W) -> (B, one + three + five + pooled, H, W)."""
        views = [
            self.one(x),
            self.three(functional.relu(self.three_reduce(x))),
            self.five(functional.relu(self.five_reduce(x))),
            self.pool_project(self.pool(x)),
        ]
        return functional.relu(torch.cat(views, 1))


class AuxiliaryHead(nn.Module):
    """A classifier on a map of the middle, which brings gradients there; section 5."""

    def __init__(self, in_channels: int, *, map_size: int, num_classes: int) -> None:
        super().__init__()
        self.pool = nn.AvgPool2d(5, stride=3)
        self.conv = nn.Conv2d(in_channels, 128, 1)
        self.fc1 = nn.Linear(128 * ((map_size - 5) // 3 + 1) ** 2, 1024)
        self.dropout = nn.Dropout(0.7)
        self.fc2 = nn.Linear(1024, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Give the logits, (B, num_classes)."""
        x = functional.relu(self.conv(self.pool(x)))  # (B, C, 14, 14) -> (B, 128, 4, 4)
        x = functional.relu(self.fc1(torch.flatten(x, 1)))  # -> (B, 2048) -> (B, 1024)
        logits: Tensor = self.fc2(self.dropout(x))  # -> (B, num_classes)
        return logits


class GoogLeNet(nn.Module):
    """The network of table 1: 22 layers with parameters.

    Args:
        num_classes: Width of each classifier.
        in_channels: Of the input.
        input_size: Height and width; it decides the shape of the auxiliary heads alone.
        auxiliary_heads: With the two classifiers that help training. In evaluation mode they
            take no part.

    Raises:
        ArchitectureError: The input is too small for the heads.
    """

    def __init__(
        self, *, num_classes: int, in_channels: int, input_size: int, auxiliary_heads: bool
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, 64, 7, stride=2, padding=3)
        self.conv2_reduce = nn.Conv2d(64, 64, 1)
        self.conv2 = nn.Conv2d(64, 192, 3, padding=1)
        self.norm = response_normalisation()
        # Rounded up, as table 1's maps of 56, 28, 14 and 7 want it.
        self.pool = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.inception3a = Inception(192, one=64, three=(96, 128), five=(16, 32), pooled=32)
        self.inception3b = Inception(256, one=128, three=(128, 192), five=(32, 96), pooled=64)
        self.inception4a = Inception(480, one=192, three=(96, 208), five=(16, 48), pooled=64)
        self.inception4b = Inception(512, one=160, three=(112, 224), five=(24, 64), pooled=64)
        self.inception4c = Inception(512, one=128, three=(128, 256), five=(24, 64), pooled=64)
        self.inception4d = Inception(512, one=112, three=(144, 288), five=(32, 64), pooled=64)
        self.inception4e = Inception(528, one=256, three=(160, 320), five=(32, 128), pooled=128)
        self.inception5a = Inception(832, one=256, three=(160, 320), five=(32, 128), pooled=128)
        self.inception5b = Inception(832, one=384, three=(192, 384), five=(48, 128), pooled=128)
        self.aux1: AuxiliaryHead | None = None
        self.aux2: AuxiliaryHead | None = None
        if auxiliary_heads:
            self.aux1, self.aux2 = _heads(input_size, num_classes)
        self.dropout = nn.Dropout(0.4)
        self.fc = nn.Linear(1024, num_classes)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor | TrainingLogits:
        """Give the logits, (B, num_classes), and in training those of the heads beside them."""
        x = self.pool(functional.relu(self.conv1(x)))  # (B, 3, 224, 224) -> (B, 64, 56, 56)
        x = functional.relu(self.conv2_reduce(self.norm(x)))
        x = functional.relu(self.conv2(x))  # -> (B, 192, 56, 56)
        x = self.pool(self.norm(x))  # -> (B, 192, 28, 28)
        x = self.inception3b(self.inception3a(x))  # -> (B, 480, 28, 28)
        after_4a = self.inception4a(self.pool(x))  # -> (B, 512, 14, 14)
        after_4d = self.inception4d(self.inception4c(self.inception4b(after_4a)))
        x = self.pool(self.inception4e(after_4d))  # -> (B, 832, 7, 7)
        x = self.inception5b(self.inception5a(x))  # -> (B, 1024, 7, 7)
        x = torch.flatten(functional.adaptive_avg_pool2d(x, 1), 1)  # -> (B, 1024)
        logits: Tensor = self.fc(self.dropout(x))  # -> (B, num_classes)
        if self.training and self.aux1 is not None and self.aux2 is not None:
            return TrainingLogits(logits, self.aux1(after_4a), self.aux2(after_4d))
        return logits


def training_loss(outputs: TrainingLogits, labels: Tensor) -> Tensor:
    """Add up cross-entropies: the last classifier's, and 0.3 of each head's; section 5."""
    last, *heads = (functional.cross_entropy(logits, labels) for logits in outputs)
    return last + AUXILIARY_WEIGHT * torch.stack(heads).sum()


def _heads(input_size: int, num_classes: int) -> tuple[AuxiliaryHead, AuxiliaryHead]:
    if input_size < _SMALLEST_WITH_HEADS:
        raise ArchitectureError(
            f"the auxiliary heads of GoogLeNet need input_size of at least {_SMALLEST_WITH_HEADS}, "
            f"found {input_size}: build it without them"
        )
    # A strided convolution, and three poolings that halve what they get, rounded down.
    map_size = (input_size + 1) // 16
    return (
        AuxiliaryHead(512, map_size=map_size, num_classes=num_classes),
        AuxiliaryHead(528, map_size=map_size, num_classes=num_classes),
    )


@register_model(
    "googlenet_paper",
    paper=PAPER,
    year=2014,
    input_size=(3, 224, 224),
    min_input_size=31,
    num_classes=1000,
    parameter_count=6_998_552,
    macs=1_582_671_872,
    receptive_field=715,
    departures="Without the auxiliary heads, which serve training alone: `GoogLeNet` has them "
    "where they are asked for, and leaves them out of its answer in evaluation. The paper names "
    "the response normalisation without its constants: AlexNet's are taken. Random weights after "
    "He et al. 2015. Pixels are divided by their standard deviation, where the paper subtracts "
    "the mean alone.",
    preprocessing=IMAGENET,
    adapt_state_dict=drop_auxiliary_heads,
)
def googlenet_paper(*, num_classes: int, in_channels: int, input_size: int) -> nn.Module:
    """Build GoogLeNet of the paper; its pooling takes any `input_size` from 31 on."""
    return GoogLeNet(
        num_classes=num_classes,
        in_channels=in_channels,
        input_size=input_size,
        auxiliary_heads=False,
    )

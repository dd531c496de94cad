"""FaceNet: Schroff, Kalenichenko and Philbin, 2015; the network NN2.

FaceNet: A Unified Embedding for Face Recognition and Clustering, arXiv 1503.03832, CVPR 2015.
A face becomes a point on a sphere; the nearer two points, the likelier they are one person. The
triplet loss is in `eyespot.transfer`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from eyespot.v1.preprocessing import PreprocessingRule
from eyespot.zoo.registry import register_model

FACES = PreprocessingRule(
    resize_size=(224, 224),
    crop_size=None,
    interpolation="bilinear",
    color_order="RGB",
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
)

# Of the paper's section 5.6: the best on Labeled Faces in the Wild.
THRESHOLD = 1.242

# Below this there is nothing, and the root has no slope.
_FAINTEST = 1e-12


class RectifiedConv2d(nn.Conv2d):
    """A convolution that keeps the size (over its stride), and a rectifier."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, *, stride: int = 1
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, kernel_size // 2)

    def forward(self, x: Tensor) -> Tensor:
        """Give (B, C', H / stride, W / stride)."""
        return functional.relu(super().forward(x))


class L2Pool2d(nn.Module):
    """The root of the mean square of 3x3 neighbours."""

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape, (B, C, H, W)."""
        power = functional.avg_pool2d(x * x, 3, stride=1, padding=1)
        return torch.sqrt(power.clamp(min=_FAINTEST))


@dataclass(frozen=True)
class Widths:
    """A row of table 2; a width of 0 leaves a branch out, or the pooling's projection.

    Attributes:
        one: Of the 1x1 branch.
        three: Of the 3x3 branch: reduced to, and out.
        five: Of the 5x5 branch.
        pool: "max" or "L2".
        projection: Of the pooling.
        stride: Of the module.
    """

    one: int
    three: tuple[int, int]
    five: tuple[int, int]
    pool: str
    projection: int
    stride: int = 1


# The rows 3a to 5b.
INCEPTION = {
    "inception3a": Widths(64, (96, 128), (16, 32), "max", 32),
    "inception3b": Widths(64, (96, 128), (32, 64), "L2", 64),
    "inception3c": Widths(0, (128, 256), (32, 64), "max", 0, stride=2),
    "inception4a": Widths(256, (96, 192), (32, 64), "L2", 128),
    "inception4b": Widths(224, (112, 224), (32, 64), "L2", 128),
    "inception4c": Widths(192, (128, 256), (32, 64), "L2", 128),
    "inception4d": Widths(160, (144, 288), (32, 64), "L2", 128),
    "inception4e": Widths(0, (160, 256), (64, 128), "max", 0, stride=2),
    "inception5a": Widths(384, (192, 384), (48, 128), "L2", 128),
    "inception5b": Widths(384, (192, 384), (48, 128), "max", 128),
}


class Inception(nn.Module):
    """Branches of 1x1, 3x3, 5x5 and pooling, side by side."""

    def __init__(self, in_channels: int, widths: Widths) -> None:
        super().__init__()
        stride = widths.stride
        branches = [
            _reduced(in_channels, widths.three, kernel_size=3, stride=stride),
            _reduced(in_channels, widths.five, kernel_size=5, stride=stride),
            _pooled(in_channels, widths),
        ]
        if widths.one:
            branches.insert(0, RectifiedConv2d(in_channels, widths.one, 1))
        self.branches = nn.ModuleList(branches)
        projected = widths.projection or in_channels
        self.out_channels = widths.one + widths.three[1] + widths.five[1] + projected

    def forward(self, x: Tensor) -> Tensor:
        """Give (B, out_channels, H / stride, W / stride)."""
        return torch.cat([branch(x) for branch in self.branches], dim=1)


class FaceNet(nn.Module):
    """NN2: a trunk like GoogLeNet's, and an embedding of length one."""

    def __init__(self, *, width: int, in_channels: int) -> None:
        super().__init__()
        self.conv1 = RectifiedConv2d(in_channels, 64, 7, stride=2)
        self.conv2_reduce = RectifiedConv2d(64, 64, 1)
        self.conv2 = RectifiedConv2d(64, 192, 3)
        self.norm = nn.LocalResponseNorm(5)
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        modules = nn.Sequential()
        channels = 192
        for name, widths in INCEPTION.items():
            module = Inception(channels, widths)
            modules.add_module(name, module)
            channels = module.out_channels
        self.inception = modules
        self.embedding = nn.Linear(channels, width)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Give the embedding, (B, 128), each of length one."""
        x = self.norm(self.pool(self.conv1(x)))  # (B, 3, 224, 224) -> (B, 64, 56, 56)
        x = self.conv2(self.conv2_reduce(x))  # -> (B, 192, 56, 56)
        x = self.pool(self.norm(x))  # -> (B, 192, 28, 28)
        x = self.inception(x)  # -> (B, 1024, 7, 7)
        x = torch.flatten(functional.adaptive_avg_pool2d(x, 1), 1)  # -> (B, 1024)
        return functional.normalize(self.embedding(x), dim=1)  # -> (B, 128)


@dataclass(frozen=True)
class Verification:
    """Whether two faces are one person's.

    Attributes:
        squared_distance: Between the embeddings, 0 to 4.
        is_same: Whether it is below the threshold.
    """

    squared_distance: float
    is_same: bool


@torch.no_grad()
def verify(
    network: nn.Module, first: Tensor, second: Tensor, *, threshold: float = THRESHOLD
) -> Verification:
    """Tell whether two pictures (C, H, W) show the same person.

    Args:
        network: Gives an embedding of length one; in evaluation mode.
        first: Normalised as the network wants it.
        second: The same.
        threshold: Of the squared distance. The paper's fits the paper's weights; with others,
            choose it on pairs that you know.
    """
    one, other = network(torch.stack([first, second]))  # (2, C, H, W) -> (2, 128)
    squared_distance = float((one - other).square().sum())
    return Verification(squared_distance, squared_distance < threshold)


def _reduced(
    in_channels: int, widths: tuple[int, int], *, kernel_size: int, stride: int
) -> nn.Module:
    reduced, out = widths
    return nn.Sequential(
        RectifiedConv2d(in_channels, reduced, 1),
        RectifiedConv2d(reduced, out, kernel_size, stride=stride),
    )


def _pooled(in_channels: int, widths: Widths) -> nn.Module:
    pool = L2Pool2d() if widths.pool == "L2" else nn.MaxPool2d(3, widths.stride, padding=1)
    if not widths.projection:
        return pool
    return nn.Sequential(pool, RectifiedConv2d(in_channels, widths.projection, 1))


@register_model(
    "facenet",
    paper="Schroff, Kalenichenko and Philbin: FaceNet: A Unified Embedding for Face Recognition "
    "and Clustering, arXiv 1503.03832, CVPR 2015",
    year=2015,
    input_size=(3, 224, 224),
    min_input_size=1,
    num_classes=128,
    parameter_count=7_456_304,
    macs=1_596_530_688,
    receptive_field=699,
    departures="None that the paper's table 2 shows (NN2). It does not print the constants of "
    "local response normalisation, which are PyTorch's, nor how L2 pooling is scaled, which is "
    "the root of the mean square here. Random weights after He et al. 2015. A picture is scaled "
    "to the input whole: cutting out the face is the caller's.",
    preprocessing=FACES,
    task="embedding",
)
def facenet(*, num_classes: int, in_channels: int, input_size: int) -> nn.Module:
    """Build NN2 with an embedding of `num_classes` numbers; its pooling takes any size."""
    return FaceNet(width=num_classes, in_channels=in_channels)

"""Dilated context: Yu and Koltun, 2016; the two context modules and the front end on VGG-16.

Multi-Scale Context Aggregation by Dilated Convolutions, arXiv 1511.07122, ICLR 2016. Numbers of
tables and equations are the paper's.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from eyespot.zoo.errors import ArchitectureError
from eyespot.zoo.initialisation import initialise
from eyespot.zoo.registry import register_model
from eyespot.zoo.segmentation import HEIGHT_AND_WIDTH, VOC_CLASSES, WHOLE_PICTURE, crop
from eyespot.zoo.vgg_trunk import VggTrunk

PAPER = (
    "Yu and Koltun: Multi-Scale Context Aggregation by Dilated Convolutions, arXiv 1511.07122, "
    "ICLR 2016"
)

# Table 1: the dilations of the 3x3 layers, and the widths of all eight layers in units of C.
DILATIONS = (1, 1, 2, 4, 8, 16, 1)
BASIC_WIDTHS = (1, 1, 1, 1, 1, 1, 1, 1)
LARGE_WIDTHS = (2, 2, 4, 8, 16, 32, 32, 1)
_NOISE = 0.01  # sigma of equation 5, far below the smallest weight of the identity, 1 / 32

_MARGIN = 186  # of reflected pixels: half of what a cell of the front end sees beyond itself
_CELL = 8
_FULL_WIDTH = 4096  # of the layers that were full ones


def identity_kernel(layer: nn.Conv2d, classes: int) -> None:
    """Let a layer pass its input on, by equations 4 and 5, biases being zero.

    Args:
        layer: Its widths are multiples of `classes`.
        classes: C; where a layer is wider, each class goes to several maps, and back.
    """
    wide = max(layer.in_channels, layer.out_channels)
    inputs = torch.arange(layer.in_channels) * classes // layer.in_channels
    outputs = torch.arange(layer.out_channels) * classes // layer.out_channels
    is_same_class = outputs[:, None] == inputs  # (C_out, C_in)
    centre = layer.kernel_size[0] // 2
    with torch.no_grad():
        if wide > classes:
            layer.weight.normal_(0, _NOISE)
        else:
            layer.weight.zero_()
        kernels = layer.weight[:, :, centre, centre]
        weight = classes / layer.in_channels
        kernels.copy_(torch.where(is_same_class, weight, kernels))
        if layer.bias is not None:
            layer.bias.zero_()


class ContextModule(nn.Module):
    """C maps of scores in, C better ones out: each has seen 67x67 of the others."""

    def __init__(self, widths: tuple[int, ...], *, classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = classes
        for width, dilation in zip(widths[:-1], DILATIONS, strict=True):
            layers += [
                nn.Conv2d(channels, width * classes, 3, padding=dilation, dilation=dilation),
                nn.ReLU(),
            ]
            channels = width * classes
        self.layers = nn.Sequential(*layers, nn.Conv2d(channels, classes, 1))
        for layer in self.layers:
            if isinstance(layer, nn.Conv2d):
                identity_kernel(layer, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Look around, (B, C, H, W) -> (B, C, H, W)."""
        scores: Tensor = self.layers(x)
        return scores


class FrontEnd(VggTrunk):
    """VGG-16 without its last two poolings and without zeros around its maps."""

    def __init__(self, *, num_classes: int, in_channels: int) -> None:
        super().__init__(in_channels, dilations=(1, 1, 1, 1, 2), is_padded=False)
        self.fc6 = nn.Conv2d(self.stage_channels[4], _FULL_WIDTH, 7, dilation=4)
        self.drop6 = nn.Dropout()
        self.fc7 = nn.Conv2d(_FULL_WIDTH, _FULL_WIDTH, 1)
        self.drop7 = nn.Dropout()
        self.final = nn.Conv2d(_FULL_WIDTH, num_classes, 1)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Give a score for each class and pixel, (B, C, H, W) -> (B, K, H, W)."""
        height, width = x.shape[-2:]
        rows, columns = (height + _CELL - 1) // _CELL, (width + _CELL - 1) // _CELL
        x = _reflect(x, rows, columns)  # -> (B, C, 8 rows + 372, 8 columns + 372)
        for stage in (1, 2, 3):
            x = functional.max_pool2d(self.run_stage(stage, x), 2)
        x = self.run_stage(5, self.run_stage(4, x))  # -> (B, 512, rows + 24, columns + 24)
        x = functional.relu(self.fc6(x))  # -> (B, 4096, rows, columns)
        x = functional.relu(self.fc7(self.drop6(x)))
        x = self.final(self.drop7(x))  # -> (B, K, rows, columns)
        x = functional.interpolate(
            x, size=(_CELL * rows, _CELL * columns), mode="bilinear", align_corners=False
        )  # -> (B, K, 8 rows, 8 columns)
        return crop(x, first=0, height=height, width=width)  # -> (B, K, H, W)


def _reflect(x: Tensor, rows: int, columns: int) -> Tensor:
    """Continue the picture beyond its edges, up to whole cells of 8x8 and the margin."""
    most = _MARGIN + _CELL - 1
    x = functional.pad(x, (_MARGIN, most, _MARGIN, most), mode="reflect")
    return crop(x, first=0, height=_CELL * rows + 2 * _MARGIN, width=_CELL * columns + 2 * _MARGIN)


def _build_context(widths: tuple[int, ...], num_classes: int, in_channels: int) -> ContextModule:
    if num_classes != in_channels:
        raise ArchitectureError(
            "a context module gives as many maps of scores as it takes: num_classes is "
            f"{num_classes} and in_channels {in_channels}, give both the same number"
        )
    return ContextModule(widths, classes=num_classes)


@register_model(
    "dilated_context_basic",
    paper=PAPER,
    year=2016,
    input_size=(VOC_CLASSES, 64, 64),
    min_input_size=2,
    num_classes=VOC_CLASSES,
    parameter_count=28_392,
    macs=115_605_504,
    receptive_field=67,
    task="segmentation",
    dynamic_axes=HEIGHT_AND_WIDTH,
    departures="None; zeros around each map keep its size.",
    preprocessing=None,
)
def dilated_context_basic(*, num_classes: int, in_channels: int, input_size: int) -> nn.Module:
    """Build the basic module: C maps in every layer; untrained, it is the identity."""
    return _build_context(BASIC_WIDTHS, num_classes, in_channels)


@register_model(
    "dilated_context_large",
    paper=PAPER,
    year=2016,
    input_size=(VOC_CLASSES, 64, 64),
    min_input_size=2,
    num_classes=VOC_CLASSES,
    parameter_count=6_803_139,
    macs=27_857_313_792,
    receptive_field=67,
    task="segmentation",
    dynamic_axes=HEIGHT_AND_WIDTH,
    departures="Zeros around each map keep its size. The noise of equation 5, whose width the "
    "paper leaves open, has a standard deviation of 0.01.",
    preprocessing=None,
)
def dilated_context_large(*, num_classes: int, in_channels: int, input_size: int) -> nn.Module:
    """Build the large module, which widens to 32 C maps."""
    return _build_context(LARGE_WIDTHS, num_classes, in_channels)


@register_model(
    "dilated_frontend_vgg16",
    paper=PAPER,
    year=2016,
    input_size=(3, 224, 224),
    min_input_size=194,
    num_classes=VOC_CLASSES,
    parameter_count=134_346_581,
    macs=203_495_885_568,
    receptive_field=380,
    task="segmentation",
    dynamic_axes=HEIGHT_AND_WIDTH,
    departures="The scores of each 8x8 pixels are interpolated to the input's size. Up to seven "
    "pixels more than the paper's 186 are reflected at the lower and the right edge, to make "
    "whole cells; a picture must be larger than that margin. Random weights after He et al. 2015 "
    "where the paper takes VGG-16's; pixels are normalised as torchvision's are.",
    preprocessing=WHOLE_PICTURE,
)
def dilated_frontend_vgg16(*, num_classes: int, in_channels: int, input_size: int) -> nn.Module:
    """Build the front end, whose scores a context module can take."""
    return FrontEnd(num_classes=num_classes, in_channels=in_channels)

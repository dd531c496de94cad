"""FC-DenseNet: Jégou, Drozdzal, Vazquez, Romero and Bengio, 2016.

The One Hundred Layers Tiramisu: Fully Convolutional DenseNets for Semantic Segmentation, arXiv
1611.09326, CVPR Workshops 2017.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from eyespot.zoo.initialisation import initialise, initialise_doubling
from eyespot.zoo.registry import register_model
from eyespot.zoo.segmentation import HEIGHT_AND_WIDTH, WHOLE_PICTURE, crop

PAPER = (
    "Jégou et al.: The One Hundred Layers Tiramisu: Fully "
    "Convolutional DenseNets for Semantic Segmentation, arXiv 1611.09326, CVPR Workshops 2017"
)
CAMVID_CLASSES = 11  # without the void
_FIRST_MAPS = 48
_DROPOUT = 0.2
_DEPARTURES = (
    "Random weights from He et al.'s normal distribution, where the paper draws from their "
    "uniform one; pixels are normalised as torchvision's are. From 64 pixels on, so that one "
    "captured program fits all sizes."
)


class DenseBlock(nn.Module):
    """Layers that each see the block's input and the maps of all layers before them."""

    def __init__(self, in_channels: int, *, layers: int, growth: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            _rectified(in_channels + i * growth, growth, kernel_size=3) for i in range(layers)
        )
        self.new_channels = layers * growth

    def forward(self, x: Tensor) -> Tensor:
        """Give the new maps alone, (B, C, H, W) -> (B, layers * growth, H, W)."""
        new = []
        for layer in self.layers:
            new.append(layer(x))
            x = torch.cat([x, new[-1]], 1)  # -> (B, C + growth, H, W)
        return torch.cat(new, 1)


def _rectified(in_channels: int, out_channels: int, *, kernel_size: int) -> nn.Sequential:
    """Make a layer of table 1: norm, rectifier, convolution, dropout."""
    return nn.Sequential(
        nn.BatchNorm2d(in_channels),
        nn.ReLU(),
        nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2),
        nn.Dropout2d(_DROPOUT),
    )


def _transition_down(channels: int) -> nn.Sequential:
    layers = _rectified(channels, channels, kernel_size=1)
    return layers.append(nn.MaxPool2d(2))  # (B, C, H, W) -> (B, C, H/2, W/2)


def _transition_up(channels: int) -> nn.ConvTranspose2d:
    layer = nn.ConvTranspose2d(channels, channels, 3, stride=2)
    initialise_doubling(layer, nonlinearity="linear")
    return layer


class FCDenseNet(nn.Module):
    """Dense blocks down to 1/32 of the size and up again, past which their inputs are carried.

    On the way up only a block's new maps go on, lest there be too many.
    """

    def __init__(
        self,
        layers: Sequence[int],
        *,
        growth: int,
        num_classes: int,
        in_channels: int,
    ) -> None:
        """Build it.

        Args:
            layers: Of each block on the way down, and of the one at the bottom; the way up
                mirrors them.
            growth: New maps of each layer.
            num_classes: Of the output.
            in_channels: Of the input.
        """
        super().__init__()
        self.first = nn.Conv2d(in_channels, _FIRST_MAPS, 3, padding=1)
        self.blocks_down, self.transitions_down = nn.ModuleList(), nn.ModuleList()
        self.transitions_up, self.blocks_up = nn.ModuleList(), nn.ModuleList()
        channels, skipped = _FIRST_MAPS, []
        for count in layers[:-1]:
            self.blocks_down.append(DenseBlock(channels, layers=count, growth=growth))
            channels += count * growth
            skipped.append(channels)
            self.transitions_down.append(_transition_down(channels))
        self.bottom = DenseBlock(channels, layers=layers[-1], growth=growth)
        new = self.bottom.new_channels
        for count in reversed(layers[:-1]):
            self.transitions_up.append(_transition_up(new))
            channels = new + skipped.pop()
            self.blocks_up.append(DenseBlock(channels, layers=count, growth=growth))
            new = count * growth
        self.scores = nn.Conv2d(channels + new, num_classes, 1)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Give a score for each class and pixel, (B, C, H, W) -> (B, K, H, W)."""
        x = self.first(x)  # -> (B, 48, H, W)
        skipped = []
        for block, down in zip(self.blocks_down, self.transitions_down, strict=True):
            x = torch.cat([x, block(x)], 1)  # -> (B, C + new, H, W)
            skipped.append(x)
            x = down(x)  # -> (B, C + new, H/2, W/2)
        new = self.bottom(x)  # -> (B, new, H/32, W/32)
        for up, block in zip(self.transitions_up, self.blocks_up, strict=True):
            skip = skipped.pop()
            # A row more than twice as many, for what an odd size has lost; else it is cut off.
            up_sampled = crop(up(new), first=0, height=skip.shape[-2], width=skip.shape[-1])
            x = torch.cat([up_sampled, skip], 1)  # -> (B, new + skip, 2 H, 2 W)
            new = block(x)
        scores: Tensor = self.scores(torch.cat([x, new], 1))  # -> (B, K, H, W)
        return scores


@register_model(
    "fc_densenet56",
    paper=PAPER,
    year=2016,
    input_size=(3, 224, 224),
    min_input_size=64,
    num_classes=CAMVID_CLASSES,
    parameter_count=1_376_795,
    macs=8_916_982_368,
    receptive_field=538,
    task="segmentation",
    dynamic_axes=HEIGHT_AND_WIDTH,
    departures=_DEPARTURES,
    preprocessing=WHOLE_PICTURE,
)
def fc_densenet56(*, num_classes: int, in_channels: int, input_size: int) -> nn.Module:
    """Build FC-DenseNet56: four layers in each block, of growth 12."""
    return FCDenseNet((4,) * 6, growth=12, num_classes=num_classes, in_channels=in_channels)


@register_model(
    "fc_densenet67",
    paper=PAPER,
    year=2016,
    input_size=(3, 224, 224),
    min_input_size=64,
    num_classes=CAMVID_CLASSES,
    parameter_count=3_463_243,
    macs=20_901_653_248,
    receptive_field=664,
    task="segmentation",
    dynamic_axes=HEIGHT_AND_WIDTH,
    departures=_DEPARTURES,
    preprocessing=WHOLE_PICTURE,
)
def fc_densenet67(*, num_classes: int, in_channels: int, input_size: int) -> nn.Module:
    """Build FC-DenseNet67: five layers in each block, of growth 16."""
    return FCDenseNet((5,) * 6, growth=16, num_classes=num_classes, in_channels=in_channels)


@register_model(
    "fc_densenet103",
    paper=PAPER,
    year=2016,
    input_size=(3, 224, 224),
    min_input_size=64,
    num_classes=CAMVID_CLASSES,
    parameter_count=9_322_091,
    macs=20_072_570_112,
    receptive_field=1622,
    task="segmentation",
    dynamic_axes=HEIGHT_AND_WIDTH,
    departures=_DEPARTURES,
    preprocessing=WHOLE_PICTURE,
)
def fc_densenet103(*, num_classes: int, in_channels: int, input_size: int) -> nn.Module:
    """Build FC-DenseNet103: from four layers at the top to fifteen at the bottom, of growth 16."""
    return FCDenseNet(
        (4, 5, 7, 10, 12, 15), growth=16, num_classes=num_classes, in_channels=in_channels
    )

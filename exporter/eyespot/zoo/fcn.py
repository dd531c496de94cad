"""FCN: Long, Shelhamer and Darrell, 2014; on VGG-16 from the paper, on ResNet-50 torchvision's.

Fully Convolutional Networks for Semantic Segmentation, arXiv 1411.4038, CVPR 2015. The layers
have the names of the authors' Caffe files, which the files that circulate for PyTorch share.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from eyespot.zoo.initialisation import initialise
from eyespot.zoo.registry import register_model
from eyespot.zoo.segmentation import (
    HEIGHT_AND_WIDTH,
    SHORTER_SIDE_520,
    VOC_CLASSES,
    WHOLE_PICTURE,
    crop,
    drop_auxiliary_classifier,
    wrap_torchvision,
)
from eyespot.zoo.vgg_trunk import VggTrunk

PAPER = (
    "Long, Shelhamer and Darrell: Fully Convolutional Networks for Semantic Segmentation, "
    "arXiv 1411.4038, CVPR 2015"
)
_DEPARTURES = (
    "The 100 zeros around the input and the crops are those of the authors' files, and so is a "
    "last upsampling that is not trained. Scores are drawn from N(0, 1 / fan_in) where the paper "
    "begins with zeros, so that an untrained network answers to its input; the other layers "
    "after He et al. 2015, where the paper takes VGG-16's. Pixels are normalised as "
    "torchvision's are. From 27 pixels on, so that one captured program fits all sizes."
)

_FULL_WIDTH = 4096  # of the layers that were full ones
_MARGINS = {32: 19, 16: 27, 8: 31}  # of the last upsampling by its stride, before the first pixel


def bilinear_kernel(channels: int, *, stride: int) -> Tensor:
    """Give the weights with which a transposed convolution interpolates between its inputs.

    Args:
        channels: Each goes to itself alone.
        stride: By which the maps grow; an even number.

    Returns:
        (channels, channels, 2 * stride, 2 * stride).
    """
    from_centre = (torch.arange(2 * stride) - stride + 0.5).abs()
    line = 1 - from_centre / stride
    return torch.eye(channels)[:, :, None, None] * torch.outer(line, line)


def _upsampling(channels: int, *, stride: int, is_learned: bool) -> nn.ConvTranspose2d:
    """Make a transposed convolution that begins bilinear, or remains so."""
    layer = nn.ConvTranspose2d(channels, channels, 2 * stride, stride=stride, bias=False)
    with torch.no_grad():
        layer.weight.copy_(bilinear_kernel(channels, stride=stride))
    layer.weight.requires_grad_(is_learned)
    return layer


def _scores(in_channels: int, num_classes: int) -> nn.Conv2d:
    layer = nn.Conv2d(in_channels, num_classes, 1)
    initialise(layer)  # alone, it is a last layer: behind it there is no rectifier
    return layer


class FCN(VggTrunk):
    """VGG-16 whose full layers are convolutions; its scores are brought to the input's size.

    Scores of stride 32 are joined by those of pool4 and pool3, until `stride` is reached.
    """

    def __init__(self, stride: int, *, num_classes: int, in_channels: int) -> None:
        super().__init__(in_channels, dilations=(1, 1, 1, 1, 1), is_padded=True)
        self.fc6 = nn.Conv2d(self.stage_channels[4], _FULL_WIDTH, 7)
        self.drop6 = nn.Dropout2d()
        self.fc7 = nn.Conv2d(_FULL_WIDTH, _FULL_WIDTH, 1)
        self.drop7 = nn.Dropout2d()
        self.score_fr = nn.Conv2d(_FULL_WIDTH, num_classes, 1)
        initialise(self)
        if stride < 32:
            self.upscore2 = _upsampling(num_classes, stride=2, is_learned=True)
            self.score_pool4 = _scores(self.stage_channels[3], num_classes)
        if stride < 16:
            self.upscore_pool4 = _upsampling(num_classes, stride=2, is_learned=True)
            self.score_pool3 = _scores(self.stage_channels[2], num_classes)
        self.stride = stride
        self.last_name = "upscore" if stride == 32 else f"upscore{stride}"
        last = _upsampling(num_classes, stride=stride, is_learned=False)
        self.add_module(self.last_name, last)

    def forward(self, x: Tensor) -> Tensor:
        """Give a score for each class and pixel, (B, C, H, W) -> (B, K, H, W)."""
        height, width = x.shape[-2:]
        pools = self._pools(x)
        # All of pool5. Told in this way, its size shows that fc6 leaves two rows at least, and
        # a captured program needs no other proof.
        x = crop(pools[4], first=0, height=(height + 37) // 32 + 6, width=(width + 37) // 32 + 6)
        x = functional.relu(self.fc6(x))  # -> (B, 4096, h, w)
        x = functional.relu(self.fc7(self.drop6(x)))
        x = self.score_fr(self.drop7(x))  # -> (B, K, h, w)
        # Each crop takes away what the zeros around the input have become at its stride.
        if self.stride < 32:
            x = self.upscore2(x)  # -> (B, K, 2 h + 2, 2 w + 2)
            x = x + _crop_like(x, self.score_pool4(pools[3]), first=5)
        if self.stride < 16:
            x = self.upscore_pool4(x)  # -> (B, K, 4 h + 6, 4 w + 6)
            x = x + _crop_like(x, self.score_pool3(pools[2]), first=9)
        x = self.get_submodule(self.last_name)(x)  # -> (B, K, more than H, more than W)
        margin = _MARGINS[self.stride]
        return crop(x, first=margin, height=height, width=width)  # -> (B, K, H, W)

    def _pools(self, x: Tensor) -> list[Tensor]:
        """Give the maps after each stage, of stride 2, 4, 8, 16 and 32."""
        pools = []
        x = functional.pad(x, (99, 99, 99, 99))  # and the hundredth is conv1_1's own
        for stage in range(1, 6):
            x = self.run_stage(stage, x)
            # What is left over at an odd edge is pooled as well, as in Caffe: with zeros, which
            # change no maximum of rectified maps.
            x = functional.pad(x, (0, 1, 0, 1))  # (B, C, H, W) -> (B, C, H + 1, W + 1)
            x = functional.max_pool2d(x, 2)  # -> (B, C, ceil(H / 2), ceil(W / 2))
            pools.append(x)
        return pools


def _crop_like(other: Tensor, x: Tensor, *, first: int) -> Tensor:
    return crop(x, first=first, height=other.shape[-2], width=other.shape[-1])


@register_model(
    "fcn32s",
    paper=PAPER,
    year=2014,
    input_size=(3, 224, 224),
    min_input_size=27,
    num_classes=VOC_CLASSES,
    parameter_count=134_346_581,
    macs=62_787_564_288,
    receptive_field=404,
    task="segmentation",
    dynamic_axes=HEIGHT_AND_WIDTH,
    departures=_DEPARTURES,
    preprocessing=WHOLE_PICTURE,
)
def fcn32s(*, num_classes: int, in_channels: int, input_size: int) -> nn.Module:
    """Build the single stream of stride 32."""
    return FCN(32, num_classes=num_classes, in_channels=in_channels)


@register_model(
    "fcn16s",
    paper=PAPER,
    year=2014,
    input_size=(3, 224, 224),
    min_input_size=27,
    num_classes=VOC_CLASSES,
    parameter_count=134_364_410,
    macs=62_826_561_792,
    receptive_field=404,
    task="segmentation",
    dynamic_axes=HEIGHT_AND_WIDTH,
    departures=_DEPARTURES,
    preprocessing=WHOLE_PICTURE,
)
def fcn16s(*, num_classes: int, in_channels: int, input_size: int) -> nn.Module:
    """Build the two streams of stride 32 and 16."""
    return FCN(16, num_classes=num_classes, in_channels=in_channels)


@register_model(
    "fcn8s",
    paper=PAPER,
    year=2014,
    input_size=(3, 224, 224),
    min_input_size=27,
    num_classes=VOC_CLASSES,
    parameter_count=134_376_863,
    macs=62_860_657_728,
    receptive_field=404,
    task="segmentation",
    dynamic_axes=HEIGHT_AND_WIDTH,
    departures=_DEPARTURES,
    preprocessing=WHOLE_PICTURE,
)
def fcn8s(*, num_classes: int, in_channels: int, input_size: int) -> nn.Module:
    """Build the three streams of stride 32, 16 and 8."""
    return FCN(8, num_classes=num_classes, in_channels=in_channels)


@register_model(
    "fcn_resnet50",
    paper=PAPER,
    year=2014,
    input_size=(3, 224, 224),
    min_input_size=9,
    num_classes=VOC_CLASSES,
    parameter_count=32_957_013,
    macs=26_484_498_432,
    receptive_field=443,
    task="segmentation",
    dynamic_axes=HEIGHT_AND_WIDTH,
    departures="torchvision's: ResNet-50 for VGG-16, with its last two stages dilated instead of "
    "strided, two convolutions for scores, bilinear interpolation for transposed convolutions, "
    "and no scores of earlier maps; without the auxiliary classifier, which serves training alone. "
    "Random weights are torchvision's too.",
    preprocessing=SHORTER_SIDE_520,
    torchvision_name="fcn_resnet50",
    adapt_state_dict=drop_auxiliary_classifier,
)
def fcn_resnet50(*, num_classes: int, in_channels: int, input_size: int) -> nn.Module:
    """Build torchvision's network, of stride 8."""
    return wrap_torchvision("fcn_resnet50", num_classes=num_classes, in_channels=in_channels)

"""DenseNet for dense flow: Zhu and Newsam, 2017; two frames in, the motion of each pixel out.

DenseNet for Dense Flow, arXiv 1707.06316, ICIP 2017. The loss needs no true flow: it looks how
well the second frame, pulled back along the flow, explains the first.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from eyespot.zoo.errors import ArchitectureError
from eyespot.zoo.fc_densenet import FCDenseNet
from eyespot.zoo.registry import register_model
from eyespot.zoo.segmentation import HEIGHT_AND_WIDTH

_COMPONENTS = 2  # pixels to the right, and downwards
_EPSILON, _EXPONENT = 1e-3, 0.45  # of the penalty, as in Yu, Harley and Derpanis 2016


def charbonnier(x: Tensor) -> Tensor:
    """Penalise like the absolute value, but smoothly at zero and less for outliers."""
    return (x.square() + _EPSILON**2).pow(_EXPONENT)


def warp(frame: Tensor, flow: Tensor) -> Tensor:
    """Pull a frame back along a flow: each pixel of the result is the one that it moved to.

    Args:
        frame: (B, C, H, W).
        flow: (B, 2, H, W), pixels to the right and downwards.

    Returns:
        (B, C, H, W), interpolated; from outside the frame come the pixels of its edge.
    """
    height, width = frame.shape[-2:]
    horizontal, vertical = _targets(flow)
    # From pixels to [-1, 1] between the middles of the outermost ones -> (B, H, W, 2)
    grid = torch.stack([horizontal / (width - 1), vertical / (height - 1)], -1) * 2 - 1
    return functional.grid_sample(frame, grid, padding_mode="border", align_corners=True)


def unsupervised_loss(frames: Tensor, flow: Tensor, *, smoothness: float = 1.0) -> Tensor:
    """Tell how badly a flow explains two frames: brightness constancy plus smoothness.

    Args:
        frames: (B, 2 C, H, W): the first frame's channels, then the second's.
        flow: (B, 2, H, W) from the first to the second, in pixels.
        smoothness: Weight of the differences between neighbouring pixels' flow.

    Returns:
        A scalar; what moves out of the picture counts for smoothness alone.
    """
    first, second = frames.chunk(2, dim=1)
    difference = charbonnier(first - warp(second, flow)).mean(1)  # -> (B, H, W)
    is_inside = _is_inside(flow)
    brightness = (difference * is_inside).sum() / is_inside.sum().clamp(min=1)
    rows = charbonnier(flow[:, :, 1:] - flow[:, :, :-1])  # (B, 2, H - 1, W)
    columns = charbonnier(flow[:, :, :, 1:] - flow[:, :, :, :-1])  # (B, 2, H, W - 1)
    return brightness + smoothness * (rows.mean() + columns.mean())


def _targets(flow: Tensor) -> tuple[Tensor, Tensor]:
    """Tell where each pixel moves to: column and row, (B, H, W) each."""
    columns = torch.arange(flow.shape[-1], device=flow.device, dtype=flow.dtype)
    rows = torch.arange(flow.shape[-2], device=flow.device, dtype=flow.dtype)
    return flow[:, 0] + columns, flow[:, 1] + rows[:, None]


def _is_inside(flow: Tensor) -> Tensor:
    column, row = _targets(flow)
    last_row, last_column = flow.shape[-2] - 1, flow.shape[-1] - 1
    inside = (column >= 0) & (column <= last_column) & (row >= 0) & (row <= last_row)
    return inside.to(flow.dtype)


@register_model(
    "densenet_flow",
    paper="Zhu and Newsam: DenseNet for Dense Flow, arXiv 1707.06316, ICIP 2017",
    year=2017,
    input_size=(6, 224, 224),
    min_input_size=64,
    num_classes=_COMPONENTS,
    parameter_count=1_376_354,
    macs=8_895_306_336,
    receptive_field=538,
    task="flow",
    dynamic_axes=HEIGHT_AND_WIDTH,
    departures="A fully convolutional DenseNet with dense blocks on the way up too, as the paper "
    "has it; number and width of its layers are FC-DenseNet56's (Jégou et al. 2016), and flow is "
    "given at the input's size alone, not at several sizes. Random weights after He et al. 2015. "
    "From 64 pixels on, so that one captured program fits all sizes.",
    preprocessing=None,
)
def densenet_flow(*, num_classes: int, in_channels: int, input_size: int) -> nn.Module:
    """Build the network for two stacked frames of half the channels each."""
    if num_classes != _COMPONENTS:
        raise ArchitectureError(f"a flow has 2 components, found num_classes {num_classes}")
    if in_channels % 2:
        raise ArchitectureError(
            f"two frames have an even number of channels, found in_channels {in_channels}"
        )
    return FCDenseNet((4,) * 6, growth=12, num_classes=num_classes, in_channels=in_channels)

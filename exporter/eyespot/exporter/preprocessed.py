"""Normalisation as the first part of the graph, so that nobody can forget or change it."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from eyespot.exporter.errors import PreprocessingFitError
from eyespot.v1.preprocessing import PreprocessingRule


class Preprocessed(nn.Module):
    """A network that takes the pixels of a rule, and scales and normalises them itself.

    The order of the colours is the rule's own: its pixels come in that order already.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, network: nn.Module, rule: PreprocessingRule) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(rule.mean).view(1, -1, 1, 1))  # (1, C, 1, 1)
        self.register_buffer("std", torch.tensor(rule.std).view(1, -1, 1, 1))

    def forward(self, image: torch.Tensor) -> Any:
        """Give what the network gives, of UINT8 pixels (B, H, W, C)."""
        pixels = image.to(torch.float32)  # gradients begin here
        x = pixels.permute(0, 3, 1, 2) / 255.0  # -> (B, C, H, W)
        return self.network((x - self.mean) / self.std)


def check_rule_fits(
    rule: PreprocessingRule, *, channels: int, height: int | None, width: int | None
) -> None:
    """Check that the pixels of a rule are those that a network takes.

    Args:
        rule: From a picture to pixels.
        channels: That the network takes.
        height: That the network takes; None where it takes any.
        width: The same.

    Raises:
        PreprocessingFitError: They have other channels or another size, or a size that
            depends on the picture where the network's is fixed, or the reverse.
    """
    if rule.channels != channels:
        raise PreprocessingFitError(
            f"the rule gives {rule.channels} channels ({rule.color_order}), the network takes "
            f"{channels}: change color_order, mean and std"
        )
    if height is None or width is None:
        if rule.size is not None:
            raise PreprocessingFitError(
                f"the rule makes every picture {rule.size[0]}x{rule.size[1]}, the network takes "
                "any size: leave out the crop, and resize the shorter side if at all"
            )
        return
    if rule.size is None and rule.resize_size is not None:
        raise PreprocessingFitError(
            f"resizing the shorter side to {rule.resize_size} gives a size that depends on the "
            f"picture, the network takes {height}x{width}: add a crop of that size"
        )
    if rule.size not in (None, (height, width)):
        raise PreprocessingFitError(
            f"the rule gives pictures of {rule.size[0]}x{rule.size[1]}, the network takes "
            f"{height}x{width}: change the crop or the resize"
        )

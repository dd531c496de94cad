"""Variations of training pictures that leave their class as it is."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class RandomAffine:
    """Turns, scales and shifts each picture a little; its border is continued outward.

    Attributes:
        degrees: Turned by at most so much, either way.
        scale: Enlarged or reduced by at most this share of its size.
        shift: Moved by at most so many pixels along each axis.
    """

    degrees: float = 0.0
    scale: float = 0.0
    shift: float = 0.0

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Vary pixels (B, H, W, C) of any number type; the result is float32."""
        pixels = images.permute(0, 3, 1, 2).to(torch.float32)  # -> (B, C, H, W)
        height, width = pixels.shape[2:]
        # Each in [-1, 1]: (4, B)
        angle, size, along_x, along_y = 2 * torch.rand(4, len(pixels), generator=generator) - 1
        angle = angle * math.radians(self.degrees)
        size = 1 / (1 + size * self.scale)
        sine, cosine = angle.sin() * size, angle.cos() * size
        # The grid counts in half widths and half heights from the centre.
        along_x, along_y = along_x * self.shift * 2 / width, along_y * self.shift * 2 / height
        rows = [
            torch.stack([cosine, -sine * height / width, along_x], dim=1),
            torch.stack([sine * width / height, cosine, along_y], dim=1),
        ]
        grid = functional.affine_grid(
            torch.stack(rows, dim=1).to(pixels.device), list(pixels.shape), align_corners=False
        )
        moved = functional.grid_sample(pixels, grid, padding_mode="border", align_corners=False)
        return moved.permute(0, 2, 3, 1)  # -> (B, H, W, C)

"""VGG-16's thirteen convolutions for networks that label every pixel, by their names in Caffe."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

# Channels and number of the 3x3 convolutions of each stage.
_STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))


class VggTrunk(nn.Module):
    """A network that begins with the stages of VGG-16: conv1_1 to conv5_3.

    What lies between the stages, and after them, is the networks' own.
    """

    def __init__(self, in_channels: int, *, dilations: Sequence[int], is_padded: bool) -> None:
        """Make the convolutions.

        Args:
            in_channels: Of the input.
            dilations: Of each stage: how far apart the nine weights lie.
            is_padded: Zeros around each map, so that it keeps its height and width.
        """
        super().__init__()
        self.stage_names: list[list[str]] = []
        self.stage_channels = [width for width, _ in _STAGES]
        channels = in_channels
        for stage, ((width, layers), dilation) in enumerate(
            zip(_STAGES, dilations, strict=True), start=1
        ):
            self.stage_names.append([f"conv{stage}_{layer + 1}" for layer in range(layers)])
            for name in self.stage_names[-1]:
                padding = dilation if is_padded else 0
                layer = nn.Conv2d(channels, width, 3, padding=padding, dilation=dilation)
                self.add_module(name, layer)
                channels = width

    def run_stage(self, number: int, x: Tensor) -> Tensor:
        """Convolve and rectify, (B, C, H, W) -> (B, C', H, W) where padded; stages begin at 1."""
        for name in self.stage_names[number - 1]:
            x = functional.relu(self.get_submodule(name)(x))
        return x

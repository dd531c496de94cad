"""Time-delay neural network: Waibel, Hanazawa, Hinton, Shikano and Lang, 1989.

Phoneme Recognition Using Time-Delay Neural Networks, IEEE Transactions on Acoustics, Speech and
Signal Processing 37(3). It tells the phonemes B, D and G by 15 frames of 10 ms, each of which has
16 coefficients of a melscale spectrum, wherever in them the phoneme begins.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from eyespot.zoo.registry import register_model

HIDDEN_UNITS = 8
# Frames that a unit sees: the present one and two, or four, delayed ones.
HIDDEN_WINDOW = 3
OUTPUT_WINDOW = 5


class TimeDelayNetwork(nn.Module):
    """Two layers of units that see a moving window, and a sum over time."""

    def __init__(self, *, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.hidden1 = nn.Conv1d(in_channels, HIDDEN_UNITS, HIDDEN_WINDOW)
        self.hidden2 = nn.Conv1d(HIDDEN_UNITS, num_classes, OUTPUT_WINDOW)

    def forward(self, x: Tensor) -> Tensor:
        """Give the evidence for each class, (B, num_classes)."""
        x = torch.sigmoid(self.hidden1(x))  # (B, 16, 15) -> (B, 8, 13)
        x = torch.sigmoid(self.hidden2(x))  # -> (B, 3, 9)
        return x.sum(dim=2)  # -> (B, 3)


@register_model(
    "tdnn",
    paper="Waibel et al.: Phoneme Recognition Using Time-Delay Neural Networks, IEEE Transactions "
    "on Acoustics, Speech and Signal Processing 37(3), 1989",
    year=1989,
    input_size=(16, 15),
    # The paper's window; what is shorter has no room for a phoneme to move.
    min_input_size=15,
    num_classes=3,
    parameter_count=515,
    macs=6_072,
    receptive_field=7,
    departures="The logit is the sum over time itself, where the paper's output unit squashes it "
    "by fixed and equal weights; the order of the classes is the same. Random weights are "
    "PyTorch's.",
    preprocessing=None,
    dynamic_axes={2: "time"},
)
def tdnn(*, num_classes: int, in_channels: int, input_size: int) -> nn.Module:
    """Build the network of 1989; it takes any number of frames."""
    return TimeDelayNetwork(num_classes=num_classes, in_channels=in_channels)

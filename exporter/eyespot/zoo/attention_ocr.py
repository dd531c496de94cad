"""Attention OCR: Wojna, Gorban, Lee, Murphy, Yu, Li and Ibarz, 2017.

Attention-based Extraction of Structured Information from Street View Imagery, arXiv 1704.03549,
ICDAR 2017. A recurrent network reads a picture character by character; before each it looks where
it needs to. Letters in the comments are the paper's.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from eyespot.v1.preprocessing import PreprocessingRule
from eyespot.zoo.initialisation import initialise
from eyespot.zoo.registry import register_model
from eyespot.zoo.torchvision_models import load_torchvision

SIGNS = PreprocessingRule(
    resize_size=(150, 150),
    crop_size=None,
    interpolation="bilinear",
    color_order="RGB",
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
)

# Of the French Street Name Signs: characters, and how many a sign has at most.
CHARACTERS = 134
LENGTH = 37
# Of the recurrent state, and of the space in which attention compares.
STATE = 256
FEATURES = 288


class SpatialAttention(nn.Module):
    """Where to look: each place is weighed by what is there, where it is, and the state."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.feature = nn.Conv2d(FEATURES, STATE, 1, bias=False)
        # A matrix times the one-hot code of a coordinate is one of its columns.
        self.row = nn.Parameter(torch.randn(STATE, side, 1))
        self.column = nn.Parameter(torch.randn(STATE, 1, side))
        self.state = nn.Linear(STATE, STATE)
        self.value = nn.Linear(STATE, 1, bias=False)

    def keys(self, features: Tensor) -> Tensor:
        """Tell of each place what does not depend on the state: (B, 288, H, W) -> (B, HW, 256)."""
        keys: Tensor = self.feature(features) + self.row + self.column  # -> (B, 256, H, W)
        return keys.flatten(2).transpose(1, 2)

    def forward(self, keys: Tensor, state: Tensor) -> Tensor:
        """Give the weights alpha of all places, (B, HW); they add up to 1."""
        compared = torch.tanh(self.state(state)[:, None] + keys)  # (B, 256) -> (B, HW, 256)
        return torch.softmax(self.value(compared)[..., 0], dim=1)  # -> (B, HW)


class AttentionOcr(nn.Module):
    """Inception v3 up to Mixed_5d, attention over its features, and an LSTM that spells."""

    def __init__(self, *, characters: int, in_channels: int, input_size: int) -> None:
        super().__init__()
        self.side = _side(input_size)
        self.trunk = _trunk(in_channels)
        self.attention = SpatialAttention(self.side)
        self.last_character = nn.Embedding(characters, STATE)  # W_c
        self.last_glimpse = nn.Linear(FEATURES, STATE)  # W_u1
        self.cell = nn.LSTMCell(STATE, STATE)
        self.glimpse_output = nn.Linear(FEATURES, characters, bias=False)  # W_u2
        self.output = nn.Linear(STATE, characters)  # W_o
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Give the logits of each character, (B, 37, 134)."""
        logits, _ = self.read(x)
        return logits

    def read(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Give the logits (B, 37, 134), and where it looked for each, (B, 37, H, W)."""
        features = self.trunk(x)  # (B, 3, 150, 150) -> (B, 288, 16, 16)
        keys = self.attention.keys(features)  # -> (B, 256, 256), places by channels
        places = features.flatten(2).transpose(1, 2)  # -> (B, HW, 288)
        nothing = torch.zeros_like(keys[:, 0])  # (B, 256)
        x_t = self.last_glimpse(torch.zeros_like(places[:, 0]))  # no character, no glimpse
        state = (nothing, nothing)
        logits, looks = [], []
        for _ in range(LENGTH):
            state = self.cell(x_t, state)
            s_t, _ = state
            alpha = self.attention(keys, s_t)  # (B, HW)
            u_t = (alpha[:, None] @ places)[:, 0]  # (B, 1, HW) @ (B, HW, 288) -> (B, 288)
            o_t = self.output(s_t) + self.glimpse_output(u_t)  # -> (B, 134)
            x_t = self.last_character(o_t.argmax(dim=1)) + self.last_glimpse(u_t)  # (B, 256)
            logits.append(o_t)
            looks.append(alpha)
        maps = torch.stack(looks, dim=1).reshape(-1, LENGTH, self.side, self.side)
        return torch.stack(logits, dim=1), maps  # (B, 37, 134), (B, 37, H, W)


def _trunk(in_channels: int) -> nn.Sequential:
    """Take torchvision's parts of Inception v3, with torchvision's names."""
    inception = load_torchvision().models.inception
    convolution, mixed = inception.BasicConv2d, inception.InceptionA
    trunk = nn.Sequential()
    for name, layer in (
        ("Conv2d_1a_3x3", convolution(in_channels, 32, kernel_size=3, stride=2)),
        ("Conv2d_2a_3x3", convolution(32, 32, kernel_size=3)),
        ("Conv2d_2b_3x3", convolution(32, 64, kernel_size=3, padding=1)),
        ("maxpool1", nn.MaxPool2d(3, stride=2)),
        ("Conv2d_3b_1x1", convolution(64, 80, kernel_size=1)),
        ("Conv2d_4a_3x3", convolution(80, 192, kernel_size=3)),
        ("maxpool2", nn.MaxPool2d(3, stride=2)),
        ("Mixed_5b", mixed(192, pool_features=32)),
        ("Mixed_5c", mixed(256, pool_features=64)),
        ("Mixed_5d", mixed(288, pool_features=64)),
    ):
        trunk.add_module(name, layer)
    return trunk


def _side(input_size: int) -> int:
    """Height and width of the features: 150 -> 74 -> 72 -> 35 -> 33 -> 16."""
    second = (input_size - 1) // 2 - 2
    fourth = (second - 1) // 2 - 2
    return (fourth - 1) // 2


@register_model(
    "attention_ocr",
    paper="Wojna et al.: Attention-based Extraction of Structured Information from Street View "
    "Imagery, arXiv 1704.03549, ICDAR 2017",
    year=2017,
    input_size=(3, 150, 150),
    min_input_size=27,
    num_classes=CHARACTERS,
    parameter_count=1_846_822,
    macs=565_020_992,
    receptive_field=127,
    departures="One view of a sign, where the paper's street name signs have four. The trunk is "
    "torchvision's Inception v3 up to Mixed_5d. The likeliest character is fed back, always: the "
    "true one, which the paper feeds while it trains, is not taken. Random weights after He et "
    "al. 2015.",
    preprocessing=SIGNS,
    task="sequence",
)
def attention_ocr(*, num_classes: int, in_channels: int, input_size: int) -> nn.Module:
    """Build the reader of 37 characters out of `num_classes`."""
    return AttentionOcr(characters=num_classes, in_channels=in_channels, input_size=input_size)

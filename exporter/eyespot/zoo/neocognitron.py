"""Neocognitron: Fukushima, 1980.

A Self-organizing Neural Network Model for a Mechanism of Pattern Recognition Unaffected by Shift
in Position, Biological Cybernetics 36. S-cells look for a feature, C-cells let it move; the cells
of a plane share their weights. Names of cells and numbers are the paper's. The unsupervised
training is `eyespot.transfer.train_neocognitron`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from eyespot.v1.preprocessing import PreprocessingRule
from eyespot.zoo.registry import register_model

# Ink is 1 and paper is 0: a cell's output is never negative, and neither is a receptor's.
INK = PreprocessingRule(
    resize_size=(16, 16),
    crop_size=None,
    interpolation="bilinear",
    color_order="GRAY",
    mean=(0.0,),
    std=(1.0,),
)

PLANES = 24
FIELD = 5
# r of S1, S2 and S3: a trained S-cell answers to what is more alike than r / (r + 1).
SELECTIVITIES = (4.0, 1.5, 1.5)
# q of S1, S2 and S3: how much one presentation strengthens.
AMOUNTS = (1.0, 16.0, 16.0)
# alpha: the excess of excitation at which a C-cell gives half of its most.
SATURATION = 0.5

# With each step from the centre, c and d fall by these factors.
_FALL_OF_C = 0.9
_FALL_OF_D = 0.8
# C-cells lie two steps apart, and the outermost look beyond the edge.
_C_PADDING = (3, 4, 3, 4)
_UNTRAINED_INHIBITION = 0.1
# Below this there is no light, and the root has no slope.
_FAINTEST = 1e-12


class SLayer(nn.Module):
    """S-cells: excited by what is like their weights, inhibited by all that there is.

    Attributes:
        a: Excitatory weights (K, K', 5, 5), the same for all cells of a plane.
        b: Inhibitory weights (K,).
        c: Weights (1, 1, 5, 5) of the cells that inhibit, fixed and the same for all planes.
        selectivity: The paper's r.
    """

    c: Tensor

    def __init__(self, in_planes: int, *, selectivity: float, amount: float, padding: int) -> None:
        super().__init__()
        self.selectivity = selectivity
        self.padding = padding
        self.a = nn.Parameter(torch.zeros(PLANES, in_planes, FIELD, FIELD))
        self.b = nn.Parameter(torch.zeros(PLANES))
        self.register_buffer("c", falling_weights(FIELD, _FALL_OF_C), persistent=False)
        # As if each plane had been strengthened once, by noise; but were it inhibited as much
        # too, it would answer to its own noise alone.
        self.strengthen(torch.arange(PLANES), torch.rand(self.a.shape) ** 4, amount=amount)
        with torch.no_grad():
            self.b.mul_(_UNTRAINED_INHIBITION)

    def inhibition(self, u: Tensor) -> Tensor:
        """Give the inhibiting cells: in each field, the root of the mean square of all planes."""
        power = (u * u).mean(dim=1, keepdim=True)  # (B, K', H, W) -> (B, 1, H, W)
        power = functional.conv2d(power, self.c, padding=self.padding)  # -> (B, 1, H', W')
        return torch.sqrt(power.clamp(min=_FAINTEST))

    def forward(self, u: Tensor) -> Tensor:
        """Give the S-cells, (B, K, H', W')."""
        r = self.selectivity
        excitation = functional.conv2d(u, self.a, padding=self.padding)  # -> (B, K, H', W')
        inhibition = self.b[:, None, None] * self.inhibition(u)  # -> (B, K, H', W')
        ratio = (1 + excitation) / (1 + 2 * r / (1 + r) * inhibition)
        return r * functional.relu(ratio - 1)

    @torch.no_grad()
    def strengthen(self, planes: Tensor, patterns: Tensor, *, amount: float) -> None:
        """Make planes more like what they have seen: the paper's rule of learning.

        Args:
            planes: Numbers (N,) of different planes.
            patterns: What each of them has seen, (N, K', 5, 5).
            amount: The paper's q.
        """
        power = (patterns * patterns * self.c).mean(dim=1).sum(dim=(1, 2))  # -> (N,)
        self.a[planes] += amount * self.c * patterns / patterns.shape[1]
        self.b[planes] += amount / 2 * torch.sqrt(power)


class CLayer(nn.Module):
    """C-cells: each gathers neighbours of one S-plane, less what all planes have on average.

    Attributes:
        d: Weights (1, 1, size, size) of the neighbours, fixed and the same for all planes.
    """

    d: Tensor

    def __init__(self, size: int, *, stride: int, padding: tuple[int, int, int, int]) -> None:
        super().__init__()
        self.stride = stride
        self.padding = padding
        self.register_buffer("d", falling_weights(size, _FALL_OF_D), persistent=False)

    def forward(self, s: Tensor) -> Tensor:
        """Give the C-cells, from 0 to 1."""
        planes = s.shape[1]
        kernels = self.d.expand(planes, -1, -1, -1)  # (1, 1, 5, 5) -> (K, 1, 5, 5)
        padded = functional.pad(s, self.padding)
        excitation = functional.conv2d(
            padded, kernels, stride=self.stride, groups=planes
        )  # (B, K, H, W) -> (B, K, H', W')
        inhibition = excitation.mean(dim=1, keepdim=True)  # -> (B, 1, H', W')
        excess = functional.relu((1 + excitation) / (1 + inhibition) - 1)
        return excess / (SATURATION + excess)


class Neocognitron(nn.Module):
    """Three modules of an S- and a C-layer, and a linear read-out of the last one's cells."""

    def __init__(self, *, num_classes: int, in_channels: int, input_size: int) -> None:
        super().__init__()
        r, q = SELECTIVITIES, AMOUNTS
        side = _s3_size(input_size)
        self.s1 = SLayer(in_channels, selectivity=r[0], amount=q[0], padding=2)
        self.c1 = CLayer(FIELD, stride=2, padding=_C_PADDING)
        self.s2 = SLayer(PLANES, selectivity=r[1], amount=q[1], padding=1)
        self.c2 = CLayer(FIELD, stride=2, padding=_C_PADDING)
        self.s3 = SLayer(PLANES, selectivity=r[2], amount=q[2], padding=0)
        self.c3 = CLayer(side, stride=1, padding=(0, 0, 0, 0))
        self.readout = nn.Linear(PLANES * (side * side + 1), num_classes)
        # Untrained cells of S3 give hundredths.
        nn.init.normal_(self.readout.weight, std=10)

    def features(self, x: Tensor) -> Tensor:
        """Give what the read-out sees: the cells of S3 and of C3, (B, 120)."""
        u = self.c1(self.s1(x))  # (B, 1, 16, 16) -> (B, 24, 16, 16) -> (B, 24, 10, 10)
        u = self.c2(self.s2(u))  # -> (B, 24, 8, 8) -> (B, 24, 6, 6)
        s = self.s3(u)  # -> (B, 24, 2, 2)
        u = self.c3(s)  # -> (B, 24, 1, 1)
        return torch.cat([s.flatten(1), u.flatten(1)], dim=1)  # -> (B, 96 + 24)

    def forward(self, x: Tensor) -> Tensor:
        """Give the logits, (B, num_classes)."""
        logits: Tensor = self.readout(self.features(x))  # (B, 120) -> (B, num_classes)
        return logits


def falling_weights(size: int, factor: float) -> Tensor:
    """Give weights (1, 1, size, size) that fall with the distance to the centre and add up to 1."""
    steps = torch.arange(size) - (size - 1) / 2
    weights = factor ** torch.hypot(steps[:, None], steps[None, :])  # (size, size)
    return (weights / weights.sum())[None, None]  # -> (1, 1, size, size)


def _s3_size(input_size: int) -> int:
    """Height and width of S3's planes: 16 -> 10 -> 8 -> 6 -> 2."""
    c1 = input_size // 2 + 2
    c2 = (c1 - 2) // 2 + 2
    return c2 - (FIELD - 1)


@register_model(
    "neocognitron",
    paper="Fukushima: Neocognitron: A Self-organizing Neural Network Model for a Mechanism of "
    "Pattern Recognition Unaffected by Shift in Position, Biological Cybernetics 36, 1980",
    year=1980,
    input_size=(1, 16, 16),
    min_input_size=12,
    num_classes=10,
    parameter_count=30_682,
    macs=1_223_796,
    receptive_field=41,
    departures="A linear read-out of the cells of S3 and C3 tells the class, where in the paper a "
    "cell of C3 stands for each pattern. The paper prints neither the spacing of the C-cells nor "
    "the fixed weights c and d: here C1 and C2 lie two steps apart and reach over the edge, and "
    "the weights fall exponentially with the distance and add up to 1. Random weights are those "
    "that noise leaves, weakly inhibited, where the paper begins with weak ones and no inhibition.",
    preprocessing=INK,
)
def neocognitron(*, num_classes: int, in_channels: int, input_size: int) -> nn.Module:
    """Build the neocognitron; the layers, and the field of C3, grow with `input_size`."""
    return Neocognitron(num_classes=num_classes, in_channels=in_channels, input_size=input_size)

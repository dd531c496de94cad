"""WaveNet: van den Oord et al., 2016.

WaveNet: A Generative Model for Raw Audio, arXiv 1609.03499. It tells how likely each of 256 values
is for the next sample of a sound, given all samples before; `generate` draws sounds from it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from eyespot.zoo.entry import InputFact, Part
from eyespot.zoo.registry import register_model

CODES = 256
KERNEL = 2
# Each sample sees twice as far as a layer below does, and then it begins anew.
DILATIONS = tuple(2**power for power in range(10)) * 3
CHANNELS = 32
SKIP_CHANNELS = 128


class CausalConv1d(nn.Conv1d):
    """A convolution that sees the present and the past, and nothing before the beginning."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, *, dilation: int = 1
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, dilation=dilation)
        self.past = dilation * (kernel_size - 1)

    def forward(self, x: Tensor) -> Tensor:
        """Keep the length: (B, C, T) -> (B, C', T)."""
        return super().forward(functional.pad(x, (self.past, 0)))


class GatedLayer(nn.Module):
    """A dilated convolution, of which one half says what and the other how much of it."""

    def __init__(self, *, dilation: int) -> None:
        super().__init__()
        self.filter = CausalConv1d(CHANNELS, CHANNELS, KERNEL, dilation=dilation)
        self.gate = CausalConv1d(CHANNELS, CHANNELS, KERNEL, dilation=dilation)
        self.residual = nn.Conv1d(CHANNELS, CHANNELS, 1)
        self.skip = nn.Conv1d(CHANNELS, SKIP_CHANNELS, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Give the input of the next layer (B, 32, T), and the skip connection (B, 128, T)."""
        z = torch.tanh(self.filter(x)) * torch.sigmoid(self.gate(x))
        return x + self.residual(z), self.skip(z)


class WaveNet(nn.Module):
    """Thirty gated layers over one causal convolution; all of them speak to the output."""

    values: Tensor

    def __init__(self, *, symbols: int, classes: int, dilations: Sequence[int]) -> None:
        super().__init__()
        self.register_buffer("values", torch.arange(symbols), persistent=False)
        self.causal = CausalConv1d(symbols, CHANNELS, KERNEL)
        self.layers = nn.ModuleList(GatedLayer(dilation=dilation) for dilation in dilations)
        self.hidden = nn.Conv1d(SKIP_CHANNELS, SKIP_CHANNELS, 1)
        self.output = nn.Conv1d(SKIP_CHANNELS, classes, 1)
        self.receptive_field = receptive_field((1, *dilations))
        for layer in self.modules():
            if isinstance(layer, nn.Conv1d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="linear")
        # Of the symbols of a sample, one alone is there.
        nn.init.normal_(self.causal.weight, std=KERNEL**-0.5)

    def forward(self, codes: Tensor) -> Tensor:
        """Give the logits (B, T, 256) of the sample after each of codes (B, T)."""
        one_hot = (codes[:, None] == self.values[:, None]).float()  # (B, T) -> (B, 256, T)
        x = self.causal(one_hot)  # -> (B, 32, T)
        skips = []
        for layer in self.layers:
            x, skip = layer(x)  # -> (B, 32, T), (B, 128, T)
            skips.append(skip)
        total = sum(skips[1:], skips[0])
        x = functional.relu(self.hidden(functional.relu(total)))  # -> (B, 128, T)
        logits: Tensor = self.output(x)  # -> (B, 256, T)
        return logits.transpose(1, 2)  # -> (B, T, 256)


def receptive_field(dilations: Sequence[int], *, kernel: int = KERNEL) -> int:
    """Tell how many samples a stack of causal convolutions sees, the present one among them."""
    return 1 + (kernel - 1) * sum(dilations)


def mu_law_encode(waves: Tensor) -> Tensor:
    """Turn waves from -1 to 1 into codes, finely where it is quiet (ITU-T G.711, mu = 255)."""
    mu = CODES - 1
    squeezed = torch.sign(waves) * torch.log1p(mu * waves.abs()) / math.log1p(mu)
    return ((squeezed + 1) / 2 * mu + 0.5).long().clamp(0, mu)


def mu_law_decode(codes: Tensor) -> Tensor:
    """Turn codes into waves from -1 to 1."""
    mu = CODES - 1
    squeezed = codes / mu * 2 - 1
    return torch.sign(squeezed) * torch.expm1(squeezed.abs() * math.log1p(mu)) / mu


@torch.no_grad()
def generate(network: WaveNet, beginning: Tensor, *, samples: int, seed: int) -> Tensor:
    """Draw samples one after the other, each by the distribution that those before give it.

    Args:
        network: In evaluation mode.
        beginning: Codes (T,), at least one: silence is 128.
        samples: How many to draw.
        seed: Of the draws.

    Returns:
        The codes that were drawn, (samples,).
    """
    generator = torch.Generator().manual_seed(seed)
    codes = beginning
    for _ in range(samples):
        seen = codes[-network.receptive_field :]  # what lies farther back has no say
        chances = functional.softmax(network(seen[None])[0, -1], dim=0)  # (T,) -> (256,)
        drawn = torch.multinomial(chances, 1, generator=generator)
        codes = torch.cat([codes, drawn])
    return codes[len(beginning) :]


@register_model(
    "wavenet",
    paper="van den Oord et al.: WaveNet: A Generative Model for Raw Audio, arXiv 1609.03499",
    year=2016,
    input_size=(CODES, 1024),
    min_input_size=1,
    num_classes=CODES,
    parameter_count=349_152,
    macs=350_224_384,
    receptive_field=receptive_field((1, *DILATIONS)),
    departures="The paper does not print how wide its layers are: here 32 channels, and 128 of "
    "the skip connections. Neither speaker nor text conditions the sound. Random weights keep the "
    "variance of their layer's input.",
    preprocessing=None,
    task="sequence",
    dynamic_axes={1: "time"},
    parts=(
        Part(
            suffix="",
            inputs=(InputFact("codes", ("time",), datatype="INT64", upper=CODES),),
            outputs=("logits",),
        ),
    ),
)
def wavenet(*, num_classes: int, in_channels: int, input_size: int) -> nn.Module:
    """Build WaveNet for `in_channels` symbols; it takes any number of samples."""
    return WaveNet(symbols=in_channels, classes=num_classes, dilations=DILATIONS)

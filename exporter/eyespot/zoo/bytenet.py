"""ByteNet: Kalchbrenner, Espeholt, Simonyan, van den Oord, Graves and Kavukcuoglu, 2016.

Neural Machine Translation in Linear Time, arXiv 1610.10099. An encoder reads the whole source; a
decoder that cannot see ahead is stacked on it, column on column, and writes the target one symbol
after the other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from eyespot.zoo.entry import InputFact, Part
from eyespot.zoo.registry import register_model

BYTES = 256
KERNEL = 3
# A set of five blocks; the encoder has six sets, and so has the decoder.
DILATIONS = (1, 2, 4, 8, 16) * 6
# The paper's d.
CHANNELS = 128
# The paper's a and b: a translation is at most so much longer than its source.
LENGTH_FACTOR, LENGTH_EXTRA = 1.2, 0


class ResidualBlock(nn.Module):
    """A dilated convolution between two that see one step, normalised and rectified before each.

    Args:
        dilation: Steps between those that the kernel sees.
        is_masked: Whether it sees the past alone, or as much of both sides.
    """

    def __init__(self, *, dilation: int, is_masked: bool) -> None:
        super().__init__()
        span = dilation * (KERNEL - 1)
        self.padding = (span, 0) if is_masked else (span // 2, span // 2)
        self.norm1 = nn.LayerNorm(2 * CHANNELS)
        self.reduce = nn.Linear(2 * CHANNELS, CHANNELS)
        self.norm2 = nn.LayerNorm(CHANNELS)
        self.dilated = nn.Conv1d(CHANNELS, CHANNELS, KERNEL, dilation=dilation)
        self.norm3 = nn.LayerNorm(CHANNELS)
        self.expand = nn.Linear(CHANNELS, 2 * CHANNELS)

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape, (B, T, 2d)."""
        residual = self.reduce(functional.relu(self.norm1(x)))  # (B, T, 2d) -> (B, T, d)
        residual = functional.relu(self.norm2(residual)).transpose(1, 2)  # -> (B, d, T)
        residual = self.dilated(functional.pad(residual, self.padding))
        residual = self.norm3(residual.transpose(1, 2))  # -> (B, T, d)
        expanded: Tensor = self.expand(functional.relu(residual))  # -> (B, T, 2d)
        return x + expanded


class ByteNet(nn.Module):
    """Source (B, S) and target (B, T) in, logits (B, T, V) of what follows each target symbol."""

    def __init__(
        self, *, source_symbols: int, target_symbols: int, dilations: Sequence[int]
    ) -> None:
        super().__init__()
        self.source = nn.Embedding(source_symbols, 2 * CHANNELS)
        self.target = nn.Embedding(target_symbols, 2 * CHANNELS)
        self.encoder = nn.Sequential(
            *(ResidualBlock(dilation=dilation, is_masked=False) for dilation in dilations)
        )
        self.decoder = nn.Sequential(
            *(ResidualBlock(dilation=dilation, is_masked=True) for dilation in dilations)
        )
        self.hidden = nn.Linear(2 * CHANNELS, 2 * CHANNELS)
        self.output = nn.Linear(2 * CHANNELS, target_symbols)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        """Give the logits; the target begins with a symbol that means its beginning."""
        columns = self.encoder(self.source(source))  # (B, S) -> (B, S, 2d)
        symbols = self.target(target)  # (B, T) -> (B, T, 2d)
        # Dynamic unfolding: where the source has no column any more, zeros stand below.
        unfolded = torch.cat([columns, torch.zeros_like(symbols)], dim=1)  # -> (B, S + T, 2d)
        x = self.decoder(symbols + unfolded[:, : target.shape[1]])  # -> (B, T, 2d)
        x = functional.relu(self.hidden(functional.relu(x)))
        logits: Tensor = self.output(x)  # -> (B, T, V)
        return logits


def unfolded_length(source_length: int) -> int:
    """Tell how long a translation may become: the paper's a |s| + b."""
    return math.ceil(LENGTH_FACTOR * source_length + LENGTH_EXTRA)


@torch.no_grad()
def translate(network: ByteNet, source: Tensor, *, begin: int, end: int) -> Tensor:
    """Write the likeliest symbol, again and again, until the end or `unfolded_length`.

    Args:
        network: In evaluation mode.
        source: Symbols (S,).
        begin: The symbol before the first.
        end: The symbol after the last; it is not part of the translation.

    Returns:
        The symbols of the translation, at most `unfolded_length(S)`.
    """
    target = source.new_tensor([begin])
    for _ in range(unfolded_length(len(source))):
        logits = network(source[None], target[None])[0, -1]  # (S,), (T,) -> (V,)
        following = logits.argmax()
        if following == end:
            break
        target = torch.cat([target, following[None]])
    return target[1:]


@register_model(
    "bytenet",
    paper="Kalchbrenner et al.: Neural Machine Translation in Linear Time, arXiv 1610.10099",
    year=2016,
    input_size=(BYTES, 64),
    min_input_size=1,
    num_classes=BYTES,
    parameter_count=7_236_096,
    macs=448_790_528,
    receptive_field=None,
    departures="d is 128, where the paper's translator has 800. Symbols are bytes. The encoder "
    "reads the source as it is, and zeros stand beyond its end, where the paper first lengthens "
    "it to a |s| + b; that length bounds `translate`. The decoder adds the encoder's column to "
    "its symbol; how they meet is not printed.",
    preprocessing=None,
    task="sequence",
    parts=(
        Part(
            suffix="",
            inputs=(
                InputFact("source", ("source_time",), datatype="INT64", upper=BYTES),
                InputFact("target", ("time",), datatype="INT64", upper=BYTES),
            ),
            outputs=("logits",),
        ),
    ),
)
def bytenet(*, num_classes: int, in_channels: int, input_size: int) -> nn.Module:
    """Build ByteNet from `in_channels` to `num_classes` symbols; it takes any lengths."""
    return ByteNet(source_symbols=in_channels, target_symbols=num_classes, dilations=DILATIONS)

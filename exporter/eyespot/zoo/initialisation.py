"""Random weights through which a signal lives; He et al., 2015, Delving Deep into Rectifiers.

torchvision leaves some of its networks to PyTorch's default, or scales by fan-out, and then the
answer of an untrained network in evaluation mode hardly depends on its input: gradients are
zeros, and parity proves nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import nn


def initialise(network: nn.Module, *, unrectified: Collection[nn.Module] = ()) -> None:
    """Draw every convolution and hidden layer from N(0, 2 / fan_in); biases are zero.

    Batch normalisation begins as the identity. So does the variance of the logits: the last
    linear layer, behind which there is no rectifier, is drawn from N(0, 1 / fan_in).

    Args:
        network: Whose layers are drawn.
        unrectified: Other layers of it behind which there is no rectifier.
    """
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    linear = {*unrectified, *layers[-1:]}
    for layer in layers:
        nn.init.kaiming_normal_(layer.weight, nonlinearity="linear" if layer in linear else "relu")
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
    for norm in network.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.ones_(norm.weight)
            nn.init.zeros_(norm.bias)


def initialise_doubling(layer: nn.ConvTranspose2d, *, nonlinearity: str) -> None:
    """Draw a transposed convolution of stride 2 from N(0, gain^2 / fan_in); biases are zero.

    PyTorch counts the weights that leave an input. Those that meet in one output are, of every
    second row and column, a quarter of the kernel.

    Args:
        layer: Of any kernel size.
        nonlinearity: What comes behind it, in the words of `torch.nn.init.calculate_gain`.
    """
    fan_in = layer.in_channels * layer.kernel_size[0] * layer.kernel_size[1] / 4
    gain = nn.init.calculate_gain(nonlinearity)  # type: ignore[arg-type]
    nn.init.normal_(layer.weight, std=gain / fan_in**0.5)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def temper_residuals(last_layers: Sequence[nn.Module]) -> None:
    """Scale the last layer of each of L residual branches by 1 / sqrt(L).

    While batch normalisation does nothing, every branch adds to the variance of the sum: a
    doubling in each of 50 blocks is past all use. Scaled, the whole grows no more than e times.
    """
    for layer in last_layers:
        weight = layer.get_parameter("weight")
        with torch.no_grad():
            weight.mul_(len(last_layers) ** -0.5)

"""Random weights through which a signal lives; He et al., 2015, Delving Deep into Rectifiers.

torchvision leaves some of its networks to PyTorch's default, or scales by fan-out, and then the
answer of an untrained network in evaluation mode hardly depends on its input: gradients are
zeros, and parity proves nothing.
"""

from __future__ import annotations

from collections.abc import Collection

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

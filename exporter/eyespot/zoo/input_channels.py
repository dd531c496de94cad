"""torchvision's networks take three channels: here they take as many as are asked for."""

from __future__ import annotations

from torch import nn

_RGB = 3


def replace_input_layer(network: nn.Module, layer: str, in_channels: int) -> None:
    """Replace the first convolution by one of the same kind with `in_channels` inputs.

    Its weights are random, as the whole network's are at this point.
    """
    if in_channels == _RGB:
        return
    first = network.get_submodule(layer)
    if not isinstance(first, nn.Conv2d):
        raise TypeError(f"{layer} is a {type(first).__name__}, not the first convolution")
    replacement = nn.Conv2d(
        in_channels,
        first.out_channels,
        kernel_size=(first.kernel_size[0], first.kernel_size[1]),
        stride=(first.stride[0], first.stride[1]),
        padding=(int(first.padding[0]), int(first.padding[1])),
        bias=first.bias is not None,
    )
    nn.init.kaiming_normal_(replacement.weight, nonlinearity="relu")
    if replacement.bias is not None:
        nn.init.zeros_(replacement.bias)
    parent, _, child = layer.rpartition(".")
    setattr(network.get_submodule(parent), child, replacement)

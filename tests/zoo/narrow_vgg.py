"""What tests of dense networks share: a VGG-16 of few channels, open weights, measured fields."""

import torch
from torch import nn
from torch.nn import functional

from eyespot.zoo import vgg_trunk


def narrow(monkeypatch):
    """Give VGG-16 its layers, but two channels in each."""
    stages = tuple((2, layers) for _, layers in vgg_trunk._STAGES)
    monkeypatch.setattr(vgg_trunk, "_STAGES", stages)


def open_up(network):
    """Let everything through, by equal positive weights, in double precision."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.constant_(layer.weight, 1 / layer.weight[0].numel())
            nn.init.constant_(layer.bias, 0)
    return network.double().eval().requires_grad_(False)


def measured_field(network, layer, *, size, monkeypatch):
    """Count the pixels in a row that the middle element of a layer's output depends on."""
    # The largest of a window is one pixel; its mean is all of them.
    monkeypatch.setattr(functional, "max_pool2d", functional.avg_pool2d)
    given = []
    handle = layer.register_forward_hook(lambda _module, _inputs, output: given.append(output))
    channels = next(m for m in network.modules() if isinstance(m, nn.Conv2d)).in_channels
    image = torch.ones(1, channels, size, size, dtype=torch.float64, requires_grad=True)
    network(image)
    handle.remove()
    middle = given[0].shape[2] // 2
    (gradient,) = torch.autograd.grad(given[0][0, :, middle, middle].sum(), image)
    touched = gradient[0].abs().sum(0).nonzero()  # (N, 2)
    assert touched.min() > 0, "the field reaches the edge: take a larger picture"
    assert touched.max() < size - 1, "the field reaches the edge: take a larger picture"
    rows, columns = (touched.max(0).values - touched.min(0).values + 1).tolist()
    assert rows == columns
    return rows

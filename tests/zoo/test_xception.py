import pytest
import torch
from torch import nn

from eyespot.zoo import create_model


def on_meta():
    with torch.device("meta"):
        return create_model("xception")


def test_36_convolutions_in_14_modules():
    """Figure 5 of the paper: all but two of them separable; shortcuts are not counted."""
    network = on_meta()
    convolutions = [
        layer
        for name, layer in network.named_modules()
        if isinstance(layer, nn.Conv2d) and "skip" not in name and not name.endswith("pointwise")
    ]
    assert len(convolutions) == 36
    depthwise = [layer for layer in convolutions if layer.groups == layer.in_channels]
    assert len(depthwise) == 34
    modules = [child for name, child in network.named_children() if name.startswith("block")]
    # The other two of the 14 begin and end the network, without a shortcut.
    assert len(modules) == 12
    assert sum(block.skip is None for block in modules) == 8


def test_the_maps_are_those_of_figure_5():
    network = on_meta()
    shapes = []
    for name in ("block1", "block2", "block3", "block11", "block12", "act4"):
        network.get_submodule(name).register_forward_hook(
            lambda _m, _i, output: shapes.append(tuple(output.shape[1:]))
        )
    network(torch.empty(1, 3, 299, 299, device="meta"))
    assert shapes == [
        (128, 74, 74),
        (256, 37, 37),
        (728, 19, 19),
        (728, 19, 19),
        (1024, 10, 10),
        (2048, 10, 10),
    ]


def test_half_is_dropped_in_training():
    assert on_meta().drop_rate == pytest.approx(0.5)


def test_no_smaller_input_would_pass():
    with pytest.raises(RuntimeError, match="Kernel size can't be greater"):
        on_meta()(torch.empty(1, 3, 6, 6, device="meta"))

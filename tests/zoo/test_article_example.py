"""The worked example's arithmetic."""

import torch

from eyespot.zoo import create_model


def test_260_parameters_and_338_200():
    network = create_model("article_example")
    counts = {n: sum(p.numel() for p in m.parameters()) for n, m in network.named_children()}
    assert counts == {"conv": 10 * (5 * 5 + 1), "fc": 13 * 13 * 10 * 200 + 200}
    assert counts == {"conv": 260, "fc": 338_200}
    assert sum(counts.values()) == 338_460


def test_maps_are_26_then_13_pixels_wide():
    network = create_model("article_example")
    sizes = []
    network.conv.register_forward_hook(lambda _m, _i, output: sizes.append(tuple(output.shape)))
    network.fc.register_forward_pre_hook(lambda _m, inputs: sizes.append(tuple(inputs[0].shape)))
    assert network(torch.randn(3, 1, 30, 30)).shape == (3, 200)
    assert sizes == [(3, 10, 26, 26), (3, 13 * 13 * 10)]

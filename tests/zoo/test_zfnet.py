import torch
from torch import nn

from eyespot.zoo import create_model, model_entry


def test_the_maps_of_figure_3():
    with torch.device("meta"):
        network = create_model("zfnet")
    shapes = {}
    for name, layer in network.named_children():
        layer.register_forward_hook(
            lambda _m, _i, output, name=name: shapes.__setitem__(name, tuple(output.shape[1:]))
        )
    network(torch.empty(1, 3, 224, 224, device="meta"))
    assert shapes["conv1"] == (96, 110, 110)
    assert shapes["norm1"] == (96, 55, 55)
    assert shapes["conv2"] == (256, 26, 26)
    assert shapes["norm2"] == (256, 13, 13)
    assert shapes["conv3"] == shapes["conv4"] == (384, 13, 13)
    assert shapes["conv5"] == (256, 13, 13)
    assert shapes["pool5"] == (256, 6, 6)
    assert shapes["fc6"] == shapes["fc7"] == (4096,)


def test_the_first_layer_is_finer_than_alexnets_and_nothing_is_in_groups():
    with torch.device("meta"):
        network = create_model("zfnet")
    assert network.conv1.kernel_size == (7, 7)
    assert network.conv1.stride == network.conv2.stride == (2, 2)
    convolutions = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    assert [layer.groups for layer in convolutions] == [1] * 5


def test_the_count_by_hand():
    convolutions = [(96, 3, 7), (256, 96, 5), (384, 256, 3), (384, 384, 3), (256, 384, 3)]
    full = [(4096, 6 * 6 * 256), (4096, 4096), (1000, 4096)]
    by_hand = sum(out * (inputs * k * k + 1) for out, inputs, k in convolutions)
    by_hand += sum(out * (inputs + 1) for out, inputs in full)
    assert model_entry("zfnet").parameter_count == by_hand == 62_357_608

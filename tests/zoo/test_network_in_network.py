import pytest
import torch
from torch import nn

from eyespot.zoo import create_model
from eyespot.zoo.network_in_network import mlpconv


def on_meta(**shape):
    with torch.device("meta"):
        return create_model("network_in_network", **shape)


def count(network):
    return sum(parameter.numel() for parameter in network.parameters())


def test_an_mlpconv_is_one_perceptron_at_every_place():
    torch.manual_seed(0)
    layer = mlpconv(2, 4, 3, kernel_size=1).double()
    weights = [part for part in layer if isinstance(part, nn.Conv2d)]
    maps = torch.randn(1, 2, 5, 5, dtype=torch.float64)
    x = maps[0, :, 3, 1]
    for part in weights:
        x = (part.weight[:, :, 0, 0] @ x + part.bias).clamp(min=0)
    assert torch.allclose(layer(maps)[0, :, 3, 1], x)


def test_the_cifar_network_has_the_authors_widths():
    network = on_meta()
    assert [layer.out_channels for layer in network.modules() if isinstance(layer, nn.Conv2d)] == [
        *(192, 160, 96),
        *(192, 192, 192),
        *(192, 192, 10),
    ]
    assert count(network) == 966_986


def test_the_imagenet_network_is_the_authors():
    network = on_meta(num_classes=1000, input_size=224)
    assert count(network) == 7_595_176
    assert network(torch.empty(2, 3, 224, 224, device="meta")).shape == (2, 1000)


@pytest.mark.parametrize(
    ("shape", "layer", "size"),
    [
        ({}, "mlpconv1", 32),
        ({}, "mlpconv2", 16),
        ({}, "mlpconv3", 8),
        ({"input_size": 224}, "mlpconv1", 54),
        ({"input_size": 224}, "mlpconv2", 27),
        ({"input_size": 224}, "mlpconv3", 13),
        ({"input_size": 224}, "mlpconv4", 6),
    ],
)
def test_the_sizes_of_the_maps(shape, layer, size):
    network = on_meta(**shape)
    sizes = []
    network.get_submodule(layer).register_forward_hook(
        lambda _m, _i, output: sizes.append(output.shape[-1])
    )
    side = shape.get("input_size", 32)
    network(torch.empty(1, 3, side, side, device="meta"))
    assert sizes == [size]


def test_a_logit_is_the_mean_of_its_own_map():
    torch.manual_seed(0)
    network = create_model("network_in_network")
    maps = []
    network.mlpconv3.register_forward_hook(lambda _m, _i, output: maps.append(output))
    logits = network(torch.randn(2, 3, 16, 16))
    assert torch.allclose(logits, maps[0].mean((2, 3)))
    assert not any(isinstance(layer, nn.Linear) for layer in network.modules())

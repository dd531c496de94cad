import pytest
import torch

from eyespot.zoo import create_model, model_entry
from eyespot.zoo.densenet_cifar import DenseBlock, DenseLayer

# Layers of each dense block: table 1 of the paper, and (40 - 4) / 3.
BLOCKS = {
    "densenet121": (6, 12, 24, 16),
    "densenet169": (6, 12, 32, 32),
    "densenet201": (6, 12, 48, 32),
    "densenet161": (6, 12, 36, 24),
    "densenet40_k12": (12, 12, 12),
}
GROWTH_RATES = {"densenet161": 48, "densenet40_k12": 12}
# torchvision's documentation.
PARAMETER_COUNTS = {
    "densenet169": 14_149_480,
    "densenet201": 20_013_928,
    "densenet161": 28_681_000,
}


def on_meta(name):
    with torch.device("meta"):
        return create_model(name)


def run(name, network):
    return network(torch.empty(1, *model_entry(name).input_size, device="meta"))


def is_dense_layer(module):
    return isinstance(module, DenseLayer) or type(module).__name__ == "_DenseLayer"


@pytest.mark.parametrize("name", PARAMETER_COUNTS)
def test_the_published_parameter_count(name):
    assert PARAMETER_COUNTS[name] == model_entry(name).parameter_count


@pytest.mark.parametrize("name", BLOCKS)
def test_a_block_of_l_layers_has_l_times_l_plus_1_halves_connections(name):
    network = on_meta(name)
    received = {}
    for path, module in network.named_modules():
        if is_dense_layer(module):
            block = path.rsplit(".", 2)[0] if name == "densenet40_k12" else path.rsplit(".", 1)[0]
            module.register_forward_pre_hook(
                lambda _module, inputs, block=block: received.setdefault(block, []).append(
                    len(inputs[0])
                )
            )
    run(name, network)
    assert [len(inputs) for inputs in received.values()] == list(BLOCKS[name])
    for inputs in received.values():
        assert sum(inputs) == len(inputs) * (len(inputs) + 1) // 2


@pytest.mark.parametrize("name", BLOCKS)
def test_every_layer_adds_as_many_maps(name):
    convolutions = [
        (module.conv if isinstance(module, DenseLayer) else module.conv2)
        for module in on_meta(name).modules()
        if is_dense_layer(module)
    ]
    assert len(convolutions) == sum(BLOCKS[name])
    assert {layer.out_channels for layer in convolutions} == {GROWTH_RATES.get(name, 32)}
    assert {layer.kernel_size for layer in convolutions} == {(3, 3)}


def test_each_layer_listens_to_the_input_and_to_every_layer_before_it():
    torch.manual_seed(0)
    block = DenseBlock(2, 3, layers=4).eval()
    maps = [torch.rand(1, 2, 4, 4, requires_grad=True)]
    for layer in block.layers:
        given = layer(maps)
        heard = torch.autograd.grad(given.sum(), maps)
        assert all(gradients.any() for gradients in heard)
        maps.append(given.detach().requires_grad_())  # heard of directly, not by way of others
    assert torch.equal(block(maps[0]), torch.cat(maps, 1))


def test_densenet40_without_bottleneck_and_compression_by_hand():
    count, channels = 3 * 16 * 9, 16
    for block in range(3):
        for _layer in range(12):
            count += 2 * channels + channels * 12 * 9
            channels += 12
        if block < 2:
            count += 2 * channels + channels * channels  # as many channels as before
    count += 2 * channels + channels * 10 + 10
    assert count == 1_019_722 == model_entry("densenet40_k12").parameter_count  # "1.0M"


def test_densenet40_halves_its_maps_twice():
    network = on_meta("densenet40_k12")
    shapes = []
    for block in network.blocks:
        block.register_forward_hook(lambda _m, _i, output: shapes.append(tuple(output.shape[1:])))
    assert run("densenet40_k12", network).shape == (1, 10)
    assert shapes == [(160, 32, 32), (304, 16, 16), (448, 8, 8)]

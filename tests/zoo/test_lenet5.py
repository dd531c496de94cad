"""LeNet-5 against its paper."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from eyespot.zoo import create_model
from eyespot.zoo.lenet5 import (
    C3_CONNECTIONS,
    EuclideanOutput,
    PartialConvolution,
    Subsampling,
    squash,
)
from eyespot.zoo.lenet5_codes import digit_codes, random_codes

# Table I as printed: a row is a map of S2, a column one of C3.
TABLE_I = [
    "X...XXX..XXXX.XX",
    "XX...XXX..XXXX.X",
    "XXX...XXX..X.XXX",
    ".XXX..XXXX..X.XX",
    "..XXX..XXXX.XX.X",
    "...XXX..XXXX.XXX",
]


def test_squashing_maps_one_to_one():
    x = torch.tensor([-1.0, 0.0, 1.0, 100.0, -100.0])
    expected = torch.tensor([-1.0, 0.0, 1.0, 1.7159, -1.7159])
    torch.testing.assert_close(squash(x), expected, atol=2e-5, rtol=0)
    assert squash(torch.tensor(0.5)).item() == pytest.approx(1.7159 * math.tanh(1 / 3))


def test_subsampling_by_hand():
    layer = Subsampling(2)
    with torch.no_grad():
        layer.coefficient.copy_(torch.tensor([0.5, -1.0]))
        layer.bias.copy_(torch.tensor([1.0, 0.25]))
    x = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]], [[1.0, 0.0], [0.0, 1.0]]]])
    assert layer(x).tolist() == [[[[0.5 * 10 + 1]], [[-2 + 0.25]]]]


def test_c3_sees_the_maps_of_table_i():
    layer = PartialConvolution(C3_CONNECTIONS, kernel_size=5)
    silence = torch.zeros(1, 6, 14, 14)
    for source, row in enumerate(TABLE_I):
        x = silence.clone()
        x[0, source] = torch.randn(14, 14)
        moved = (layer(x) - layer(silence)).abs().amax(dim=(0, 2, 3)) > 0
        assert "".join("X" if m else "." for m in moved) == row


def test_c3_by_hand():
    layer = PartialConvolution(((0, 2), (1,)), kernel_size=2)
    x = torch.randn(3, 3, 4, 4)
    first = functional.conv2d(x[:, [0, 2]], layer.weight[None, :2], layer.bias[:1])
    second = functional.conv2d(x[:, [1]], layer.weight[None, 2:], layer.bias[1:])
    torch.testing.assert_close(layer(x), torch.cat([first, second], 1))


def test_c3_gradients_reach_its_packed_kernels():
    layer = PartialConvolution(((0, 1), (1,)), kernel_size=1)
    x = torch.tensor([[[[2.0]], [[3.0]]]])
    layer(x).sum().backward()
    assert layer.weight.grad.flatten().tolist() == [2.0, 3.0, 3.0]


def test_output_is_minus_the_squared_distance():
    layer = EuclideanOutput(10)
    x = torch.zeros(2, 84)
    x[1] = layer.codes[3]
    x[1, 0] += 0.5
    logits = layer(x)
    assert logits[0].tolist() == [-84.0] * 10  # every code has 84 cells of one
    assert logits[1, 3].item() == -0.25
    assert logits[1].argmax() == 3


def test_digit_codes_are_ten_different_pictures():
    codes = digit_codes()
    assert codes.shape == (10, 84)
    assert set(codes.flatten().tolist()) == {-1.0, 1.0}
    differing = (codes[:, None] != codes[None]).sum(dim=2)
    assert differing[~torch.eye(10, dtype=torch.bool)].min() >= 5
    one = codes[1].view(12, 7)
    assert (one[:, 3] == 1).sum() == 10  # the stem of the 1, between two empty rows


def test_other_numbers_of_classes_have_codes_that_never_change():
    codes = random_codes(26)
    assert set(codes.flatten().tolist()) == {-1.0, 1.0}
    assert len({tuple(code.tolist()) for code in codes}) == 26
    torch.manual_seed(7)
    assert torch.equal(create_model("lenet5", num_classes=26).output.codes, codes)


def test_connections_of_every_layer():
    # The counts of section II.B; a unit has one connection per weight that it uses, and a bias.
    network = create_model("lenet5")
    connections = {}

    def count(name):
        def hook(module, _inputs, output):
            units = output[0].numel()
            positions = output.shape[-1] * output.shape[-2]
            if isinstance(module, Subsampling):
                connections[name] = units * (2 * 2 + 1)
            elif isinstance(module, EuclideanOutput):
                connections[name] = module.codes.numel()
            elif isinstance(module, nn.Linear):
                connections[name] = sum(p.numel() for p in module.parameters())
            else:
                connections[name] = positions * sum(p.numel() for p in module.parameters())

        return hook

    for name, module in network.named_children():
        module.register_forward_hook(count(name))
    network(torch.zeros(1, 1, 32, 32))
    assert connections == {
        "c1": 122_304,
        "s2": 5_880,
        "c3": 151_600,
        "s4": 2_000,
        "c5": 48_120,
        "f6": 10_164,
        "output": 840,
    }
    assert sum(connections.values()) == 340_908


def test_parameters_of_every_layer():
    counts = {
        name: sum(p.numel() for p in module.parameters())
        for name, module in create_model("lenet5").named_children()
    }
    assert counts == {
        "c1": 156,
        "s2": 12,
        "c3": 1_516,
        "s4": 32,
        "c5": 48_120,
        "f6": 10_164,
        "output": 0,
    }


def test_initial_weights_stay_within_the_papers_bounds():
    network = create_model("lenet5")
    bounds = {"c1": 25, "s2": 4, "s4": 4, "c5": 400, "f6": 120}
    for name, fan_in in bounds.items():
        for parameter in network.get_submodule(name).parameters():
            assert parameter.abs().max() <= 2.4 / fan_in
    largest = network.c5.weight.abs().max()
    assert largest > 0.99 * 2.4 / 400
    kernels = iter(network.c3.weight.abs().amax(dim=(1, 2)))
    for sources in C3_CONNECTIONS:
        assert all(next(kernels) <= 2.4 / (25 * len(sources)) for _ in sources)


@pytest.mark.parametrize("name", ["lenet5", "lenet5_modern"])
@pytest.mark.parametrize("size", [16, 28, 45])
def test_other_input_sizes_change_the_network(name, size):
    network = create_model(name, in_channels=3, num_classes=4, input_size=size)
    assert network(torch.randn(2, 3, size, size)).shape == (2, 4)


def test_a_captured_program_is_the_network():
    network = create_model("lenet5")
    images = torch.randn(3, 1, 32, 32)
    batch = torch.export.Dim("batch")
    program = torch.export.export(network, (images[:2],), dynamic_shapes=({0: batch},))
    assert torch.equal(program.module()(images), network(images))

"""The network of the zip codes against its paper."""

from collections import Counter

import pytest
import torch
from torch.nn import functional

from eyespot.zoo import create_model, model_entry
from eyespot.zoo.lecun1989 import H2_CONNECTIONS

# Of the paper's section 3.3.
UNITS = {"h1": 768, "h2": 192, "h3": 30, "output": 10}
CONNECTIONS = {"h1": 19_968, "h2": 38_592, "h3": 5_790, "output": 310}
PARAMETERS = {"h1": 1_068, "h2": 2_592, "h3": 5_790, "output": 310}


def test_units_and_connections_of_every_layer():
    network = create_model("lecun1989")
    units, connections = {}, {}

    def count(name, weights_of_a_unit):
        def hook(_module, _inputs, output):
            units[name] = output[0].numel()
            connections[name] = units[name] * (weights_of_a_unit + 1)  # and its bias

        return hook

    for name, layer in network.named_children():
        weights = layer.weight.numel() // 12 if name in ("h1", "h2") else layer.in_features
        layer.register_forward_hook(count(name, weights))
    network(torch.zeros(1, 1, 16, 16))
    assert units == UNITS
    assert connections == CONNECTIONS
    assert sum(connections.values()) == 64_660


def test_independent_parameters_of_every_layer():
    counts = Counter()
    for name, parameter in create_model("lecun1989").named_parameters():
        counts[name.split(".")[0].removesuffix("_bias")] += parameter.numel()
    assert counts == PARAMETERS
    assert sum(counts.values()) == 9_760


def test_each_map_of_h2_sees_eight_of_twelve():
    network = create_model("lecun1989")
    silence = torch.zeros(1, 12, 8, 8)
    sees = []
    for source in range(12):
        x = silence.clone()
        x[0, source] = torch.randn(8, 8)
        moved = (network.h2(x) - network.h2(silence)).abs().amax(dim=(0, 2, 3)) > 0
        sees.append(moved.nonzero().flatten().tolist())
    for target, sources in enumerate(H2_CONNECTIONS):
        assert len(sources) == 8
        assert [source for source in range(12) if target in sees[source]] == list(sources)
    assert {len(targets) for targets in sees} == {8}
    assert len(set(H2_CONNECTIONS)) == 12


def test_beyond_the_edge_is_background():
    # A picture of background alone looks the same everywhere: so do its maps, but for biases.
    network = create_model("lecun1989")
    with torch.no_grad():
        network.h1_bias.zero_()
    seen = []
    network.h2.register_forward_pre_hook(lambda _m, inputs: seen.append(inputs[0]))
    network(torch.full((1, 1, 16, 16), -1.0))
    maps = seen[0][0]
    assert maps.shape == (12, 12, 12)  # H1 with two units of background around it
    torch.testing.assert_close(maps[:, 2:-2, 2:-2], maps[:, 2:3, 2:3].expand(-1, 8, 8))
    assert (maps[:, :2] == -1).all()


def test_the_network_by_hand():
    network = create_model("lecun1989")
    x = torch.randn(2, 1, 16, 16).clamp(-1, 1)

    def squash(a):
        return 1.7159 * torch.tanh(2 / 3 * a)

    h1 = functional.conv2d(functional.pad(x, (2, 2, 2, 2), value=-1), network.h1.weight, stride=2)
    h1 = functional.pad(squash(h1 + network.h1_bias), (2, 2, 2, 2), value=-1)
    kernels = network.h2.weight.view(12, 8, 5, 5)
    h2 = torch.stack(
        [
            functional.conv2d(h1[:, sources], kernels[target, None], stride=2)[:, 0]
            for target, sources in enumerate(H2_CONNECTIONS)
        ],
        dim=1,
    )
    h3 = squash(network.h3(squash(h2 + network.h2_bias).flatten(1)))
    torch.testing.assert_close(network(x), squash(network.output(h3)))


def test_initial_weights_stay_within_the_papers_bounds():
    fan_in = {"h1": 25, "h2": 200, "h3": 192, "output": 30}
    for name, parameter in create_model("lecun1989").named_parameters():
        bound = 2.4 / fan_in[name.split(".")[0].removesuffix("_bias")]
        assert 0.5 * bound < parameter.abs().max() <= bound


def test_pixels_are_scaled_as_in_the_paper():
    rule = model_entry("lecun1989").preprocessing
    assert [(ink - rule.mean[0]) / rule.std[0] for ink in (0, 1)] == [-1, 1]
    assert rule.size == (16, 16)


@pytest.mark.parametrize("size", [1, 20, 33])
def test_other_input_sizes_change_the_network(size):
    network = create_model("lecun1989", in_channels=3, num_classes=4, input_size=size)
    assert network(torch.randn(2, 3, size, size)).shape == (2, 4)

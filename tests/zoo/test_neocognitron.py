"""The neocognitron against its paper: sizes of layers, and cells computed by hand."""

import math

import pytest
import torch

from eyespot.zoo import create_model
from eyespot.zoo.neocognitron import CLayer, SLayer, falling_weights

# Cells of each layer, as the paper gives them: planes, height, width.
LAYERS = {
    "s1": (24, 16, 16),
    "c1": (24, 10, 10),
    "s2": (24, 8, 8),
    "c2": (24, 6, 6),
    "s3": (24, 2, 2),
    "c3": (24, 1, 1),
}


def s_layer(selectivity):
    layer = SLayer(1, selectivity=selectivity, amount=1.0, padding=0)
    with torch.no_grad():
        layer.a.zero_()
        layer.b.zero_()
        layer.c.fill_(1 / 25)
    return layer


def test_the_layers_have_the_papers_sizes():
    network = create_model("neocognitron")
    sizes = {}
    for name in LAYERS:
        network.get_submodule(name).register_forward_hook(
            lambda _m, _i, output, name=name: sizes.update({name: tuple(output.shape[1:])})
        )
    network(torch.rand(2, 1, 16, 16))
    assert sizes == LAYERS


def test_fixed_weights_fall_and_add_up_to_one():
    weights = falling_weights(3, 0.5)[0, 0]
    assert weights.sum().item() == pytest.approx(1)
    assert (weights[0, 1] / weights[1, 1]).item() == pytest.approx(0.5)
    assert (weights[0, 0] / weights[1, 1]).item() == pytest.approx(0.5 ** math.sqrt(2))


def test_an_s_cell_by_hand():
    layer = s_layer(selectivity=4.0)
    with torch.no_grad():
        layer.a[0] = 0.5
        layer.b[0] = 2.0
        layer.b[1] = 100.0
    u = torch.zeros(1, 1, 5, 5)
    u[0, 0, 0, :4] = 3.0  # excitation 4 * 3 * 0.5 = 6, v = sqrt(4 * 9 / 25) = 1.2
    s = layer(u)
    assert s.shape == (1, 24, 1, 1)
    # r * (7 / (1 + 8/5 * 2 * 1.2) - 1)
    assert s[0, 0].item() == pytest.approx(4 * (7 / 4.84 - 1), rel=1e-5)
    assert s[0, 1].item() == 0  # inhibited


def test_inhibition_sees_all_planes():
    layer = SLayer(2, selectivity=1.5, amount=1.0, padding=0)
    with torch.no_grad():
        layer.c.fill_(1 / 25)
    u = torch.stack([torch.full((5, 5), 1.0), torch.full((5, 5), 7.0)])[None]
    assert layer.inhibition(u).item() == pytest.approx(5.0)  # sqrt((1 + 49) / 2)


def test_darkness_has_gradients():
    u = torch.zeros(1, 1, 16, 16, requires_grad=True)
    (gradients,) = torch.autograd.grad(create_model("neocognitron")(u).sum(), u)
    assert gradients.isfinite().all()


def test_a_strengthened_plane_answers_to_what_is_like_it():
    layer = s_layer(selectivity=1.5)
    pattern = torch.rand(1, 1, 5, 5)
    layer.strengthen(torch.tensor([3]), pattern, amount=2.0)
    torch.testing.assert_close(layer.a[3], 2.0 * pattern[0] / 25)
    power = (pattern**2).sum().item() / 25
    assert layer.b[3].item() == pytest.approx(math.sqrt(power))  # half of 2
    assert not layer.a[[0, 1, 2, 4]].any()
    assert not layer.b[[0, 1, 2, 4]].any()


@pytest.mark.parametrize("selectivity", [1.5, 4.0])
def test_the_threshold_of_a_strengthened_plane_is_r_over_r_plus_one(selectivity):
    # Excitation over inhibition is the cosine of the angle to the pattern.
    layer = s_layer(selectivity)
    pattern = torch.zeros(1, 1, 5, 5)
    pattern[0, 0, 0, 0] = 1.0
    layer.strengthen(torch.tensor([0]), pattern, amount=1.0)
    threshold = selectivity / (selectivity + 1)
    for cosine, answers in ((threshold + 0.01, True), (threshold - 0.01, False)):
        other = torch.zeros(1, 1, 5, 5)
        other[0, 0, 0, 0] = cosine
        other[0, 0, 0, 1] = math.sqrt(1 - cosine**2)
        assert (layer(other)[0, 0].item() > 0) == answers


def test_a_c_cell_by_hand():
    layer = CLayer(2, stride=1, padding=(0, 0, 0, 0))
    s = torch.zeros(1, 2, 2, 2)
    s[0, 0, 0, 1] = 8.0  # d is 1/4: excitation 2, of both planes on average 1
    c = layer(s)
    excess = (1 + 2) / (1 + 1) - 1
    assert c[0, 0].item() == pytest.approx(excess / (0.5 + excess))
    assert c[0, 1].item() == 0


def test_c_cells_forgive_a_shift():
    layer = CLayer(5, stride=2, padding=(3, 4, 3, 4))
    s = torch.zeros(3, 2, 16, 16)
    s[0, 0, 8, 8] = 1.0
    s[1, 0, 9, 8] = 1.0
    s[2, 1, 8, 8] = 1.0  # another feature
    here, shifted, other = layer(s).flatten(1)
    assert torch.cosine_similarity(here, shifted, dim=0) > 0.5
    assert torch.cosine_similarity(here, other, dim=0) == 0


@pytest.mark.parametrize("size", [12, 20, 33])
def test_other_input_sizes_change_the_network(size):
    network = create_model("neocognitron", in_channels=3, num_classes=4, input_size=size)
    assert network(torch.rand(2, 3, size, size)).shape == (2, 4)

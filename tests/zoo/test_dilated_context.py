"""Dilated context against its paper: the identity that it begins as, and what it sees."""

import pytest
import torch
from tests.zoo.narrow_vgg import measured_field, narrow, open_up
from torch import nn
from torch.nn import functional

from eyespot.zoo import ArchitectureError, create_model, dilated_context, model_entry
from eyespot.zoo.dilated_context import ContextModule, FrontEnd

BASIC, LARGE = "dilated_context_basic", "dilated_context_large"


def convolutions(network):
    return [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]


@pytest.fixture
def front_end(monkeypatch):
    narrow(monkeypatch)
    monkeypatch.setattr(dilated_context, "_FULL_WIDTH", 4)
    return FrontEnd(num_classes=2, in_channels=1)


def test_a_fresh_basic_module_passes_its_input_on():
    scores = torch.rand(2, 21, 13, 22)
    assert torch.equal(create_model(BASIC)(scores), scores)


def test_a_fresh_large_module_almost_does(monkeypatch):
    scores = torch.rand(1, 3, 20, 20)
    monkeypatch.setattr(dilated_context, "_NOISE", 0.0)
    exactly = ContextModule(dilated_context.LARGE_WIDTHS, classes=3)(scores)
    torch.testing.assert_close(exactly, scores)
    monkeypatch.undo()
    torch.manual_seed(0)
    nearly = ContextModule(dilated_context.LARGE_WIDTHS, classes=3)(scores)
    assert (nearly - scores).abs().mean() > 0
    assert torch.corrcoef(torch.stack([nearly.flatten(), scores.flatten()]))[0, 1] > 0.5


def test_the_large_modules_weights_are_those_of_equation_5():
    # From 2 C to 4 C maps with C = 2: a class is two maps, then four; C / c_i is 1 / 2.
    layer = nn.Conv2d(4, 8, 3, padding=1)
    torch.manual_seed(0)
    dilated_context.identity_kernel(layer, 2)
    centre = layer.weight[:, :, 1, 1].detach()
    same = torch.block_diag(torch.ones(4, 2), torch.ones(4, 2)).bool()
    assert (centre[same] == 0.5).all()
    others = torch.cat([centre[~same], layer.weight[:, :, 0].detach().flatten()])
    assert 0.005 < others.std() < 0.02


def test_dilations_and_widths_are_those_of_table_1():
    with torch.device("meta"):
        basic, large = create_model(BASIC), create_model(LARGE)
    for network in (basic, large):
        layers = convolutions(network)
        assert [layer.dilation[0] for layer in layers] == [1, 1, 2, 4, 8, 16, 1, 1]
        assert [layer.kernel_size[0] for layer in layers] == [3] * 7 + [1]
    assert [layer.out_channels for layer in convolutions(basic)] == [21] * 8
    widths = [layer.out_channels // 21 for layer in convolutions(large)]
    assert widths == [2, 2, 4, 8, 16, 32, 32, 1]


def test_the_basic_module_has_about_64_c_squared_weights():
    weights = model_entry(BASIC).parameter_count - 8 * 21  # without biases
    assert weights == 64 * 21**2


@pytest.mark.parametrize(
    ("layers", "field"), [(1, 3), (2, 5), (3, 9), (4, 17), (5, 33), (6, 65), (7, 67), (8, 67)]
)
def test_the_receptive_fields_are_those_of_table_1(layers, field, monkeypatch):
    network = open_up(ContextModule(dilated_context.BASIC_WIDTHS, classes=2))
    layer = convolutions(network)[layers - 1]
    assert measured_field(network, layer, size=80, monkeypatch=monkeypatch) == field


def test_what_a_module_takes_is_what_it_gives():
    assert create_model(BASIC, num_classes=4, in_channels=4)(torch.rand(1, 4, 5, 6)).shape[1] == 4
    with pytest.raises(ArchitectureError, match=r"num_classes is 5 and in_channels 21, give both"):
        create_model(BASIC, num_classes=5)


def test_dilations_of_the_front_end():
    with torch.device("meta"):
        network = create_model("dilated_frontend_vgg16")
    rates = {n: m.dilation[0] for n, m in network.named_children() if isinstance(m, nn.Conv2d)}
    assert {n: rate for n, rate in rates.items() if rate > 1} == {
        "conv5_1": 2, "conv5_2": 2, "conv5_3": 2, "fc6": 4,
    }  # fmt: skip
    assert all(layer.padding == (0, 0) for layer in convolutions(network))


def test_a_picture_of_512_has_64_by_64_scores(front_end):
    sizes = []
    front_end.final.register_forward_hook(lambda _m, _i, out: sizes.append(tuple(out.shape[2:])))
    assert front_end.eval()(torch.zeros(1, 1, 512, 497)).shape == (1, 2, 512, 497)
    assert sizes == [(64, 63)]


def test_scores_of_the_front_end_lie_upon_their_pixels(front_end):
    network = open_up(front_end)
    image = torch.randn(1, 1, 200, 208, dtype=torch.float64)
    scores = network(image)
    torch.testing.assert_close(network(image.flip(2, 3)), scores.flip(2, 3))


def test_a_score_is_in_the_middle_of_its_cell(front_end):
    given = []
    front_end.final.register_forward_hook(lambda _m, _i, output: given.append(output))
    scores = front_end.eval()(torch.randn(1, 1, 196, 203))
    expected = functional.interpolate(given[0], scale_factor=8, mode="bilinear")
    torch.testing.assert_close(scores, expected[:, :, :196, :203])


def test_the_margin_is_the_picture_reflected():
    image = torch.arange(200.0 * 200).view(1, 1, 200, 200)
    reflected = dilated_context._reflect(image, 25, 25)
    assert torch.equal(reflected, functional.pad(image, (186,) * 4, mode="reflect"))


def test_the_receptive_field_of_the_front_end(front_end, monkeypatch):
    # A cell's own 8 pixels and the margin of 186 on either side.
    field = measured_field(open_up(front_end), front_end.final, size=600, monkeypatch=monkeypatch)
    assert field == 8 + 2 * 186 == model_entry("dilated_frontend_vgg16").receptive_field

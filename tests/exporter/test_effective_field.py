"""Effective receptive fields: gradients known by hand, and the picture of one."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from eyespot.exporter import (
    CaptureError,
    LayerNameError,
    draw_effective_field,
    effective_field,
    export,
    layer_table,
    measure_entry,
    measure_zoo_model,
    trace,
)


def measured(module, side=15, samples=3):
    program = trace(module, torch.zeros(1, 1, side, side))
    rows = [torch.ones(1, 1, side, side)] * samples
    weights = module.state_dict()
    return effective_field(program, layer_table(program).last_map, [(weights, x) for x in rows])


@pytest.fixture
def two_means():
    """Two 3x3 means: paths to a pixel number 1 2 3 2 1 along each axis."""
    network = nn.Sequential(nn.Conv2d(1, 1, 3, bias=False), nn.Conv2d(1, 1, 3, bias=False))
    for parameter in network.parameters():
        nn.init.constant_(parameter, 1 / 9)
    return network


def test_the_gradient_counts_the_paths(two_means):
    field = measured(two_means)
    assert field.unit == (5, 5)
    assert field.box == (5, 5, 5, 5)
    paths = np.array([1, 2, 3, 2, 1]) / 3
    assert field.gradients[5:10, 5:10] == pytest.approx(np.outer(paths, paths), abs=1e-6)
    assert field.gradients.sum() == pytest.approx(9.0, abs=1e-5)
    # The corners have 1/9 of the largest, more than the bound: all 25 pixels count.
    assert (field.size, field.part, field.samples) == (5.0, 1.0, 3)


def test_many_layers_see_far_less_than_they_could():
    """The paper's finding: a Gaussian, whose width grows with the square root of the depth."""
    network = nn.Sequential(*(nn.Conv2d(1, 1, 3, bias=False) for _ in range(20)))
    for parameter in network.parameters():
        nn.init.constant_(parameter, 1 / 9)
    field = measured(network, side=61, samples=1)
    assert field.box[2:] == (41, 41)
    # A step of a 3-wide mean has the variance 2/3, so 20 have a standard deviation of 3.65; the
    # bound is passed at 2.49 of them, and what is counted is a disc.
    assert field.size == pytest.approx(np.sqrt(np.pi) * 2.49 * np.sqrt(20 * 2 / 3), rel=0.03)


def test_signs_of_channels_do_not_cancel():
    network = nn.Conv2d(1, 2, 1, bias=False)
    with torch.no_grad():
        network.weight.copy_(torch.tensor([1.0, -1.0]).view(2, 1, 1, 1))
    field = measured(network, side=3, samples=16)
    assert field.gradients[1, 1] == 1


def test_a_network_that_writes_into_its_input_can_be_measured():
    network = nn.Sequential(nn.ReLU(inplace=True), nn.Conv2d(1, 1, 3), nn.ReLU(inplace=True))
    nn.init.ones_(network[1].weight)
    nn.init.ones_(network[1].bias)
    assert measured(network, side=7).size == 3


def test_a_field_needs_a_map(two_means):
    program = trace(nn.Sequential(two_means, nn.Flatten()), torch.zeros(1, 1, 9, 9))
    flat = layer_table(program).layers[-1]
    with pytest.raises(CaptureError, match="flatten gives"):
        effective_field(program, flat, [(two_means.state_dict(), torch.zeros(1, 1, 9, 9))])


def test_the_box_is_where_the_gradients_are():
    field = measure_zoo_model("lenet5_modern", samples=10)
    top, left, height, width = map(int, field.box)
    inside = field.gradients[top : top + height, left : left + width]
    assert (inside.shape, field.gradients.shape) == ((16, 16), (32, 32))
    assert (inside > 0).all()
    assert field.gradients.sum() == pytest.approx(inside.sum())


def test_another_map_of_the_zoo_and_one_that_is_not_there():
    field = measure_zoo_model("lenet5_modern", layer="conv2d", samples=1)
    assert (field.node, field.box[2:]) == ("conv2d", (5, 5))
    with pytest.raises(LayerNameError, match="no layer 'conv9'; did you mean 'conv2' or "):
        measure_zoo_model("lenet5_modern", layer="conv9", samples=1)


def test_a_map_by_the_module_that_ends_in_it():
    by_module = measure_zoo_model("lenet5_modern", layer="conv2", samples=1)
    assert (by_module.node, by_module.box[2:]) == ("conv2d_1", (14, 14))


def test_pictures_take_the_place_of_random_inputs(tmp_path):
    Image.new("L", (40, 50), 90).save(tmp_path / "grey.png")
    field = measure_zoo_model("lenet5_modern", images=tmp_path)
    assert (field.samples, field.gradients.shape) == (1, (32, 32))


def test_an_entry_is_measured_on_pixels(exported):
    field = measure_entry(exported.path.parent.parent, "small", samples=2)
    assert (field.box[2:], field.gradients.shape) == ((3, 3), (12, 12))
    assert 0 < field.size <= 3


def test_an_entry_that_takes_no_picture_is_refused(tmp_path):
    export(nn.Linear(4, 3), torch.zeros(1, 4), repository=tmp_path, name="flat")
    with pytest.raises(CaptureError, match=r"flat takes \(1, 4\): the effective"):
        measure_entry(tmp_path, "flat")


def test_the_picture_shows_the_bump_and_the_box(two_means, tmp_path):
    draw_effective_field(measured(two_means), tmp_path / "field.png", title="two means")
    with Image.open(tmp_path / "field.png") as image:
        picture = np.asarray(image.convert("RGB")).astype(int)
    assert picture.shape == (600, 1200, 3)
    cyan = np.abs(picture - (23, 190, 207)).sum(2) < 12
    yellow = np.abs(picture - (252, 253, 191)).sum(2) < 12
    assert cyan[:, :600].any()
    assert cyan[:, 600:].any()
    rows, columns = cyan[:, :500].nonzero()
    bright = yellow[rows.min() : rows.max(), columns.min() : columns.max()]
    assert bright.any()

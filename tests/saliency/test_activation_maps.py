"""CAM and its kin: by hand on maps that are given, and as captum has Grad-CAM."""

import numpy as np
import pytest
import torch
from captum.attr import GuidedBackprop, GuidedGradCam, LayerGradCam
from tests.saliency.networks import Block, Pooled, Resnet, Segmentation, vgg
from torch import nn
from torch.nn import functional as F  # noqa: N812

from eyespot.saliency import METHODS, LayerError, UnavailableMethodError
from eyespot.saliency.maps import blend

# Two maps of 2 x 2, and what two classes make of their means.
MAPS = np.array([[[[4, 0], [0, 8]], [[2, 2], [0, 0]]]], np.float32)
WEIGHT = [[1.0, 2.0], [1.0, -3.0]]


def pictures(rows=3, size=32):
    return np.random.default_rng(0).standard_normal((rows, 3, size, size)).astype(np.float32)


@pytest.fixture
def pooled(capture):
    return capture(Pooled(WEIGHT), torch.zeros(2, 2, 2, 2))


def test_cam_weighs_the_maps_by_the_head(pooled, explain):
    found = explain("cam", pooled, MAPS, [1])
    np.testing.assert_array_equal(found.attributions, [[[[-2, -6], [0, 8]]]])
    np.testing.assert_array_equal(found.scores, [0])  # 3 - 3 * 1


def test_cam_of_a_contrast_is_the_difference(pooled, explain):
    found = explain("cam", pooled, MAPS, [0], against=[1])
    np.testing.assert_array_equal(found.attributions, [[[[10, 10], [0, 0]]]])


def test_grad_cam_is_cam_over_the_number_of_places_where_positive(pooled, explain):
    found = explain("grad_cam", pooled, MAPS, [1])
    np.testing.assert_allclose(found.attributions, [[[[0, 0], [0, 2]]]])


def test_grad_cam_plus_plus_by_hand(pooled, explain):
    # g = w / 4 everywhere: 1/4 and 1/2. alpha = 1 / (2 + sum(A) g): 1/5 and 1/4.
    # w = sum of alpha g over 4 places: 1/5 and 1/2.
    found = explain("grad_cam_plus_plus", pooled, MAPS, [0])
    np.testing.assert_allclose(found.attributions, [[[[1.8, 1], [0, 1.6]]]], rtol=1e-6)
    # The second map's gradient is negative: it does not count.
    found = explain("grad_cam_plus_plus", pooled, MAPS, [1])
    np.testing.assert_allclose(found.attributions, [[[[0.8, 0], [0, 1.6]]]], rtol=1e-6)


def test_layer_cam_by_hand(capture, explain):
    class Weighed(nn.Module):  # the gradient differs from place to place
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.tensor([[[1.0, 2.0], [-3.0, 4.0]]]))

        def forward(self, x):
            maps = x * 1.0
            return torch.stack([(maps * self.weight).sum((1, 2, 3)), maps.sum((1, 2, 3))], 1)

    backend = capture(Weighed(), torch.zeros(2, 1, 2, 2))
    layer = backend.layers()[0].name
    found = explain("layer_cam", backend, [[[[1, 1], [1, -1]]]], [0], layer=layer)
    np.testing.assert_array_equal(found.attributions, [[[[1, 2], [0, 0]]]])


def interpolated(maps, size):
    return F.interpolate(maps, size=(size, size), mode="bilinear").detach().numpy()


@pytest.mark.parametrize("build", [vgg, Resnet])
def test_grad_cam_equals_captum(capture, explain, build):
    module = build()
    size = 16 if build is vgg else 32
    layer = module[6] if build is vgg else module.blocks[1].relu
    x = pictures(size=size)
    backend = capture(module, torch.zeros(2, 3, size, size), "input" if build is vgg else "x")
    found = explain("grad_cam", backend, x, [0, 3, 1])
    if build is Resnet:  # the rectifier is used twice, so it is the block that captum hooks
        layer = module.blocks[1]
    expected = LayerGradCam(module, layer).attribute(
        torch.from_numpy(x), target=[0, 3, 1], relu_attributions=True
    )
    expected = interpolated(expected, size)
    assert expected.max() > 0
    np.testing.assert_allclose(
        found.attributions, expected, rtol=0, atol=1e-5 * np.abs(expected).max()
    )


def test_guided_grad_cam_equals_captum(capture, explain):
    module, x = vgg(), pictures(size=16)
    backend = capture(module, torch.zeros(2, 3, 16, 16), "input")
    found = explain("guided_grad_cam", backend, x, [0, 3, 1])
    with pytest.warns(UserWarning, match="hooks"):
        expected = (
            GuidedGradCam(module, module[6])
            .attribute(
                torch.from_numpy(x).requires_grad_(),
                target=[0, 3, 1],
                interpolate_mode="bilinear",
            )
            .detach()
            .numpy()
        )
    scale = np.abs(expected).max()
    assert scale > 0
    np.testing.assert_allclose(found.attributions, expected, rtol=0, atol=1e-5 * scale)
    with pytest.warns(UserWarning, match="hooks"):
        guided = GuidedBackprop(module).attribute(
            torch.from_numpy(x).requires_grad_(), target=[0, 3, 1]
        )
    product = guided.detach().numpy() * explain("grad_cam", backend, x, [0, 3, 1]).attributions
    np.testing.assert_allclose(found.attributions, product, rtol=0, atol=1e-6 * scale)


@pytest.mark.parametrize(("size", "larger"), [(1, 5), (2, 4), (7, 32), (3, 3), (4, 9)])
def test_enlarging_is_bilinear(size, larger):
    values = np.random.default_rng(0).standard_normal((1, 1, size)).astype(np.float32)
    expected = F.interpolate(torch.from_numpy(values), larger, mode="linear").numpy()
    np.testing.assert_allclose(blend(size, larger) @ values[0, 0], expected[0, 0], atol=1e-6)


def test_the_last_map_before_pooling_is_the_default(capture):
    backend = capture(vgg(), torch.zeros(2, 3, 16, 16), "input")
    shapes = {layer.name: layer.shape for layer in backend.layers()}
    assert shapes[backend.find_layer("")] == (12, 8, 8)
    assert "relu" in backend.find_layer("")


def test_the_default_of_a_segmentation_is_features_and_not_its_output(capture):
    backend = capture(Segmentation(), torch.zeros(2, 3, 8, 8))
    assert backend.find_layer("") == "relu"


def test_an_unknown_layer_is_told_the_nearest(capture, explain):
    backend = capture(vgg(), torch.zeros(2, 3, 16, 16), "input")
    with pytest.raises(LayerError, match=r"no layer 'relu_3'; did you mean 'relu_2'"):
        explain("grad_cam", backend, pictures(size=16), [0, 0, 0], layer="relu_3")
    with pytest.raises(LayerError, match="no layer 'linear'"):
        backend.find_layer("linear")


def test_a_module_is_a_layer_by_its_last_map(capture, explain):
    backend = capture(Segmentation(), torch.zeros(2, 3, 8, 8))
    assert [(each.name, each.modules) for each in backend.layers()] == [
        ("conv2d", ("first",)),
        ("relu", ()),  # a function of torch's, in no module but the network
    ]
    backend = capture(vgg(), torch.zeros(2, 3, 16, 16), "input")
    assert [backend.find_layer(module) for module in "0367"] == [
        *("conv2d", "relu_1", "relu_2", "max_pool2d_1")
    ]
    found = explain("grad_cam", backend, pictures(size=16), [0, 1, 2], layer="3")
    expected = explain("grad_cam", backend, pictures(size=16), [0, 1, 2], layer="relu_1")
    np.testing.assert_array_equal(found.attributions, expected.attributions)


def test_an_unknown_module_is_told_the_nearest(capture):
    with pytest.raises(LayerError, match=r"no layer 'frist'; did you mean 'first'\? the last"):
        capture(Segmentation(), torch.zeros(2, 3, 8, 8)).find_layer("frist")


def test_channels_last_is_enlarged_in_the_inputs_own_order(capture, explain):
    class Last(nn.Module):
        def __init__(self):
            super().__init__()
            self.network = Resnet()

        def forward(self, x):
            return self.network(x.permute(0, 3, 1, 2))

    x = pictures(rows=1)
    last = capture(Last(), torch.zeros(2, 32, 32, 3), channel_axis=3)
    found = explain("grad_cam", last, x.transpose(0, 2, 3, 1), [2]).attributions
    first = capture(Resnet(), torch.zeros(2, 3, 32, 32))
    assert found.shape == (1, 32, 32, 1)
    expected = explain("grad_cam", first, x, [2]).attributions.transpose(0, 2, 3, 1)
    np.testing.assert_allclose(found, expected, atol=1e-6)


class Dense(nn.Module):
    def __init__(self):
        super().__init__()
        self.block = Block(3)
        self.head = nn.Linear(3 * 64, 5)

    def forward(self, x):
        return self.head(self.block(x).flatten(1))


def test_cam_without_a_pool_is_refused_with_the_operators_name(capture, explain):
    backend = capture(Dense(), torch.zeros(2, 3, 8, 8))
    with pytest.raises(UnavailableMethodError, match=r"pool that feeds .* but aten.relu_ \(relu"):
        explain("cam", backend, pictures(size=8), [0, 0, 0])
    with pytest.raises(UnavailableMethodError, match=r"but the network ends in aten\.conv2d"):
        capture(Segmentation(), torch.zeros(2, 3, 8, 8)).linear_head()


def test_rows_that_are_no_pictures_have_no_maps(capture):
    backend = capture(nn.Linear(4, 3), torch.zeros(2, 4), "input", channel_axis=None)
    for name in ("cam", "grad_cam", "layer_cam", "occlusion", "rise"):
        with pytest.raises(UnavailableMethodError, match="needs pictures"):
            METHODS[name].check_backend(backend)


@pytest.mark.parametrize("name", METHODS)
def test_a_dead_network_gives_zeros_and_not_nan(capture, explain, name):
    module = Resnet()
    with torch.no_grad():
        for block in module.blocks:
            block.second_norm.weight.zero_()
            block.second_norm.bias.fill_(-9)  # every rectifier behind it is shut
    backend = capture(module, torch.zeros(2, 3, 32, 32))
    parameters = {"rise": {"n_masks": 4}, "smooth_grad": {"n_samples": 2}}.get(name, {})
    for x in (pictures(rows=2), np.zeros((2, 3, 32, 32), np.float32)):
        found = explain(name, backend, x, [0, 1], **parameters)
        assert np.isfinite(found.attributions).all()
        assert np.isfinite(found.scores).all()

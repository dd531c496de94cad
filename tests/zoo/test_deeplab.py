"""DeepLab against its papers: the rates of its atrous convolutions, and what they see."""

import pytest
import torch
from tests.zoo.narrow_vgg import measured_field, narrow, open_up
from torch import nn

from eyespot.zoo import create_model, deeplab, model_entry
from eyespot.zoo.deeplab import DeepLabV1


def on_meta(name):
    with torch.device("meta"):
        return create_model(name)


@pytest.fixture
def small(monkeypatch):
    narrow(monkeypatch)
    monkeypatch.setattr(deeplab, "_FULL_WIDTH", 4)
    return DeepLabV1(num_classes=3, in_channels=1)


def test_the_rates_of_version_1():
    network = on_meta("deeplab_v1_vgg16")
    rates = {n: m.dilation[0] for n, m in network.named_children() if isinstance(m, nn.Conv2d)}
    holes = {name: rate for name, rate in rates.items() if rate > 1}
    assert holes == {"conv5_1": 2, "conv5_2": 2, "conv5_3": 2, "fc6": 12}
    # The field of view of LargeFOV's first full layer, as the paper's table counts it.
    assert (network.fc6.kernel_size[0] - 1) * rates["fc6"] * 8 + 32 == 224


def test_scores_have_an_eighth_of_the_size(small):
    sizes = []
    small.fc8.register_forward_hook(lambda _m, _i, output: sizes.append(tuple(output.shape[2:])))
    small.eval()(torch.zeros(1, 1, 41, 57))
    assert sizes == [(6, 8)]


def test_scores_lie_upon_the_pixels_that_they_are_about(small):
    network = open_up(small)
    image = torch.randn(1, 1, 41, 33, dtype=torch.float64)
    scores = network(image)
    torch.testing.assert_close(network(image.flip(2, 3)), scores.flip(2, 3))
    # Corners lie upon corners: the first score is the first pixel's, unmixed.
    given = []
    network.fc8.register_forward_hook(lambda _m, _i, output: given.append(output))
    scores = network(image)
    torch.testing.assert_close(scores[:, :, ::8, ::8], given[0])


def test_the_receptive_field_is_as_declared(small, monkeypatch):
    field = measured_field(open_up(small), small.fc8, size=561, monkeypatch=monkeypatch)
    assert field == model_entry("deeplab_v1_vgg16").receptive_field


def test_the_parameters_of_version_1():
    # The paper's table: 20.5 million for LargeFOV.
    assert model_entry("deeplab_v1_vgg16").parameter_count == pytest.approx(20.5e6, abs=5e4)


def test_the_absence_of_the_random_field_is_said():
    assert "conditional random field" in model_entry("deeplab_v1_vgg16").departures


def test_random_weights_answer_to_their_input():
    torch.manual_seed(0)
    network = create_model("deeplab_v1_vgg16")
    with torch.no_grad():
        first, second = (network(torch.randn(1, 3, 65, 65)) for _ in range(2))
    assert 1e-2 < first.std() < 1e2
    assert (first - second).abs().mean() > 1e-2 * first.std()


def test_the_rates_of_version_3():
    network = on_meta("deeplab_v3_resnet50")
    pyramid = network.classifier[0].convs
    convolutions = [m for m in pyramid.modules() if isinstance(m, nn.Conv2d)]
    assert [(m.kernel_size[0], m.dilation[0]) for m in convolutions] == [
        (1, 1), (3, 12), (3, 24), (3, 36), (1, 1),
    ]  # fmt: skip
    # The two last stages look at every second and every fourth, and have no stride.
    for stage, rates in (("layer3", [1, 2, 2, 2, 2, 2]), ("layer4", [2, 4, 4])):
        blocks = network.backbone[stage]
        assert [block.conv2.dilation[0] for block in blocks] == rates
        assert all(block.conv2.stride == (1, 1) for block in blocks)


def test_version_3_sees_the_whole_picture():
    network = on_meta("deeplab_v3_resnet50")
    pooling = network.classifier[0].convs[4]
    assert isinstance(pooling[0], nn.AdaptiveAvgPool2d)
    assert pooling[0].output_size == 1
    assert model_entry("deeplab_v3_resnet50").receptive_field is None

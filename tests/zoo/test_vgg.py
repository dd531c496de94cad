import pytest
import torch
from torch import nn

from eyespot.zoo import create_model

# Table 1's columns A, B, D and E: layers with weights, and 3x3 convolutions by stage.
CONFIGURATIONS = {
    "vgg11": (11, [1, 1, 2, 2, 2]),
    "vgg13": (13, [2, 2, 2, 2, 2]),
    "vgg16": (16, [2, 2, 3, 3, 3]),
    "vgg19": (19, [2, 2, 4, 4, 4]),
}


def on_meta(name):
    with torch.device("meta"):
        return create_model(name)


@pytest.mark.parametrize("batch_norm", ["", "_bn"])
@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_the_configurations_of_table_1(name, batch_norm):
    depth, stages = CONFIGURATIONS[name]
    network = on_meta(name + batch_norm)
    counted = [0]
    for layer in network.features:
        if isinstance(layer, nn.MaxPool2d):
            counted.append(0)
        counted[-1] += isinstance(layer, nn.Conv2d)
    assert counted == [*stages, 0]
    assert sum(isinstance(m, nn.Conv2d | nn.Linear) for m in network.modules()) == depth
    norms = sum(isinstance(m, nn.BatchNorm2d) for m in network.modules())
    assert norms == (sum(stages) if batch_norm else 0)


def test_every_convolution_is_of_3x3():
    convolutions = [m for m in on_meta("vgg19").modules() if isinstance(m, nn.Conv2d)]
    assert {(m.kernel_size, m.stride, m.padding) for m in convolutions} == {
        ((3, 3), (1, 1), (1, 1))
    }


@pytest.mark.parametrize(("convolutions", "seen"), [(1, 3), (2, 5), (3, 7)])
def test_two_convolutions_of_3x3_see_5x5_and_three_see_7x7(convolutions, seen):
    stage = on_meta("vgg16").features[10:16]  # conv3_1 to conv3_3 with their rectifiers
    x = torch.zeros(1, 1, 11, 11, requires_grad=True)
    y = x
    for layer in [m for m in stage if isinstance(m, nn.Conv2d)][:convolutions]:
        ones = torch.ones(1, 1, *layer.kernel_size)
        y = nn.functional.conv2d(y, ones, stride=layer.stride, padding=layer.padding)
    (gradient,) = torch.autograd.grad(y[0, 0, 5, 5], x)
    touched = gradient[0, 0].nonzero()
    assert (touched.amax(0) - touched.amin(0) + 1).tolist() == [seen, seen]
    assert len(touched) == seen**2

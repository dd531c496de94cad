"""Our builders against torchvision's own modules, with the same state_dict, bit for bit."""

import pytest
import torch

from eyespot.zoo import create_model, load_torchvision

BIG = [pytest.param(name, marks=pytest.mark.giant) for name in ("alexnet", "vgg16")]
OPTIONS = {
    "googlenet": {"aux_logits": False, "init_weights": False},
    "inception_v3": {"aux_logits": False, "init_weights": False},
}


@pytest.mark.parametrize(
    "name",
    [
        "densenet121",
        "densenet161",
        "densenet169",
        "densenet201",
        "googlenet",
        "inception_v3",
        "mobilenet_v2",
        "resnet18",
        "resnet50",
        "shufflenet_v2_x0_5",
        "shufflenet_v2_x1_0",
        *BIG,
    ],
)
def test_the_network_is_torchvisions(name):
    ours = create_model(name, num_classes=11)
    reference = load_torchvision().models.get_model_builder(name)
    theirs = reference(weights=None, num_classes=11, **OPTIONS.get(name, {})).eval()
    theirs.load_state_dict(ours.state_dict())
    images = torch.randn(2, 3, 75, 75)
    with torch.no_grad():
        assert torch.equal(ours(images), theirs(images))


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("densenet121", "features.conv0"),
        ("googlenet", "conv1.conv"),
        ("inception_v3", "Conv2d_1a_3x3.conv"),
        ("mobilenet_v2", "features.0.0"),
        ("resnet18", "conv1"),
        ("shufflenet_v2_x0_5", "conv1.0"),
    ],
)
def test_grey_input_replaces_the_first_convolution_alone(name, layer):
    colour, grey = (dict(create_model(name, in_channels=c).named_parameters()) for c in (3, 1))
    changed = [key for key in colour if colour[key].shape != grey[key].shape]
    assert changed == [f"{layer}.weight"]
    # Of the same kind: summed over the channels it is the colour network's geometry.
    first, second = (create_model(name, in_channels=c).get_submodule(layer) for c in (3, 1))
    for fact in ("out_channels", "kernel_size", "stride", "padding", "dilation", "groups"):
        assert getattr(first, fact) == getattr(second, fact)

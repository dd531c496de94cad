"""Our builders against torchvision's own modules, with the same state_dict, bit for bit."""

import pytest
import torch

from eyespot.zoo import create_model, load_torchvision, model_entry

WRAPPED = [
    "alexnet",
    "densenet121",
    "densenet161",
    "densenet169",
    "densenet201",
    "googlenet",
    "inception_v3",
    "mobilenet_v2",
    "resnet101",
    "resnet152",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnext101_32x8d",
    "resnext50_32x4d",
    "shufflenet_v2_x0_5",
    "shufflenet_v2_x1_0",
    "vgg11",
    "vgg11_bn",
    "vgg13",
    "vgg13_bn",
    "vgg16",
    "vgg16_bn",
    "vgg19",
    "vgg19_bn",
    "wide_resnet101_2",
    "wide_resnet50_2",
]
BUILT = [
    pytest.param(name, marks=pytest.mark.giant)
    if model_entry(name).parameter_count > 30_000_000
    else name
    for name in WRAPPED
]
_NO_HEADS = {"aux_logits": False, "init_weights": False}
OPTIONS = {"googlenet": _NO_HEADS, "inception_v3": _NO_HEADS}


@pytest.mark.parametrize("name", BUILT)
def test_the_network_is_torchvisions(name):
    ours = create_model(name, num_classes=11)
    reference = load_torchvision().models.get_model_builder(name)
    theirs = reference(weights=None, num_classes=11, **OPTIONS.get(name, {})).eval()
    theirs.load_state_dict(ours.state_dict())
    images = torch.randn(2, 3, 75, 75)
    with torch.no_grad():
        assert torch.equal(ours(images), theirs(images))


@pytest.mark.parametrize("name", WRAPPED)
def test_the_facts_are_those_that_torchvision_documents(name):
    entry = model_entry(name)
    assert entry.torchvision_name == name
    documented = load_torchvision().models.get_model_weights(name).IMAGENET1K_V1.meta
    assert documented["_ops"] == pytest.approx(entry.macs / 1e9, rel=1e-3, abs=1e-3)
    if name not in OPTIONS:  # the file has the auxiliary heads, and the documentation not all
        assert documented["num_params"] == entry.parameter_count


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("densenet121", "features.conv0"),
        ("googlenet", "conv1.conv"),
        ("inception_v3", "Conv2d_1a_3x3.conv"),
        ("mobilenet_v2", "features.0.0"),
        ("resnet18", "conv1"),
        ("resnext50_32x4d", "conv1"),
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

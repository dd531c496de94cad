import pytest
import torch

from eyespot.v1.preprocessing import IMAGENET
from eyespot.zoo import (
    ArchitectureError,
    DuplicateModelError,
    UnknownModelError,
    create_model,
    entry_of,
    model_entry,
    preprocessing_for,
    register_model,
)


def test_a_name_is_registered_once():
    entry = model_entry("lenet5")
    register = register_model(
        "lenet5",
        paper="",
        year=0,
        input_size=(1, 1, 1),
        min_input_size=1,
        num_classes=1,
        parameter_count=0,
        departures="",
        preprocessing=IMAGENET,
    )
    with pytest.raises(DuplicateModelError, match="'lenet5' is registered already"):
        register(entry.builder)
    assert model_entry("lenet5") is entry


def test_an_unknown_name_is_answered_with_the_nearest_and_the_way_to_all():
    with pytest.raises(
        UnknownModelError, match=r"'resnet-18'; did you mean 'resnet18'\? `eyespot models` lists"
    ):
        create_model("resnet-18")


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ({"num_classes": 0}, "num_classes must be at least 1, found 0"),
        ({"in_channels": -1}, "in_channels must be at least 1, found -1"),
        ({"input_size": 15}, "input_size must be at least 16, found 15"),
    ],
)
def test_an_impossible_shape_is_refused(shape, message):
    with pytest.raises(ArchitectureError, match=f"lenet5's {message}"):
        create_model("lenet5", **shape)


def test_networks_come_in_evaluation_mode_and_know_their_entry():
    network = create_model("lenet5_modern")
    assert not any(module.training for module in network.modules())
    assert entry_of(network) is model_entry("lenet5_modern")
    assert entry_of(torch.nn.Linear(1, 1)) is None


def test_the_preprocessing_follows_the_weights():
    assert preprocessing_for("resnet50") == IMAGENET
    assert preprocessing_for("resnet50", "IMAGENET1K_V1") == IMAGENET
    v2 = preprocessing_for("resnet50", "IMAGENET1K_V2")
    assert (v2.resize_size, v2.crop_size, v2.interpolation) == (232, (224, 224), "bilinear")
    assert (v2.mean, v2.std) == (IMAGENET.mean, IMAGENET.std)


def test_grey_digits_are_scaled_as_in_the_paper():
    rule = preprocessing_for("lenet5")
    assert (rule.color_order, rule.size) == ("GRAY", (32, 32))
    assert (0 - rule.mean[0]) / rule.std[0] == pytest.approx(-0.1)
    assert (1 - rule.mean[0]) / rule.std[0] == pytest.approx(1.175)

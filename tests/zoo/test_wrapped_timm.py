"""Our builders against timm's own modules, by a file of timm's state_dict, bit for bit."""

import pytest
import torch
from safetensors.torch import save_file

from eyespot.v1.preprocessing import PreprocessingRule
from eyespot.zoo import create_model, load_timm, model_entry

TIMM_NAMES = {
    "inception_resnet_v2": "inception_resnet_v2",
    "inception_v4": "inception_v4",
    "se_resnet50": "legacy_seresnet50",
    "senet154": "legacy_senet154",
    "xception": "legacy_xception",
}
PARAMETER_COUNTS = {
    "inception_resnet_v2": 55_843_464,
    "inception_v4": 42_679_816,
    "se_resnet50": 28_088_024,
    "senet154": 115_088_984,
    "xception": 22_855_952,
}
GIANTS = {"inception_resnet_v2", "inception_v4", "senet154"}
NETWORKS = [
    pytest.param(name, marks=pytest.mark.giant if name in GIANTS else ()) for name in TIMM_NAMES
]


def their_module(name, **options):
    return load_timm().create_model(TIMM_NAMES[name], pretrained=False, **options).eval()


@pytest.mark.parametrize("name", NETWORKS)
def test_a_file_of_timms_gives_timms_logits(name, tmp_path):
    torch.manual_seed(0)
    theirs = their_module(name, num_classes=11)
    # Statistics and biases away from what they begin as.
    for key, tensor in theirs.state_dict().items():
        if tensor.ndim == 1 and key.endswith(("bias", "running_mean")):
            tensor.normal_(0, 0.1)
        elif key.endswith("running_var"):
            tensor.uniform_(0.5, 1.5)
    save_file(theirs.state_dict(), tmp_path / "model.safetensors")
    ours = create_model(name, num_classes=11, weights=tmp_path / "model.safetensors")
    images = torch.randn(2, 3, 75, 75)
    with torch.no_grad():
        logits = theirs(images)
        assert torch.equal(ours(images), logits)
    assert logits.std() > 0


@pytest.mark.parametrize("name", TIMM_NAMES)
def test_the_parameter_count_is_timms(name):
    with torch.device("meta"):
        theirs = their_module(name)
    counted = sum(parameter.numel() for parameter in theirs.parameters())
    assert counted == PARAMETER_COUNTS[name] == model_entry(name).parameter_count


@pytest.mark.parametrize("name", TIMM_NAMES)
def test_pictures_are_prepared_as_timms_weights_want_it(name):
    with torch.device("meta"):
        theirs = their_module(name).default_cfg
    side = theirs["input_size"][-1]
    assert model_entry(name).input_size == theirs["input_size"]
    assert model_entry(name).preprocessing == PreprocessingRule(
        resize_size=int(side / theirs["crop_pct"]),
        crop_size=(side, side),
        interpolation=theirs["interpolation"],
        color_order="RGB",
        mean=theirs["mean"],
        std=theirs["std"],
    )


@pytest.mark.parametrize("name", TIMM_NAMES)
def test_grey_input_replaces_the_first_convolution_alone(name):
    with torch.device("meta"):
        colour, grey = (dict(create_model(name, in_channels=c).named_parameters()) for c in (3, 1))
    changed = [key for key in colour if colour[key].shape != grey[key].shape]
    assert changed == [next(iter(colour))]

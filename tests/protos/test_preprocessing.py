import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from eyespot.v1.preprocessing import IMAGENET, PreprocessingError, PreprocessingRule
from eyespot.zoo.torchvision_models import load_torchvision

GRAY = PreprocessingRule(
    resize_size=(4, 2),
    crop_size=None,
    interpolation="nearest",
    color_order="GRAY",
    mean=(0.5,),
    std=(0.25,),
)


def picture(width, height, mode="RGB"):
    shape = (height, width) if mode == "L" else (height, width, 3)
    pixels = np.random.default_rng(width * height).integers(0, 256, shape, np.uint8)
    return Image.fromarray(pixels)


@pytest.mark.parametrize("size", [(300, 451), (451, 300), (256, 256), (64, 65), (225, 1000)])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "nearest"])
@pytest.mark.parametrize("resize", [256, 232, (40, 30)])
def test_a_picture_becomes_what_torchvision_makes_of_it(size, interpolation, resize):
    load_torchvision()
    from torchvision.transforms import v2

    rule = replace(IMAGENET, resize_size=resize, interpolation=interpolation)
    mode = v2.InterpolationMode(interpolation)
    shorter_or_exact = resize if isinstance(resize, int) else list(resize)
    reference = v2.Compose([v2.Resize(shorter_or_exact, mode), v2.CenterCrop((224, 224))])
    image = picture(*size)
    np.testing.assert_array_equal(rule.apply(image), np.asarray(reference(image)))


def test_colours_and_channels():
    image = Image.new("RGB", (2, 4), (255, 0, 0))
    plain = replace(IMAGENET, resize_size=None, crop_size=None)
    assert plain.apply(image)[0, 0].tolist() == [255, 0, 0]
    assert replace(plain, color_order="BGR").apply(image)[0, 0].tolist() == [0, 0, 255]
    gray = GRAY.apply(image)
    assert gray.shape == (4, 2, 1)
    assert gray[0, 0, 0] == 76  # ITU-R 601: 0.299 * 255
    assert plain.apply(Image.new("LA", (1, 1), (9, 255)))[0, 0].tolist() == [9, 9, 9]


def test_size_is_known_only_when_it_is_fixed():
    assert IMAGENET.size == (224, 224)
    assert GRAY.size == (4, 2)
    assert replace(IMAGENET, crop_size=None).size is None


@pytest.mark.parametrize(
    "rule", [IMAGENET, GRAY, replace(IMAGENET, resize_size=None, crop_size=None)]
)
def test_the_rule_survives_the_configuration_and_the_manifest(rule):
    assert PreprocessingRule.from_parameters({**rule.to_parameters(), "other": "x"}) == rule
    assert PreprocessingRule.from_json(json.loads(json.dumps(rule.to_json()))) == rule


def test_other_clients_are_told_where_the_channels_are():
    # (batch, height, width, channels)
    assert IMAGENET.to_parameters()["preprocessing.channel_axis"] == "3"
    older = IMAGENET.to_parameters()
    del older["preprocessing.channel_axis"]
    assert PreprocessingRule.from_parameters(older) == IMAGENET


def test_parameters_without_a_rule_tell_none():
    assert PreprocessingRule.from_parameters({"other": "x"}) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"interpolation": "magic"}, "'magic' is not one of nearest, bilinear"),
        ({"color_order": "CMYK"}, "'CMYK' is not one of RGB, BGR, GRAY"),
        ({"mean": (0.5,)}, "mean needs 3 numbers for RGB, found 1"),
        ({"std": (1.0, 0.0, 1.0)}, "std must be positive"),
        ({"std": (1.0, float("inf"), 1.0)}, "std must be finite numbers"),
        ({"mean": (0.5, float("nan"), 0.5)}, "mean must be finite numbers"),
        ({"crop_size": (0, 3)}, "crop_size must be at least 1"),
        ({"resize_size": -1}, "resize_size must be at least 1"),
    ],
)
def test_a_rule_that_cannot_be_is_refused(change, message):
    with pytest.raises(PreprocessingError, match=message):
        replace(IMAGENET, **change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"preprocessing.mean": "[oops"}, "not JSON"),
        ({"preprocessing.crop_size": '"big"'}, "cannot be read"),
        ({"preprocessing.sharpen": "1"}, r"unknown \['sharpen'\]"),
        ({"preprocessing.channel_axis": "1"}, "channel_axis 1; pixels come as"),
    ],
)
def test_malformed_parameters_are_refused(change, message):
    with pytest.raises(PreprocessingError, match=message):
        PreprocessingRule.from_parameters({**IMAGENET.to_parameters(), **change})


def test_an_incomplete_rule_is_refused():
    with pytest.raises(PreprocessingError, match=r"missing \['color_order'"):
        PreprocessingRule.from_parameters({"preprocessing.mean": "[0.5]"})

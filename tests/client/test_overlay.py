from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from eyespot.client import Explanation, PictureError, color_maps
from eyespot.client.normalisation import Normalisation
from eyespot.v1.preprocessing import PreprocessingRule


def explain(attributions, *, pixels=None, reduction="max", **facts):
    return Explanation(
        attributions=np.asarray(attributions, np.float32),
        target=3,
        label=facts.pop("label", "three"),
        score=1.0,
        reports={},
        model_name="m",
        model_version="1",
        method="saliency",
        channel_reduction=reduction,
        pixels=pixels,
        **facts,
    )


WHITE = np.full((2, 2, 3), 255, np.uint8)


def is_near(found, expected, tolerance=3):
    return np.abs(np.subtract(found, expected, dtype=int)).max() <= tolerance


def test_the_bare_overlay_has_square_pixels_of_the_picture():
    image = explain([[0, 1], [0, 0]], pixels=WHITE).overlay(legend=False, size=10)
    assert image.size == (10, 10)
    # No attribution leaves the picture: white stays white. The largest covers it.
    assert image.getpixel((0, 0)) == (255, 255, 255)
    assert image.getpixel((4, 4)) == (255, 255, 255)
    assert image.getpixel((5, 0)) == image.getpixel((9, 4))
    assert image.getpixel((9, 0)) == tuple(color_maps.sequential(np.array(1.0)))


def test_only_the_proportions_count():
    shape = np.linspace(0, 1, 100).reshape(10, 10)
    pixels = np.zeros((10, 10, 3), np.uint8)
    small = explain(shape * 1e-6, pixels=pixels).overlay(legend=False)
    large = explain(shape * 1e6, pixels=pixels).overlay(legend=False)
    assert is_near(np.asarray(small), np.asarray(large), tolerance=1)
    assert len(small.getcolors()) > 90


def test_signed_values_are_blue_below_zero_and_red_above():
    image = explain([[-2, 2], [0, 0]], pixels=WHITE, reduction="mean").overlay(legend=False, size=2)
    red, _, blue = image.getpixel((0, 0))
    assert blue > 100 > red
    red, _, blue = image.getpixel((1, 0))
    assert red > 100 > blue
    assert image.getpixel((0, 1)) == (255, 255, 255)


def test_a_dark_picture_is_drawn_in_pale_grey():
    image = explain(np.zeros((2, 2)), pixels=np.zeros((2, 2, 3), np.uint8)).overlay(legend=False)
    assert image.getpixel((0, 0)) == (160, 160, 160)


def test_the_frame_has_room_for_titles_and_scale():
    bare = explain([[0, 1], [0, 0]], pixels=WHITE).overlay(legend=False)
    framed = explain([[0, 1], [0, 0]], pixels=WHITE).overlay()
    assert bare.size == (320, 320)
    assert framed.width == 2 * 320 + 8 + 2 * 12
    assert framed.height > 320 + 80
    pixels = np.asarray(framed.convert("L"))
    assert pixels[12:36].min() < 60  # the class is written above
    assert pixels[-20:].min() < 100  # and numbers below
    # The scale runs from the first colour of the map to the last.
    bar = np.asarray(framed)[-40]
    assert is_near(bar[12 + 320 + 8], color_maps.sequential(np.array(0.0)))
    assert is_near(bar[-13], color_maps.sequential(np.array(1.0)))


def test_the_picture_is_on_the_left_of_the_map_in_its_own_colours():
    pixels = np.array([[[200, 10, 30], [0, 90, 250]], [[7, 8, 9], [255, 255, 0]]], np.uint8)
    explanation = explain([[0, 1], [0, 0]], pixels=pixels)
    framed = explanation.overlay()
    top = 12 + 24 + 22
    picture = framed.crop((12, top, 12 + 320, top + 320)).resize((2, 2), Image.Resampling.NEAREST)
    assert np.array_equal(np.asarray(picture), pixels)
    drawn = framed.crop((340, top, 340 + 320, top + 320))
    assert drawn.tobytes() == explanation.overlay(legend=False).tobytes()


def test_the_subtitle_names_a_reduction_that_is_not_the_usual():
    usual, signed = explain(np.eye(2)), explain(np.eye(2), reduction="mean")
    assert usual._subtitle() == "logit 1, saliency of m v1"
    assert signed._subtitle() == "logit 1, saliency of m v1, channel reduction mean"


def test_the_subtitle_names_the_parameters_and_the_original():
    deeper = replace(explain(np.eye(2)), parameters={"layer": "layer2", "n_steps": 3})
    assert deeper._subtitle() == "logit 1, saliency (layer=layer2, n_steps=3) of m v1"
    before = "m version 1, before it was quantised"
    assert replace(explain(np.eye(2)), original=before)._subtitle() == (
        f"logit 1, saliency of m v1, by {before}"
    )
    agreeing = f"{before}: top classes agree on 99.0% of 100 pictures"
    assert replace(explain(np.eye(2)), original=agreeing)._subtitle() == (
        f"logit 1, saliency of m v1, by {before}"
    )


def test_a_large_picture_is_not_shrunk_nor_needlessly_enlarged():
    image = explain(np.eye(400), pixels=np.zeros((400, 400, 1), np.uint8)).overlay(legend=False)
    assert image.size == (400, 400)


def test_how_it_is_normalised_is_the_callers_choice(tmp_path):
    values = np.array([[-2.0, 2.0], [0.0, 0.0]])
    explanation = explain(values, pixels=WHITE, reduction="mean")
    magnitudes = explanation.overlay(legend=False, size=2, sign="absolute")
    full = tuple(color_maps.sequential(np.array(1.0)))
    assert magnitudes.getpixel((0, 0)) == magnitudes.getpixel((1, 0)) == full
    # The smoothed map is that of smoothed numbers, and so is its scale.
    numbers = Normalisation(smooth=1.5).map_of(values.astype(np.float32))
    expected = explain(numbers, pixels=WHITE, reduction="mean").overlay(clip=90)
    found = explanation.overlay(clip=90, smooth=1.5)
    width, top = (found.width - 8) // 2, 12 + 24 + 22
    the_map = (width, top, found.width, found.height)
    assert is_near(np.asarray(found.crop(the_map)), np.asarray(expected.crop(the_map)), tolerance=1)
    below = (0, top + 320 + 4, width, found.height)  # the picture: what was done is told there
    assert found.crop(below).convert("L").getextrema()[0] < 150
    assert explanation.overlay().crop(below).convert("L").getextrema() == (255, 255)
    explanation.save(tmp_path / "drawn.png", clip=90, smooth=1.5)
    with Image.open(tmp_path / "drawn.png") as saved:
        assert saved.tobytes() == found.tobytes()
    done = Normalisation(90, "absolute", 1.5)
    assert str(done) == "magnitudes, smoothed by 1.5 px, clipped at 90 %"


def test_nothing_explained_is_a_picture_too():
    framed = explain(np.zeros((2, 2)), pixels=WHITE, label="").overlay()
    below = framed.crop((0, 12 + 24 + 22 + 320, *framed.size))
    assert below.convert("L").getextrema()[0] < 60  # "all zero" is written
    assert all(max(color) - min(color) < 10 for _, color in below.getcolors())  # and no scale


def test_grey_and_reversed_colours_are_shown_as_they_were():
    grey = explain(np.zeros((2, 2)), pixels=np.full((2, 2, 1), 255, np.uint8))
    assert grey.overlay(legend=False).getpixel((0, 0)) == (255, 255, 255)


def test_another_picture_is_put_in_place_by_the_rule(tmp_path):
    rule = PreprocessingRule(
        resize_size=None,
        crop_size=(2, 2),
        interpolation="nearest",
        color_order="RGB",
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
    )
    picture = Image.new("L", (6, 6), 0)
    picture.paste(255, (2, 2, 4, 4))  # white in the middle, which is what the model saw
    picture.save(tmp_path / "picture.png")
    explanation = explain(np.zeros((2, 2)), preprocessing=rule)
    drawn = explanation.overlay(tmp_path / "picture.png", legend=False, size=2)
    assert np.asarray(drawn).min() == 255


def test_without_a_rule_the_picture_is_resized():
    drawn = explain(np.zeros((2, 2))).overlay(Image.new("RGB", (64, 64), "white"), legend=False)
    assert np.asarray(drawn).min() == 255


def test_what_cannot_be_drawn_is_told():
    with pytest.raises(PictureError, match="give the picture to draw upon as `image`"):
        explain(np.zeros((2, 2))).overlay()
    with pytest.raises(PictureError, match=r"shape \(5,\) are no map of a picture"):
        explain(np.zeros(5)).overlay()


def test_saving(tmp_path):
    explanation = explain([[0, 1], [0, 0]], pixels=WHITE)
    explanation.save(tmp_path / "drawn.png")
    with Image.open(tmp_path / "drawn.png") as image:
        assert image.size == explanation.overlay().size
    with pytest.raises(PictureError, match=r"drawn\.nothing: unknown file extension"):
        explanation.save(tmp_path / "drawn.nothing")
    with pytest.raises(PictureError, match=r"absent/x\.png cannot be written: no such file"):
        explanation.save(tmp_path / "absent" / "x.png")


@pytest.mark.parametrize("color_map", [color_maps.sequential, color_maps.diverging])
def test_the_colour_maps_darken_evenly(color_map):
    colors = color_map(np.linspace(0, 1, 11)) / 255
    linear = np.where(colors <= 0.04045, colors / 12.92, ((colors + 0.055) / 1.055) ** 2.4)
    luminance = linear @ (0.2126, 0.7152, 0.0722)
    lightness = 116 * np.cbrt(luminance) - 16
    steps = np.diff(lightness)
    assert steps.max() < 0
    assert np.abs(steps - steps.mean()).max() < 2.0


def test_both_signs_are_equally_dark():
    red, blue = color_maps.diverging(np.array([1.0, -1.0])) / 255
    luminance = [(color**2.2) @ (0.2126, 0.7152, 0.0722) for color in (red, blue)]
    assert luminance[0] == pytest.approx(luminance[1], abs=0.02)

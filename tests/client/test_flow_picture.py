"""The colour wheel of flows, in directions whose colours the paper's figure shows."""

import numpy as np
import pytest

from eyespot.client import PictureError
from eyespot.client.flow_picture import flow_picture


def moving(right, down):
    """One pixel that moves, and one that rests."""
    return np.array([[[right, 0]], [[down, 0]]], np.float32)


def colour_of(right, down, **options):
    return flow_picture(moving(right, down), **options).getpixel((0, 0))


@pytest.mark.parametrize(
    ("right", "down", "colour"),
    [
        # A quarter of the wheel is 13.75 of its 55 steps; yellow is step 15, cyan 25, blue 36.
        (1, 0, (255, 0, 0)),
        (0, 1, (255, round(255 * 13.75 / 15), 0)),
        (-1, 0, (0, round(255 * (1 - 2.5 / 11)), 255)),
        (0, -1, (round(255 * 5.25 / 13), 0, 255)),
    ],
)
def test_directions_have_the_hues_of_the_wheel(right, down, colour):
    assert colour_of(right, down) == colour
    assert colour_of(7 * right, 7 * down) == colour


def test_the_wheel_has_no_seam():
    above, below = (np.array(colour_of(1, d), int) for d in (-1e-6, 1e-6))
    assert np.abs(above - below).max() <= 1


def test_rest_is_white_and_half_the_speed_is_half_bleached():
    picture = flow_picture(np.array([[[2.0, 1.0, 0.0]], [[0.0, 0.0, 0.0]]]))
    assert picture.size == (3, 1)
    assert picture.getpixel((2, 0)) == (255, 255, 255)
    assert picture.getpixel((1, 0)) == (255, 128, 128)
    assert flow_picture(np.zeros((2, 1, 1))).getpixel((0, 0)) == (255, 255, 255)


def test_one_scale_for_several_pictures():
    assert colour_of(1, 0, longest=2) == (255, 128, 128)
    assert colour_of(2, 0, longest=2) == (255, 0, 0)
    assert colour_of(3, 0, longest=2) == (191, 0, 0)  # beyond the scale: a quarter darker


def test_the_fastest_of_its_picture_is_never_beyond_the_scale():
    flow = np.random.default_rng(0).normal(size=(2, 1, 50))
    brightest = np.asarray(flow_picture(flow)).max(axis=2)
    assert (brightest == 255).all()


@pytest.mark.parametrize("unknown", [np.nan, np.inf, 1e10])
def test_what_is_not_known_is_black_and_sets_no_scale(unknown):
    picture = flow_picture(np.array([[[unknown, 3.0]], [[0.0, 0.0]]]))
    assert picture.getpixel((0, 0)) == (0, 0, 0)
    assert picture.getpixel((1, 0)) == (255, 0, 0)


def test_what_is_no_flow_is_told():
    with pytest.raises(PictureError, match=r"\(1, 2, 4, 4\) is no flow: \(2, height, width\)"):
        flow_picture(np.zeros((1, 2, 4, 4)))
    with pytest.raises(PictureError, match="positive speed in pixels, found 0"):
        flow_picture(np.zeros((2, 1, 1)), longest=0)

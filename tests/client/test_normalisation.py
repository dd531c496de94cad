"""What becomes of the numbers before they are drawn; SciPy's filter is the reference."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from eyespot.client import PictureError
from eyespot.client.normalisation import Normalisation, flatten, smoothed


def test_an_outlier_does_not_drown_the_rest():
    values = np.full(1000, 1.0)
    values[0] = 1000.0
    assert Normalisation().limit_of(values) == 1.0
    assert Normalisation(clip=100).limit_of(values) == 1000.0
    sparse = np.zeros(1000)
    sparse[0] = -5.0
    assert Normalisation().limit_of(sparse) == 5.0
    assert Normalisation().limit_of(np.zeros(4)) == 1.0


def test_the_scale_ends_at_the_percentile_of_the_magnitudes():
    values = np.linspace(-100, 0, 101)
    assert Normalisation(clip=75).limit_of(values) == pytest.approx(75)


def test_of_several_channels_the_largest_magnitude_counts():
    values = np.array([[[1, -3, 2], [0, np.nan, 0]]], np.float32)
    assert flatten(values).tolist() == [[-3, 0]]
    assert Normalisation(sign="absolute").map_of(values).tolist() == [[3, 0]]


@pytest.mark.parametrize("deviation", [0.4, 1.0, 3.7])
@pytest.mark.parametrize("shape", [(9, 14), (5, 2), (1, 30)])
def test_smoothing_is_a_bell_curve(shape, deviation):
    values = np.random.default_rng(0).standard_normal(shape)
    expected = gaussian_filter(values, deviation, mode="reflect", truncate=4.0)
    np.testing.assert_allclose(smoothed(values, deviation), expected, atol=1e-12)


def test_magnitudes_are_taken_before_they_are_smoothed():
    values = np.array([[1.0, -1.0] * 4], np.float32)
    np.testing.assert_allclose(Normalisation(sign="absolute", smooth=2).map_of(values), 1.0)
    assert np.abs(Normalisation(smooth=2).map_of(values)).max() < 0.2


@pytest.mark.parametrize("by_itself", [True, False])
def test_the_sign_is_that_of_the_numbers_unless_told(by_itself):
    assert Normalisation().is_signed(by_itself=by_itself) == by_itself
    assert Normalisation(sign="signed").is_signed(by_itself=by_itself)
    assert not Normalisation(sign="absolute").is_signed(by_itself=by_itself)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"clip": 0}, "clip is a percentile above 0 and up to 100, found 0"),
        ({"clip": 101}, "found 101"),
        ({"clip": float("nan")}, "found nan"),
        ({"sign": "both"}, "sign must be one of signed, absolute, found 'both'"),
        ({"smooth": -1}, "smooth is 0 or more pixels, found -1"),
        ({"smooth": float("inf")}, "found inf"),
    ],
)
def test_the_impossible_is_typed(wrong, said):
    with pytest.raises(PictureError, match=said):
        Normalisation(**wrong)

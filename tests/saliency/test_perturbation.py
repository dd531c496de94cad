"""Occlusion and RISE: without gradients, by hand and as captum has them."""

import numpy as np
import pytest
import torch
from captum.attr import Occlusion
from tests.saliency.networks import vgg

from eyespot.saliency import TOP_CLASS, Objective, Targets, find_method

WEIGHT = np.arange(1, 17, dtype=np.float32).reshape(4, 4)


class Weighed:
    """A scorer in numpy: z = (sum of w x, 0) over one channel."""

    name = "numpy"
    output_shape = (2,)
    channel_axis = 1

    def __init__(self, at_once=5, dtype=np.float32):
        self.at_once = at_once
        self.dtype = dtype
        self.batches = []

    def rows_at_once(self, row_shape):
        return self.at_once

    def scores(self, x):
        assert x.dtype == self.dtype
        self.batches.append(len(x))
        total = (x[:, 0].astype(np.float32) * WEIGHT).sum((1, 2))
        return np.stack([total, np.zeros(len(x), np.float32)], 1)


def test_occlusion_is_how_much_the_score_falls(explain):
    x = np.ones((1, 1, 4, 4), np.float32)
    found = explain("occlusion", Weighed(), x, [0], window=2, stride=2)
    blocks = np.array([[1 + 2 + 5 + 6, 3 + 4 + 7 + 8], [9 + 10 + 13 + 14, 11 + 12 + 15 + 16]])
    np.testing.assert_array_equal(found.attributions[0, 0], np.kron(blocks, np.ones((2, 2))))
    np.testing.assert_array_equal(found.scores, [136])


def test_squares_that_overlap_are_averaged(explain):
    x = np.ones((1, 1, 4, 4), np.float32)
    found = explain("occlusion", Weighed(), x, [0], window=3, stride=1, baseline=2.0)
    rises = -np.array([[54, 63], [90, 99]])  # the sums of w in the four squares of 3 x 3
    assert found.attributions[0, 0, 0, 0] == rises[0, 0]
    assert found.attributions[0, 0, 1, 1] == rises.mean()
    assert found.attributions[0, 0, 0, 1] == rises[0].mean()


def test_at_most_so_many_rows_are_asked_at_once(explain):
    backend = Weighed(at_once=3)
    explain("occlusion", backend, np.ones((2, 1, 4, 4), np.float32), [0, 1], window=1, stride=2)
    assert backend.batches == [2, 3, 3, 2]  # the rows; then 4 squares of 2 rows, in even parts


@pytest.mark.parametrize(("window", "stride"), [(4, 4), (5, 3), (6, 4), (16, 16)])
def test_occlusion_equals_captum(capture, explain, window, stride):
    module = vgg()
    x = np.random.default_rng(0).standard_normal((2, 3, 16, 16)).astype(np.float32)
    backend = capture(module, torch.zeros(2, 3, 16, 16), "input")
    found = explain("occlusion", backend, x, [0, 3], window=window, stride=stride)
    expected = Occlusion(module).attribute(
        torch.from_numpy(x),
        (3, window, window),
        strides=(3, stride, stride),
        target=[0, 3],
    )
    expected = expected.numpy()
    np.testing.assert_allclose(
        np.repeat(found.attributions, 3, 1), expected, atol=1e-5 * np.abs(expected).max()
    )


def test_pixels_stay_whole_numbers(explain):
    x = np.full((1, 1, 4, 4), 7, np.uint8)
    backend = Weighed(dtype=np.uint8)
    found = explain("occlusion", backend, x, [0], window=4)
    np.testing.assert_array_equal(found.attributions, np.full((1, 1, 4, 4), 7 * 136))
    explain("rise", backend, x, [0], n_masks=3)


def test_rise_finds_the_pixel_that_counts():
    class Corner(Weighed):
        def scores(self, x):
            return np.stack([x[:, 0, 0, 0], np.zeros(len(x), np.float32)], 1)

    x = np.ones((1, 1, 16, 16), np.float32)
    objective = Objective(Targets(np.array([0])))
    found = find_method("rise").explain(Corner(), x, objective, n_masks=2000, cells=4)
    heat = found.attributions[0, 0]
    assert np.unravel_index(heat.argmax(), heat.shape) == (0, 0)
    # Far from the corner the masks know nothing of it.
    assert abs(heat[8:, 8:]).max() < 0.1 * heat.max()
    assert found.reports[0]["mean_score"] == pytest.approx(0.5, abs=0.05)


def test_masks_that_hide_nothing_tell_nothing(explain):
    x = np.ones((2, 1, 4, 4), np.float32)
    found = explain("rise", Weighed(), x, [0, 0], n_masks=7, probability=1.0)
    np.testing.assert_allclose(found.attributions, np.zeros((2, 1, 4, 4)), atol=1e-3)
    assert [report["mean_score"] for report in found.reports] == pytest.approx([136, 136])


def test_rise_is_the_covariance_of_masks_and_scores(explain):
    masks, values = [], []

    class Recording(Weighed):
        def scores(self, x):
            found = super().scores(x)
            masks.extend(x[:, 0])
            values.extend(found[:, 0])
            return found

    x = np.ones((1, 1, 4, 4), np.float32)
    found = explain("rise", Recording(), x, [0], n_masks=50, probability=0.25)
    centred = np.array(values[1:]) - np.mean(values[1:])
    expected = np.mean([v * m for v, m in zip(centred, masks[1:], strict=True)], axis=0) / 0.25
    np.testing.assert_allclose(found.attributions[0, 0], expected, rtol=1e-3, atol=1e-3)


def test_masks_belong_to_the_seed_and_not_to_the_batch(explain):
    x = np.random.default_rng(1).random((3, 1, 4, 4)).astype(np.float32)

    def rise(rows, at_once, **parameters):
        classes = [TOP_CLASS] * len(rows)
        return explain("rise", Weighed(at_once), rows, classes, n_masks=9, **parameters)

    together = rise(x, 5).attributions
    np.testing.assert_allclose(rise(x[1:2], 2).attributions, together[1:2], rtol=1e-5)
    assert np.abs(rise(x, 5, seed=3).attributions - together).max() > 1


def test_a_mask_is_a_share_that_is_left(explain):
    seen = []

    class Recording(Weighed):
        def scores(self, x):
            seen.extend(x)
            return super().scores(x)

    explain("rise", Recording(), np.ones((1, 1, 4, 4), np.float32), [0], n_masks=300, cells=2)
    masks = np.stack(seen[1:])
    assert masks.shape == (300, 1, 4, 4)
    assert masks.min() >= 0
    assert masks.max() <= 1
    assert masks.mean() == pytest.approx(0.5, abs=0.03)

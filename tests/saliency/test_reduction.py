import numpy as np
import pytest

from eyespot.saliency import ReductionError, reduce_channels

# (B, C, H, W) = (1, 3, 1, 2)
MAPS = np.array([[[[1.0, -4.0]], [[-3.0, 2.0]], [[0.5, -1.0]]]], np.float32)


def test_max_is_the_largest_magnitude():
    reduced = reduce_channels(MAPS, "max", 1)
    np.testing.assert_array_equal(reduced, [[[[3.0, 4.0]]]])
    assert reduced.dtype == np.float32


def test_mean_keeps_the_sign():
    np.testing.assert_array_equal(reduce_channels(MAPS, "mean", 1), [[[[-0.5, -1.0]]]])


def test_none_leaves_everything():
    assert reduce_channels(MAPS, "none", 1) is MAPS
    assert reduce_channels(MAPS, "none", None) is MAPS


def test_channels_may_come_last():
    last = MAPS.transpose(0, 2, 3, 1)  # (B, H, W, C)
    np.testing.assert_array_equal(reduce_channels(last, "max", 3), [[[[3.0], [4.0]]]])


def test_an_unknown_reduction_is_typed():
    with pytest.raises(ReductionError, match="'sum'; expected one of none, max, mean"):
        reduce_channels(MAPS, "sum", 1)


def test_no_channels_cannot_be_reduced():
    with pytest.raises(ReductionError, match="needs a channel axis"):
        reduce_channels(MAPS, "max", None)

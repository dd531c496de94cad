"""The facts of the data set: UCI's description, scikit-learn's documentation, and arithmetic."""

import hashlib
import sys

import numpy as np
import pytest
from PIL import Image
from sklearn import datasets

from eyespot.transfer import MissingScikitLearnError, load_digits


@pytest.fixture(scope="module")
def split():
    return load_digits()


def test_a_fifth_is_held_out(split):
    assert len(split.train) + len(split.test) == 1797
    assert len(split.test) == 360  # ceil(1797 / 5)


def test_each_class_is_held_out_in_proportion(split):
    # The classes have 174 to 183 digits each, a fifth of which is 34.8 to 36.6.
    assert set(np.bincount(split.test.labels, minlength=10)) <= {34, 35, 36, 37}
    whole = np.bincount(split.train.labels) + np.bincount(split.test.labels)
    assert whole.tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]


def test_no_picture_is_on_both_sides(split):
    def hashes(examples):
        return {hashlib.sha256(pixels.tobytes()).digest() for pixels in examples.images}

    assert not hashes(split.train) & hashes(split.test)


def test_the_split_never_changes(split):
    again = load_digits()
    assert np.array_equal(again.test.images, split.test.images)
    assert np.array_equal(again.train.labels, split.train.labels)


def test_pixels_use_the_whole_range(split):
    for examples in (split.train, split.test):
        assert examples.images.dtype == np.uint8
        assert examples.images.shape[1:] == (32, 32, 1)
        assert (examples.images.min(), examples.images.max()) == (0, 255)


def test_a_picture_made_small_again_is_the_original_ink(split):
    # Which original a picture comes from is found by what it looks like at 8x8.
    originals = datasets.load_digits()
    ink = originals.images.reshape(-1, 64) * (255 / 16)
    for pixels, label in list(zip(split.test.images, split.test.labels, strict=True))[:50]:
        small = Image.fromarray(pixels[..., 0]).resize((8, 8), Image.Resampling.BOX)
        distances = np.abs(ink - np.asarray(small, float).reshape(1, 64)).mean(axis=1)
        assert distances.min() < 20
        assert originals.target[distances.argmin()] == label


def test_a_missing_package_is_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(MissingScikitLearnError, match=r"pip install 'eyespot\[transfer\]'"):
        load_digits()

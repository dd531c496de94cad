import numpy as np
import pytest
from PIL import Image

from eyespot.transfer import Examples, ExamplesError
from eyespot.v1.preprocessing import PreprocessingRule


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (np.zeros((1, 2, 2, 1), np.float32), np.zeros(1, np.int64), "uint8.*found float32"),
        (np.zeros((2, 2, 1), np.uint8), np.zeros(2, np.int64), r"\(N, H, W, C\).*\(2, 2, 1\)"),
        (np.zeros((2, 2, 2, 1), np.uint8), np.zeros(3, np.int64), r"each of the 2.*\(3,\)"),
        (np.zeros((1, 2, 2, 1), np.uint8), np.zeros(1, np.float32), "int64.*float32"),
        (np.zeros((0, 2, 2, 1), np.uint8), np.zeros(0, np.int64), "no examples"),
        (np.zeros((1, 2, 2, 1), np.uint8), np.array([-1]), "from 0, found -1"),
    ],
)
def test_what_does_not_fit_is_named(images, labels, message):
    with pytest.raises(ExamplesError, match=message):
        Examples(images, labels)


def test_pictures_survive_the_disk_and_the_rule(tmp_path):
    rng = np.random.default_rng(0)
    examples = Examples(rng.integers(0, 256, (3, 4, 5, 1), np.uint8), np.array([7, 0, 7]))
    paths = examples.save_pictures(tmp_path / "new" / "folder")
    assert [path.name for path in paths] == ["7-0000.png", "0-0001.png", "7-0002.png"]
    for path, pixels in zip(paths, examples.images, strict=True):
        with Image.open(path) as image:
            assert np.array_equal(np.asarray(image), pixels[:, :, 0])


def test_prepared_pictures_are_what_the_rule_gives():
    grey = Examples(np.full((2, 4, 4, 1), 9, np.uint8), np.array([0, 1]))
    rule = PreprocessingRule((2, 3), None, "bilinear", "RGB", (0.0,) * 3, (1.0,) * 3)
    prepared = grey.prepared(rule)
    # A picture of one grey stays that grey, in every channel, whatever its size.
    assert np.array_equal(prepared.images, np.full((2, 2, 3, 3), 9))
    assert prepared.labels.tolist() == [0, 1]

"""The pictures of the demo; the trainings themselves are the demo's."""

import numpy as np
from PIL import Image

from eyespot.transfer.digit_transfer import LABELS, Gain, few_digits, unseen_digits
from eyespot.transfer.font_letters import LETTERS, load_letters


def test_five_of_each_are_learnt_ten_choose_and_no_picture_is_in_two_places():
    split, unseen = few_digits(seed=1), unseen_digits()
    assert np.bincount(split.train.labels).tolist() == [5] * 5
    assert np.bincount(split.held_out.labels).tolist() == [10] * 5
    parts = [{pixels.tobytes() for pixels in part.images} for part in (split.train, unseen)]
    assert not parts[0] & parts[1]
    assert not parts[0] & {pixels.tobytes() for pixels in split.held_out.images}
    assert few_digits(seed=2).digest != split.digest == few_digits(seed=1).digest


def test_letters_are_as_coarse_as_the_digits_and_unlike_each_other():
    letters = load_letters()
    fonts = len(letters) // len(LETTERS)
    assert fonts >= 16
    assert letters.images.shape[1:] == (32, 32, 1)
    first = letters.images[::fonts]  # of each letter, in one font
    assert len({pixels.tobytes() for pixels in first}) > 45  # o and O, x and X fill alike
    assert all(pixels.max() > 200 for pixels in first)


def test_points_are_the_difference():
    assert Gain(seed=0, scratch=0.5, transfer=0.75).points == 25


def test_pictures_are_saved_by_class(tmp_path):
    few_digits(seed=0).train.save_by_class(tmp_path, LABELS)
    assert sorted(path.name for path in tmp_path.iterdir()) == list(LABELS)
    paths = sorted((tmp_path / "9").iterdir())
    assert len(paths) == 5
    expected = few_digits(seed=0).train.images[20, :, :, 0]
    assert np.array_equal(np.asarray(Image.open(paths[0])), expected)

import numpy as np
import pytest
from PIL import Image

from eyespot.transfer import Examples, ExamplesError, PictureSplit, load_data, picture_reading
from eyespot.v1.preprocessing import PreprocessingRule

RULE = PreprocessingRule((2, 2), None, "nearest", "RGB", (0.0,) * 3, (1.0,) * 3)


def fill(folder, count, *, red, size=(3, 5)):
    """Write pictures that are told apart by their green."""
    folder.mkdir(parents=True)
    for number in range(count):
        Image.new("RGB", size, (red, number, 0)).save(folder / f"{number}.png")


def colors(examples):
    return [tuple(pixels[0, 0, :2].tolist()) for pixels in examples.images]


def test_each_class_is_parted_in_proportion(tmp_path):
    fill(tmp_path / "dog", 10, red=200)
    fill(tmp_path / "cat", 5, red=100)
    split = load_data(tmp_path, RULE, held_out=0.2)
    assert split.labels == ("cat", "dog")
    assert split.train.labels.tolist() == [0] * 4 + [1] * 8
    assert split.held_out.labels.tolist() == [0] + [1] * 2
    assert split.train.images.shape == (12, 2, 2, 3)
    together = colors(split.train) + colors(split.held_out)
    assert sorted(together) == [(100, n) for n in range(5)] + [(200, n) for n in range(10)]
    for examples in (split.train, split.held_out):
        assert [100 * (1 + label) for label in examples.labels] == [c[0] for c in colors(examples)]


def test_the_seed_chooses(tmp_path):
    for name in "ab":
        fill(tmp_path / name, 20, red=1)

    def held_out(seed):
        return colors(load_data(tmp_path, RULE, seed=seed).held_out)

    assert held_out(1) == held_out(1)
    assert held_out(1) != held_out(2)


def test_a_split_that_is_there_is_taken_and_its_leaks_are_told(tmp_path):
    fill(tmp_path / "train" / "a", 3, red=1)
    fill(tmp_path / "train" / "b", 3, red=2)
    fill(tmp_path / "val" / "a", 2, red=3)
    fill(tmp_path / "val" / "b", 1, red=2)  # the very file of train/b/0.png
    split = load_data(tmp_path, RULE)
    assert (len(split.train), len(split.held_out)) == (6, 3)
    assert split.repeated == ("val/b/0.png",)


def test_what_is_no_picture_is_named_and_skipped(tmp_path):
    fill(tmp_path / "a", 3, red=1)
    fill(tmp_path / "b", 3, red=2)
    whole = (tmp_path / "a" / "0.png").read_bytes()
    (tmp_path / "a" / "torn.png").write_bytes(whole[:50])
    (tmp_path / "b" / "notes.txt").write_text("not a picture")
    (tmp_path / "b" / ".hidden").write_text("passed over")
    (tmp_path / "readme.txt").write_text("beside the classes")
    counted = []
    split = load_data(tmp_path, RULE, progress=counted.append)
    assert [each.partition(":")[0] for each in split.skipped] == ["a/torn.png", "b/notes.txt"]
    assert str(tmp_path) not in "".join(split.skipped)
    together = colors(split.train) + colors(split.held_out)
    assert sorted(together) == [(red, n) for red in (1, 2) for n in range(3)]
    assert counted == [8] * 8


def test_a_huge_picture_is_refused_by_its_header(tmp_path, monkeypatch):
    fill(tmp_path / "a", 2, red=1)
    fill(tmp_path / "b", 2, red=2)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    Image.new("RGB", (40, 40)).save(tmp_path / "b" / "bomb.png")
    split = load_data(tmp_path, RULE)
    assert [each.partition(":")[0] for each in split.skipped] == ["b/bomb.png"]


def test_too_little_is_refused(tmp_path):
    with pytest.raises(ExamplesError, match="cannot be read: No such file"):
        load_data(tmp_path / "absent", RULE)
    fill(tmp_path / "a", 3, red=1)
    with pytest.raises(ExamplesError, match=r"a folder of pictures for each class.*found a"):
        load_data(tmp_path, RULE)
    fill(tmp_path / "b", 1, red=2)
    with pytest.raises(ExamplesError, match="to measure with of b: each class needs 2 pictures"):
        load_data(tmp_path, RULE)
    (tmp_path / "b" / "0.png").write_bytes(b"torn")
    with pytest.raises(ExamplesError, match=r"to learn from of b.*1 skipped, such as b/0\.png"):
        load_data(tmp_path, RULE)


def test_both_sides_have_the_same_classes(tmp_path):
    for part, names in (("train", "ab"), ("test", "ac")):
        for name in names:
            fill(tmp_path / part / name, 1, red=1)
    with pytest.raises(ExamplesError, match=r"train/ and test/ must have the same.*has b, c"):
        load_data(tmp_path, RULE)


def test_pictures_must_come_to_one_size(tmp_path):
    any_size = PreprocessingRule(None, None, "nearest", "RGB", (0.0,) * 3, (1.0,) * 3)
    with pytest.raises(ExamplesError, match="one size"):
        load_data(tmp_path, any_size)
    with pytest.raises(ExamplesError, match="between 0 and 1, found 1"):
        load_data(tmp_path, RULE, held_out=1)


def test_equal_pixels_stay_equal(tmp_path):
    """The rule is applied once: what is learnt is what a client would send."""
    pixels = np.arange(4 * 4 * 3, dtype=np.uint8).reshape(4, 4, 3)
    for name in "ab":
        (tmp_path / name).mkdir()
        for number in range(2):
            Image.fromarray(pixels).save(tmp_path / name / f"{number}.png")
    crop = PreprocessingRule(4, (2, 2), "nearest", "RGB", (0.0,) * 3, (1.0,) * 3)
    split = load_data(tmp_path, crop)
    assert np.array_equal(split.train.images[0], pixels[1:3, 1:3])


def test_more_data_may_be_held_out(tmp_path):
    for name in "ab":
        fill(tmp_path / "learn" / name, 3, red=ord(name))
        fill(tmp_path / "measure" / name, 2, red=ord(name) + 10)
    split = load_data(tmp_path / "learn", RULE, val=tmp_path / "measure")
    assert (len(split.train), len(split.held_out)) == (6, 4)
    assert split.held_out_names == ("a/0.png", "a/1.png", "b/0.png", "b/1.png")
    fill(tmp_path / "measure" / "c", 2, red=1)
    with pytest.raises(ExamplesError, match="has not: c"):
        load_data(tmp_path / "learn", RULE, val=tmp_path / "measure")


def test_the_same_pixels_in_another_file_leak_too(tmp_path):
    fill(tmp_path / "train" / "a", 2, red=1)
    fill(tmp_path / "train" / "b", 2, red=2)
    fill(tmp_path / "val" / "a", 1, red=3)
    fill(tmp_path / "val" / "b", 1, red=4)
    Image.new("RGB", (9, 9), (2, 1, 0)).save(tmp_path / "val" / "b" / "copy.bmp")
    assert load_data(tmp_path, RULE).repeated == ("val/b/copy.bmp",)


def test_the_digest_tells_pixels_and_classes(tmp_path):
    for name in "ab":
        fill(tmp_path / name, 4, red=ord(name))
    whole = load_data(tmp_path, RULE)
    assert whole.digest == load_data(tmp_path, RULE).digest
    (tmp_path / "b").rename(tmp_path / "c")
    renamed = load_data(tmp_path, RULE)
    assert renamed.train.digest == whole.train.digest
    assert renamed.digest != whole.digest
    turned = Examples(whole.train.images, 1 - whole.train.labels)
    assert PictureSplit(turned, whole.held_out, whole.labels).digest != whole.digest
    Image.new("RGB", (3, 5), (0, 0, 9)).save(tmp_path / "a" / "0.png")
    assert load_data(tmp_path, RULE).digest != renamed.digest


def test_many_pixels_lie_on_the_disk(tmp_path, monkeypatch):
    for name in "ab":
        fill(tmp_path / name, 4, red=ord(name))
    in_memory = load_data(tmp_path, RULE)
    monkeypatch.setattr(picture_reading, "_MOST_IN_MEMORY", 10)
    on_disk = load_data(tmp_path, RULE)
    assert isinstance(on_disk.train.images.base, np.memmap)
    assert on_disk.digest == in_memory.digest


def test_a_folder_has_no_pictures_of_several_classes(tmp_path):
    with pytest.raises(ExamplesError, match="in which a picture has one class"):
        load_data(tmp_path, RULE, multi_label=True)


def test_an_interruption_does_not_wait_for_the_rest(tmp_path, monkeypatch):
    for name in "ab":
        fill(tmp_path / name, 200, red=ord(name))
    opened = []

    def note(image):
        opened.append(image)
        return np.zeros((2, 2, 3), np.uint8)

    def interrupt(total):
        raise KeyboardInterrupt

    monkeypatch.setattr(PreprocessingRule, "apply", lambda _, image: note(image))
    monkeypatch.setattr(picture_reading, "_threads", lambda: 1)
    with pytest.raises(KeyboardInterrupt):
        load_data(tmp_path, RULE, progress=interrupt)
    assert len(opened) < 300

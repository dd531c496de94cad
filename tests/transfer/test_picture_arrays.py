import numpy as np
import pytest

from eyespot.transfer import ExamplesError, load_data
from eyespot.v1.preprocessing import PreprocessingRule

GREY = PreprocessingRule((2, 2), None, "nearest", "GRAY", (0.0,), (1.0,))


def grey(count):
    """Pictures of one shade each, (N, 4, 4)."""
    return np.repeat(np.arange(count, dtype=np.uint8), 16).reshape(count, 4, 4)


def shades(examples):
    return examples.images[:, 0, 0, 0].tolist()


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (np.array([0, 2, 1, 0, 1, 2]), ("0", "1", "2")),
        (np.array(["cat", "eel", "dog", "cat", "dog", "eel"]), ("cat", "dog", "eel")),
    ],
)
def test_labels_are_numbers_or_texts(tmp_path, labels, names):
    np.savez(tmp_path / "data.npz", images=grey(6), labels=labels)
    split = load_data(tmp_path / "data.npz", GREY)
    assert split.labels == names
    assert split.train.images.shape == (3, 2, 2, 1)
    index = [0, 2, 1, 0, 1, 2]
    for part in (split.train, split.held_out):
        assert part.labels.tolist() == [index[shade] for shade in shades(part)]
    assert split.held_out_names == tuple(f"row {shade}" for shade in shades(split.held_out))


def test_the_part_held_out_and_the_names_may_be_told(tmp_path):
    np.savez(
        tmp_path / "data.npz",
        x_train=grey(4),
        y_train=np.array([0, 1, 0, 1], np.uint8),
        x_test=grey(6)[4:, :, :, None],
        y_test=np.array([1, 0], np.uint8),
        names=np.array(["no", "yes"]),
    )
    split = load_data(tmp_path / "data.npz", GREY)
    assert split.labels == ("no", "yes")
    assert (shades(split.held_out), split.held_out.labels.tolist()) == ([4, 5], [1, 0])
    assert split.held_out_names == ("held-out row 0", "held-out row 1")


def test_rows_of_0_and_1_are_several_classes(tmp_path):
    labels = np.array([[0, 1], [1, 1], [1, 0], [0, 1], [1, 0], [0, 0]])
    np.savez(tmp_path / "data.npz", images=grey(6), labels=labels)
    split = load_data(tmp_path / "data.npz", GREY, multi_label=True)
    for part in (split.train, split.held_out):
        assert part.labels.dtype == np.float32
        assert part.labels.tolist() == labels[shades(part)].tolist()
    with pytest.raises(ExamplesError, match=r"whole numbers or texts \(N,\)"):
        load_data(tmp_path / "data.npz", GREY)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"pixels": grey(2)}, "no arrays images and labels"),
        ({"images": grey(2) / 255, "labels": np.arange(2)}, "must be uint8.*found float64"),
        ({"images": grey(2), "labels": np.arange(3)}, r"one for each of the 2 images.*\(3,\)"),
        ({"images": grey(2), "labels": np.array([-1, 0])}, "indices from 0, found -1"),
        (
            {"images": grey(2), "labels": np.arange(2), "names": np.array(["a"])},
            "names 1 classes, and its labels tell of 2",
        ),
        ({"images": grey(2), "labels": np.array([{}, {}])}, "no whole .npz of numbers and texts"),
    ],
)
def test_what_is_wrong_in_it_is_told(tmp_path, arrays, message):
    np.savez(tmp_path / "data.npz", **arrays)
    with pytest.raises(ExamplesError, match=message):
        load_data(tmp_path / "data.npz", GREY)


@pytest.mark.parametrize("content", [b"PK\x03\x04torn", b"", b"\x93NUMPY\x01\x00"])
def test_a_torn_file_is_told(tmp_path, content):
    (tmp_path / "data.npz").write_bytes(content)
    with pytest.raises(ExamplesError, match=r"data\.npz is no whole \.npz"):
        load_data(tmp_path / "data.npz", GREY)


def test_a_single_array_is_told(tmp_path):
    with (tmp_path / "data.npz").open("wb") as file:
        np.save(file, grey(2))
    with pytest.raises(ExamplesError, match=r"data\.npz is no whole \.npz"):
        load_data(tmp_path / "data.npz", GREY)

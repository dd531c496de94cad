"""Labels and rules that come from files."""

import json
from pathlib import Path

import pytest

from eyespot.exporter.errors import LabelsError, PreprocessingFitError
from eyespot.exporter.labels import check_labels, read_labels, repetition_notes, write_labels
from eyespot.exporter.rule_choice import choose_rule, fit_rule
from eyespot.v1.preprocessing import IMAGENET, PreprocessingRule


def test_labels_are_one_a_line(tmp_path):
    path = tmp_path / "labels.txt"
    path.write_bytes("\ufefftench\r\ngoldfish, red\nčáp\n\n".encode())
    assert read_labels(path) == ("tench", "goldfish, red", "čáp")
    write_labels(["a", "č"], path)
    assert path.read_bytes() == "a\nč\n".encode()


@pytest.mark.parametrize(
    ("content", "told"),
    [(b"a\n\nb\n", "label 2 is ''"), (b"a\xff\n", "not UTF-8"), (b"", "label 1 is ''")],
)
def test_bad_labels_are_refused(tmp_path, content, told):
    (tmp_path / "labels.txt").write_bytes(content)
    with pytest.raises(LabelsError, match=told):
        read_labels(tmp_path / "labels.txt")


def test_labels_must_count_the_classes():
    assert check_labels(["a", "b"], classes=2) == ("a", "b")
    with pytest.raises(LabelsError, match="2 labels for 3 classes"):
        check_labels(["a", "b"], classes=3)
    with pytest.raises(LabelsError, match="one line of text"):
        check_labels(["a\nb"])
    with pytest.raises(LabelsError, match="cannot be read"):
        read_labels(Path("/nowhere"))


def test_a_missing_file_is_told_without_its_number():
    with pytest.raises(LabelsError) as caught:
        read_labels(Path("/no/labels.txt"))
    assert str(caught.value) == "/no/labels.txt cannot be read: No such file or directory"


def test_labels_that_repeat_are_noted():
    assert repetition_notes(["crane", "b", "crane", "c", "b", "b"]) == (
        "label 'crane' names 2 classes",
        "label 'b' names 3 classes",
    )
    assert repetition_notes(["a", "b"]) == ()


def choose(wanted, own=IMAGENET, *, channels=3, size=224):
    return choose_rule(wanted, own, channels=channels, height=size, width=size)


def test_a_rule_follows_the_input_size():
    assert choose(None) == IMAGENET
    half = choose("imagenet", size=112)
    assert (half.resize_size, half.crop_size, half.mean) == (128, (112, 112), IMAGENET.mean)
    exact = PreprocessingRule((32, 32), None, "bilinear", "GRAY", (0.1,), (0.8,))
    assert choose(None, exact, channels=1, size=28).resize_size == (28, 28)
    oblong = fit_rule(IMAGENET, channels=3, height=112, width=448)
    assert oblong.crop_size == (112, 448)
    assert oblong.resize_size >= 448  # the shorter side must not leave a border


def test_a_rule_follows_the_channels():
    grey = choose("imagenet", channels=1)
    assert grey.color_order == "GRAY"
    assert grey.mean == pytest.approx([(0.485 + 0.456 + 0.406) / 3])
    digits = PreprocessingRule((32, 32), None, "bilinear", "GRAY", (0.1,), (0.8,))
    assert choose(None, digits, size=32).mean == (0.1, 0.1, 0.1)
    with pytest.raises(PreprocessingFitError, match="takes 4 channels"):
        choose("imagenet", channels=4)


def test_a_rule_of_ones_own_is_taken_as_it_is(tmp_path):
    rule = PreprocessingRule(40, (32, 32), "bicubic", "BGR", (0.1, 0.2, 0.3), (1.0, 1.0, 1.0))
    assert choose(rule) is rule
    (tmp_path / "rule.json").write_text(json.dumps(rule.to_json()))
    assert choose(tmp_path / "rule.json") == rule
    assert choose("none") is None
    assert choose(None, None) is None


@pytest.mark.parametrize("content", ["{}", "[]", "nonsense", '{"mean": [1]}'])
def test_a_file_that_is_no_rule_is_refused(tmp_path, content):
    (tmp_path / "rule.json").write_text(content)
    with pytest.raises(PreprocessingFitError, match=r"rule\.json is no preprocessing rule"):
        choose(tmp_path / "rule.json")


def test_an_unknown_word_is_refused():
    with pytest.raises(PreprocessingFitError, match="'imagnet' is neither"):
        choose("imagnet")

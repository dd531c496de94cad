"""Evaluation, with models that are functions and answers known by hand."""

import numpy as np
import pytest
from PIL import Image

from eyespot.transfer import EvaluationError, load_data
from eyespot.transfer.evaluated_entry import check_is_classifier, labels_or_numbers
from eyespot.transfer.evaluation import EvaluatedModel, agree, compare, evaluate, is_right
from eyespot.transfer.evaluation_pictures import load_evaluation_pictures
from eyespot.transfer.evaluation_report import evaluation_report
from eyespot.v1.preprocessing import PreprocessingRule

RULE = PreprocessingRule((2, 2), None, "nearest", "RGB", (0.0,) * 3, (1.0,) * 3)
COLORS = {"red": (200, 0, 0), "green": (0, 200, 0), "blue": (0, 0, 200)}


def most_color(images):
    """The mean of each colour is its logit."""
    return images.mean(axis=(1, 2), dtype=np.float32) / 100


def model(classify=most_color, labels=("red", "green", "blue"), **fields):
    return EvaluatedModel("colors", "1", tuple(labels), RULE, 2, classify, **fields)


def write(folder, **pictures):
    """Write classes=colours of pictures: `red="red green"` is a class with one that is wrong."""
    for name, colors in pictures.items():
        (folder / name).mkdir(parents=True)
        for number, color in enumerate(colors.split()):
            Image.new("RGB", (3, 3), COLORS[color]).save(folder / name / f"{number}.png")
    return folder


@pytest.fixture
def data(tmp_path):
    return write(tmp_path / "data", blue="blue blue", red="red green red")


def load(path, labels=("red", "green", "blue"), **options):
    return load_evaluation_pictures(path, RULE, labels=labels, **options)


def test_the_classes_of_the_data_are_found_among_those_of_the_model(data):
    pictures = load(data)
    assert pictures.labels.tolist() == [2, 2, 0, 0, 0]
    assert pictures.files[0] == "blue/0.png"
    assert (pictures.absent, pictures.part, len(pictures)) == (("green",), "all", 5)


def test_what_the_data_hold_out_is_used(tmp_path):
    write(tmp_path / "train", red="red red red", blue="blue")
    write(tmp_path / "val", red="red", blue="blue")
    pictures = load(tmp_path)
    assert (pictures.files, pictures.part) == (("val/blue/0.png", "val/red/0.png"), "held out")


def test_a_share_is_what_training_does_not_see(tmp_path):
    write(tmp_path / "data", blue="blue " * 10, red="red " * 10)
    split = load_data(tmp_path / "data", RULE, held_out=0.3, seed=5)
    pictures = load(tmp_path / "data", held_out=0.3, seed=5)
    assert pictures.files == split.held_out_names
    assert len(pictures) == 6
    np.testing.assert_array_equal(pictures.images, split.held_out.images)
    # Blue is the first class of the data and the last of the model.
    assert pictures.labels.tolist() == [2, 2, 2, 0, 0, 0]
    assert pictures.part == "30% held out by seed 5"
    assert load(tmp_path / "data", held_out=0.3, seed=6).files != pictures.files


def test_a_share_of_pictures_of_several_labels(data):
    table = data / "table.csv"
    table.write_text("".join(f"red/{row % 3}.png,red;blue\n" for row in range(4)))
    pictures = load(table, multi_label=True, held_out=0.5)
    assert pictures.labels.tolist() == [[1, 0, 1], [1, 0, 1]]


def test_files_that_are_no_pictures_are_named(data):
    (data / "red" / "note.txt").write_text("no picture")
    pictures = load(data)
    assert len(pictures) == 5
    [reason] = pictures.skipped
    assert reason.startswith("red/note.txt: ")
    for path in data.rglob("*.png"):
        path.write_text("torn")
    with pytest.raises(EvaluationError, match=r"no picture that can be read \(6 skipped, such as"):
        load(data)


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        (("red", "cyan"), "classes that the model has not: blue; the model's are red, cyan"),
        (("red", "red", "blue"), "have the same name: red"),
        (("0", "1", "2"), r"model's are 0, 1, 2; if .* --labels, or put them.* labels\.txt"),
        (("cyan",), "one output, 'cyan': .* that class and one other, found blue, red"),
    ],
)
def test_classes_that_do_not_fit_are_named(data, labels, says):
    with pytest.raises(EvaluationError, match=says):
        load(data, labels)


def test_a_picture_of_any_size_is_refused(data):
    rule = PreprocessingRule(None, None, "nearest", "RGB", (0.0,) * 3, (1.0,) * 3)
    with pytest.raises(EvaluationError, match="one size"):
        load_evaluation_pictures(data, rule, labels=["blue", "red"])


def test_one_output_is_a_yes_to_its_label(data):
    pictures = load(data, ["red"])
    assert (pictures.names, pictures.labels.tolist()) == (("blue", "red"), [0, 0, 1, 1, 1])
    found = evaluate(model(lambda images: most_color(images)[:, :1] - 1, ["red"]), pictures)
    assert found.metrics.confusion == ((2, 0), (1, 2))


def test_several_labels(data, tmp_path):
    table = data / "table.csv"
    table.write_text("red/0.png,red\nblue/0.png,red;blue\nred/1.png,\n")
    pictures = load(table, multi_label=True)
    assert pictures.labels.tolist() == [[1, 0, 0], [1, 0, 1], [0, 0, 0]]
    assert pictures.absent == ("green",)
    found = evaluate(model(lambda images: most_color(images) - 1), pictures)
    # Red; blue, which is red as well; green, which is nothing.
    assert found.metrics.exact_accuracy == pytest.approx(1 / 3)
    assert is_right(found.logits, pictures.labels).tolist() == [True, False, False]


def test_the_metrics_and_the_agreement_with_the_original(data):
    asked, told = [], []

    def original(images):
        asked.append(len(images))
        logits = most_color(images)
        logits[:, 1] -= 3  # never green
        return logits

    found = evaluate(model(original=original), load(data), progress=told.append)
    assert found.metrics.accuracy == pytest.approx(4 / 5)
    assert found.metrics.confusion == ((2, 1, 0), (0, 0, 0), (0, 0, 2))
    assert (found.agreement.rows, found.agreement.agreeing) == (5, 4)
    assert found.agreement.max_abs_diff == 3
    assert asked == [2, 2, 1]  # max_batch_size is 2
    assert told == [2, 2, 1] * 2


def test_agreement_of_separate_answers_is_in_every_label():
    found, expected = np.array([[1.0, -1], [2, 2]]), np.array([[0.5, -2], [1, -1]])
    assert agree(found, expected, is_exclusive=False).agreeing == 1
    assert agree(found[:, :1], -expected[:, :1], is_exclusive=True).agreeing == 0
    with pytest.raises(EvaluationError, match=r"3 numbers .* 2: it is the original of another"):
        agree(found, np.zeros((2, 3)), is_exclusive=True)


def test_two_models_are_compared_on_what_both_could_read(data):
    pictures = load(data)
    first = evaluate(model(), pictures)
    (data / "blue" / "0.png").write_text("torn")
    fewer = load(data, ["blue", "red"])
    always_red = model(lambda images: np.tile([0.0, 1.0], (len(images), 1)), ["blue", "red"])
    found = compare(first, pictures, evaluate(always_red, fewer), fewer)
    # Of blue one is left, which only the first knows; of red it has one wrong.
    assert (found.both_right, found.only_first, found.only_second, found.both_wrong) == (2, 1, 1, 0)
    assert found.p_value == 1


def test_a_report_can_be_made_of_it(data):
    pictures = load(data)
    found = evaluate(model(original=most_color), pictures)
    report = evaluation_report(found, pictures, data="data")
    assert report.title == "colors on data"
    assert report.facts["PyTorch original"].startswith("the same answer in 5 of 5 rows")
    assert [(each.name, each.said) for each in report.mistakes] == [("red/1.png", "green")]
    assert report.method == ""


def test_what_is_no_classifier_of_pictures_is_told():
    assert check_is_classifier("m", output_shape=(3,), rule=RULE) is RULE
    with pytest.raises(EvaluationError, match=r"m is no classifier: .* \[3, 8, 8\]"):
        check_is_classifier("m", output_shape=(3, 8, 8), rule=RULE)
    with pytest.raises(EvaluationError, match="no preprocessing rule"):
        check_is_classifier("m", output_shape=(3,), rule=None)


def test_classes_without_names_have_numbers():
    assert labels_or_numbers((), 3) == ("0", "1", "2")
    assert labels_or_numbers(("a", "b"), 2) == ("a", "b")

"""The report: what is chosen, where the network looked, and a page that needs no other file."""

import json
import re
from base64 import b64decode
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from eyespot.exporter.capture import capture
from eyespot.exporter.preprocessed import Preprocessed
from eyespot.transfer import (
    EpochPoint,
    PictureExplainer,
    Report,
    ReportError,
    fit_temperature,
    measure,
    show_pictures,
    write_report,
)
from eyespot.transfer.report.figures import draw_confusion, draw_curves
from eyespot.transfer.report.inlining import inline_figure, inline_picture, overlay
from eyespot.v1.preprocessing import PreprocessingRule

NAMES = ("red", "green", "<b>lue")
RULE = PreprocessingRule((4, 5), None, "bilinear", "RGB", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


class Colors(nn.Module):
    """Says how much of each colour there is: its maps are the picture itself."""

    def forward(self, x):
        return torch.relu(x).mean(dim=(2, 3))


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (9, 4, 5, 3), np.uint8)


def test_it_looked_at_what_can_be_known_beforehand(images):
    module = Preprocessed(Colors(), RULE).eval()
    explain = PictureExplainer(capture(module, torch.zeros(1, 4, 5, 3, dtype=torch.uint8)))
    assert explain.method == "grad_cam"
    classes = np.arange(9) % 3
    # The weight of the class's own map is the mean of its gradient, 1 over the 20 places.
    expected = images[np.arange(9), :, :, classes] / 255 / 20
    np.testing.assert_allclose(explain(images, classes), expected, atol=1e-6)


# Rows 0 to 3 are of class 0: said 0 surely, 0 hardly, 1 surely, 2 hardly. Row 4: 1, right.
LOGITS = np.log([[8, 1, 1], [4, 3, 3], [1, 18, 1], [3, 3, 4], [1, 2, 1]])
LABELS = np.array([0, 0, 0, 0, 1])


def test_the_surest_mistakes_come_first(images):
    asked = []

    def explain(pictures, classes):
        asked.append(classes.tolist())
        return pictures[..., 0].astype(np.float32)

    files = [f"{row}.png" for row in range(5)]
    mistakes, examples = show_pictures(
        images[:5], LOGITS, LABELS, names=NAMES, files=files, explain=explain
    )
    told = [(shown.name, shown.actual, shown.said, shown.confidence) for shown in mistakes]
    assert told == [
        ("2.png", "red", "green", pytest.approx(0.9)),
        ("3.png", "red", "<b>lue", pytest.approx(0.4)),
    ]
    np.testing.assert_array_equal(mistakes[0].pixels, images[2])
    np.testing.assert_array_equal(mistakes[1].attributions, images[3, ..., 0])
    # By how likely red was; none is of the third class.
    assert {name: [each.name for each in some] for name, some in examples.items()} == {
        "red": ["0.png", "1.png", "3.png", "2.png"],
        "green": ["4.png"],
    }
    # It is explained why it said what it said, not why it should have said something else.
    assert asked == [[1, 2, 0, 0, 2, 1, 1]]
    assert [each.is_right for each in examples["red"]] == [True, True, False, False]


def test_few_are_shown_of_many(images):
    many = np.repeat(np.arange(5), 20)
    mistakes, examples = show_pictures(
        images[many % 5], LOGITS[many], LABELS[many], names=NAMES, most_mistakes=3,
        most_classes=1, most_of_class=2,
    )  # fmt: skip
    assert len(mistakes) == 3
    assert list(examples) == ["red"]  # green has nothing wrong
    assert [each.said for each in examples["red"]] == ["red", "green"]  # both ends


def test_a_single_logit_has_a_no(images):
    logits = np.array([[3.0], [-2.0], [1.0]])
    mistakes, examples = show_pictures(
        images[:3], logits, np.array([1, 1, 0]), names=["hot dog"],
        explain=lambda pictures, classes: np.full((len(pictures), 4, 5), classes.max()),
    )  # fmt: skip
    assert [(each.actual, each.said) for each in mistakes] == [
        ("hot dog", "not hot dog"),
        ("not hot dog", "hot dog"),
    ]
    assert mistakes[0].confidence == pytest.approx(1 / (1 + np.exp(-2)))
    assert list(examples) == ["not hot dog", "hot dog"]
    assert not mistakes[0].attributions.any()  # the only logit


def test_of_several_labels_the_worst_is_shown(images):
    logits = np.array([[2.0, -3.0, 1.0], [4.0, 4.0, -4.0]])
    labels = np.array([[0, 1, 1], [1, 1, 0]], np.float32)
    mistakes, examples = show_pictures(images[:2], logits, labels, names=NAMES)
    [mistake] = mistakes
    assert (mistake.actual, mistake.said) == ("green", "not green")
    assert mistake.confidence == pytest.approx(1 / (1 + np.exp(-3)))
    assert [each.said for each in examples["green"]] == ["green", "not green"]


def test_colours_are_shown_as_they_are(images):
    one = {"names": ["yes"], "most_of_class": 1}
    logits, labels = np.array([[1.0]]), np.array([1])
    _, bgr = show_pictures(images[:1], logits, labels, color_order="BGR", **one)
    np.testing.assert_array_equal(bgr["yes"][0].pixels, images[0, :, :, ::-1])
    _, gray = show_pictures(images[:1, :, :, :1], logits, labels, color_order="GRAY", **one)
    np.testing.assert_array_equal(gray["yes"][0].pixels, np.repeat(images[0, :, :, :1], 3, axis=2))


def test_an_overlay_is_dark_where_it_counted():
    pixels = np.full((4, 5, 3), 200, np.uint8)
    counted = np.zeros((4, 5), np.float32)
    counted[1, 2] = 3.0
    drawn = overlay(pixels, counted).mean(axis=2)
    assert drawn[1, 2] < 100
    assert (np.delete(drawn.ravel(), 7) > 200).all()
    assert (overlay(pixels, np.zeros((4, 5), np.float32)) > 200).all()


@pytest.mark.parametrize(
    ("shape", "kind", "size"),
    [((8, 9, 3), "png", (9, 8)), ((300, 600, 3), "jpeg", (224, 112))],
)
def test_pictures_become_text(shape, kind, size):
    head, _, data = inline_picture(np.full(shape, 77, np.uint8)).partition(",")
    assert head == f"data:image/{kind};base64"
    with Image.open(BytesIO(b64decode(data))) as picture:
        assert picture.size == size
        assert picture.getpixel((3, 3)) == (77, 77, 77)


@pytest.fixture(scope="module")
def report(images):
    mistakes, examples = show_pictures(
        images[:5], LOGITS, LABELS, names=NAMES,
        explain=lambda pictures, _: pictures[..., 0].astype(np.float32),
    )  # fmt: skip
    return Report(
        title="a & b",
        metrics=measure(LOGITS, LABELS, names=NAMES),
        facts={"backbone": "<net>"},
        history=(
            EpochPoint("head", 1.0, 1.1, 0.5),
            EpochPoint("last block", 0.5, 0.7, 0.6, is_kept=True),
        ),
        temperature=fit_temperature(LOGITS, LABELS),
        mistakes=mistakes,
        examples=examples,
        method="grad_cam",
        skipped=("torn.png: <broken>",),
        repeated=("twin.png",),
        recipe="epochs = 2 # < 3",
    )


@pytest.fixture(scope="module")
def written(report, tmp_path_factory):
    folder = tmp_path_factory.mktemp("written") / "new"
    assert write_report(report, folder) == folder / "report.html"
    return folder


@pytest.fixture(scope="module")
def page(written):
    return (written / "report.html").read_text(encoding="utf-8")


def test_the_page_needs_no_other_file(written, page):
    sources = re.findall(r'(?:src|href)="([^"]{0,12})', page)
    assert sources
    assert all(source.startswith("data:image/") for source in sources)
    assert not re.search(r"https?:|url\(|@import|<script|<link", page)
    assert {path.name for path in written.iterdir()} == {"metrics.json", "report.html"}


def test_the_page_tells_everything_and_takes_no_text_for_markup(page):
    for text in (
        "<title>a &amp; b</title>", "&lt;net&gt;", "&lt;b&gt;lue", "torn.png: &lt;broken&gt;",
        "twin.png", "1 held-out picture is among those trained on", "epochs = 2 # &lt; 3",
        "red taken for green: 1 time", "(grad_cam)", "green 90.0%</span>, is red",
    ):  # fmt: skip
        assert text in page
    assert "<b>lue" not in page
    # Curves, confusion and reliability; two mistakes and five examples, each with its overlay.
    assert page.count("data:image/svg+xml") == 3
    assert page.count("data:image/png") == 2 * (2 + 5)


def test_what_is_not_known_has_no_section(tmp_path):
    labels = np.array([[1, 0, 0], [0, 1, 1]])
    metrics = measure(LOGITS[:2], labels, names=NAMES)
    page = write_report(Report("plain", metrics), tmp_path).read_text(encoding="utf-8")
    assert re.findall("<h2>(.*?)</h2>", page) == ["Classes", "Does it know when it is right?"]
    assert "mean average precision" in page


def test_the_numbers_are_beside_the_page(report, written):
    told = json.loads((written / "metrics.json").read_text(encoding="utf-8"))
    assert told["metrics"]["accuracy"] == 0.6
    assert told["metrics"]["confusion"][0] == [2, 1, 1]
    assert told["temperature"]["value"] == report.temperature.value
    assert told["history"][1] == {
        "stage": "last block", "training_loss": 0.5, "validation_loss": 0.7,
        "validation_accuracy": 0.6, "is_kept": True,
    }  # fmt: skip


def test_the_same_figure_is_the_same_text():
    history = (EpochPoint("head", 1.0), EpochPoint("head", 0.5))
    first, second = (inline_figure(draw_curves(history)) for _ in range(2))
    assert first == second


def test_many_classes_have_a_confusion_matrix_without_names():
    [axes] = draw_confusion(np.eye(40, dtype=int).tolist(), [str(each) for each in range(40)]).axes
    assert not axes.texts
    [axes] = draw_confusion([[3, 0], [1, 2]], ["a", "b"]).axes
    assert [text.get_text() for text in axes.texts] == ["3", "1", "2"]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["a", "b"]


def test_a_folder_that_cannot_be_written_is_named(report, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ReportError, match=r"cannot be written to .*file"):
        write_report(report, tmp_path / "file")

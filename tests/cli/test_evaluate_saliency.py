"""`eyespot evaluate-saliency` on the files of a model, and on files of boxes."""

import json
import shutil

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from PIL import Image, ImageOps
from tests.server import tiny
from torch import nn

from eyespot.cli.box_file import Box, place_boxes, read_boxes
from eyespot.cli.errors import CommandError
from eyespot.exporter.capture import capture, find_gradient_node
from eyespot.exporter.original_file import save_original
from eyespot.exporter.preprocessed import Preprocessed
from eyespot.v1.manifest import Manifest, Provenance, TensorSpec, write_manifest
from eyespot.v1.preprocessing import PreprocessingRule

FAST = ["--steps", "4", "--cascade-steps", "2"]
RULE = PreprocessingRule((8, 8), None, "bilinear", "GRAY", (0.5,), (0.5,))
HEAD = "image,x_min,y_min,x_max,y_max,label\n"


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """A model of two layers on 8x8 grey pixels: its original, and the same graph by hand."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3)).eval()
    program = capture(Preprocessed(network, RULE), torch.zeros(1, 8, 8, 1, dtype=torch.uint8))
    folder = tmp_path_factory.mktemp("repository") / "digits" / "1"
    folder.mkdir(parents=True)
    save_original(program, folder / "original.pt2")
    weights = [value.detach().numpy() for value in network.state_dict().values()]
    onnx.save(as_graph(weights), folder / "model.onnx")
    specs = (
        (TensorSpec("image", "UINT8", ("batch", 8, 8, 1)),),
        (TensorSpec("logits", "FP32", ("batch", 3)),),
    )
    (folder.parent / "config.pbtxt").write_text('name: "digits"\nmax_batch_size: 3\n')
    (folder.parent / "labels.txt").write_text("zero\none\ntwo\n")
    write_manifest(
        Manifest(
            "digits", "1", Provenance("tiny"), *specs, channel_axis=3,
            gradient_node=find_gradient_node(program), preprocessing=RULE, parity=None,
            opset_version=20, parameter_count=None, files={}, library_versions={},
        ),
        folder / "manifest.json",
    )  # fmt: skip
    return folder.parent.parent


def as_graph(weights):
    names = ("kernel", "kernel_bias", "matrix", "matrix_bias")
    make = helper.make_node
    return tiny.graph(
        [
            make("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
            make("Transpose", ["pixels"], ["planes"], perm=[0, 3, 1, 2]),
            make("Div", ["planes", "scale"], ["shares"]),
            make("Sub", ["shares", "half"], ["centred"]),
            make("Div", ["centred", "half"], ["x"]),
            make("Conv", ["x", "kernel", "kernel_bias"], ["maps"]),
            make("Relu", ["maps"], ["rectified"]),
            make("Flatten", ["rectified"], ["flat"]),
            make("Gemm", ["flat", "matrix", "matrix_bias"], ["logits"], transB=1),
        ],
        {"image": (TensorProto.UINT8, ["batch", 8, 8, 1])},
        {"logits": (TensorProto.FLOAT, ["batch", 3])},
        {
            "scale": np.float32(255),
            "half": np.float32(0.5),
            **dict(zip(names, weights, strict=True)),
        },
    )


@pytest.fixture
def without_original(repository, tmp_path):
    shutil.copytree(repository, tmp_path / "slim")
    (tmp_path / "slim" / "digits" / "1" / "original.pt2").unlink()
    return tmp_path / "slim"


@pytest.fixture
def digits(tmp_path):
    """Two noisy pictures of 40x40 pixels in folders of their own."""
    random = np.random.default_rng(0)
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        pixels = random.integers(0, 256, (40, 40)).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / folder / "0.png")
    return [tmp_path / "one" / "0.png", tmp_path / "two" / "0.png"]


def test_a_table_and_a_plot(run, repository, digits, tmp_path):
    boxes = tmp_path / "boxes.csv"
    boxes.write_text(HEAD + "one/0.png,0,0,40,40,two\ntwo/0.png,0,0,40,40,\n")
    words = ["--method", "saliency", "--method", "grad_cam", "--output", tmp_path / "out"]
    ran = run("evaluate-saliency", repository / "digits", *digits, *words, *FAST, "--boxes", boxes)
    assert ran.code == 0
    lines = ran.out.splitlines()
    assert lines[0].split() == [
        "METHOD", "DELETION", "+-", "INSERTION", "+-", "POINTING", "SIGNED", "MAGNITUDES",
    ]  # fmt: skip
    assert [line[:15].strip() for line in lines[1:5]] == [
        "saliency", "grad_cam", "random pixels", "random patches",
    ]  # fmt: skip
    assert lines[3].split()[-3:] == ["1", "-", "-"]  # everything is the object
    assert lines[-1] == f"drawn in {tmp_path / 'out' / 'digits-faithfulness.png'}"
    with Image.open(tmp_path / "out" / "digits-faithfulness.png") as picture:
        assert picture.format == "PNG"
        # Curves reach to the right margin: no column is kept free for the legend alone.
        *_, right, _ = ImageOps.invert(picture.convert("L").crop(lower_half(picture))).getbbox()
        assert right > 0.97 * picture.width
    assert "saliency: random weights down to" in ran.err


def lower_half(picture):
    return (0, picture.height // 2, picture.width, picture.height)


def test_json_is_the_same_each_time_and_names_the_layers(run, repository, digits):
    words = ["evaluate-saliency", repository / "digits", *digits, *FAST, "--json"]
    words += ["--method", "saliency:modifier=guided"]
    first, second = run(*words).json, run(*words).json
    assert first == second
    assert (first["model_name"], first["model_version"], first["steps"]) == ("digits", "1", 4)
    assert [image["image"] for image in first["images"]] == list(map(str, digits))
    method, *_ = first["methods"]
    assert method["name"] == "saliency:modifier=guided"
    assert [each["layer"] for each in method["randomisation"]] == ["network.3", "network.0"]
    assert len(method["deletion"]["curve"]) == 5
    assert method["deletion"]["area"] == pytest.approx(np.mean(method["deletion"]["areas"]))
    assert (method["pointing"], first["picture"], first["notes"]) == (None, None, [])


def test_without_an_original_there_is_occlusion_and_no_sanity_check(run, without_original, digits):
    ran = run("evaluate-saliency", without_original / "digits", digits[0], *FAST,
              "--method", "occlusion")  # fmt: skip
    assert ran.code == 0
    assert "no sanity check: its original.pt2 is not there" in ran.out
    assert "SIGNED" not in ran.out
    ran = run("evaluate-saliency", without_original / "digits", digits[0], "--method", "saliency")
    assert ran.code == 1
    assert "saliency needs gradients" in ran.err
    assert "ask for occlusion or rise" in ran.err


def test_what_goes_wrong_is_told(run, repository, digits, tmp_path):
    model = repository / "digits"
    assert run("evaluate-saliency", model).code == 2
    assert run("evaluate-saliency", model, *digits, "--method", "rise:7").code == 2
    ran = run("evaluate-saliency", model, *digits, "--method", "salincy")
    assert ran.code == 1
    assert "did you mean 'saliency'?" in ran.err
    ran = run("evaluate-saliency", model, *digits, "--method", "saliency:n=3")
    assert "method 'saliency' has no parameter 'n'" in ran.err
    ran = run("evaluate-saliency", model, tmp_path / "none.png")
    assert ran.code == 1
    assert "none.png cannot be read" in ran.err
    assert "no picture left" in ran.err
    ran = run("evaluate-saliency", repository / "digit", *digits)
    assert "its models: digits" in ran.err


def test_a_broken_picture_spoils_no_other(run, repository, digits, tmp_path):
    torn = tmp_path / "torn.png"
    torn.write_bytes(digits[0].read_bytes()[:60])
    words = ["--method", "saliency", "--steps", "1", "--cascade-steps", "0", "--json"]
    ran = run("evaluate-saliency", repository / "digits", torn, digits[0], *words)
    assert ran.code == 1
    assert "torn.png cannot be read" in ran.err
    assert [image["image"] for image in ran.json["images"]] == [str(digits[0])]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"task": "segmentation"}, "is a network of segmentation"),
        ({"preprocessing": None}, "takes arrays and not pictures"),
    ],
)
def test_what_is_no_classifier_of_pictures_is_refused(
    run, without_original, digits, change, reason
):
    file = without_original / "digits" / "1" / "manifest.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    ran = run("evaluate-saliency", without_original / "digits", *digits)
    assert ran.code == 1
    assert reason in ran.err


WIDE = PreprocessingRule((10, 20), None, "nearest", "RGB", (0.5,) * 3, (0.5,) * 3)
LABELS = ("cat", "dog")


def place(boxes, paths, rule=WIDE):
    pictures = {path: Image.new("RGB", (40, 30)) for path in paths}
    return place_boxes(boxes, pictures, rule, LABELS, classes=2)


def test_both_forms_hold_the_same_boxes(tmp_path):
    (tmp_path / "a.csv").write_text(HEAD + "a/x.png, 1, 2, 3.5, 4, dog\nb.png,0,0,1,1,\n")
    rows = [
        {"image": "a/x.png", "x_min": 1, "y_min": 2, "x_max": 3.5, "y_max": 4, "label": "dog"},
        {"image": "b.png", "x_min": 0, "y_min": 0, "x_max": 1, "y_max": 1},
    ]
    (tmp_path / "a.json").write_text(json.dumps(rows))
    expected = [Box("a/x.png", (1, 2, 3.5, 4), "dog"), Box("b.png", (0, 0, 1, 1), "")]
    assert read_boxes(tmp_path / "a.csv") == read_boxes(tmp_path / "a.json") == expected


def test_a_box_goes_the_way_of_its_picture():
    # 40x30 becomes 20x10: x is halved, y divided by 3.
    boxes = [Box("x.png", (8, 3, 16, 12), "dog"), Box("x.png", (38, 27, 40, 30), "dog"),
             Box("y.png", (0, 0, 40, 30), "1"), Box("y.png", (0, 0, 2, 3), "")]  # fmt: skip
    objects, notes = place([*boxes, Box("of no picture.png", (0, 0, 1, 1), "")], ["x.png", "y.png"])
    assert objects.rows.tolist() == [0, 1, 1]
    assert objects.classes.tolist() == [1, 1, -1]
    expected = np.zeros((10, 20), bool)
    expected[1:4, 4:8] = expected[9, 19] = True
    np.testing.assert_array_equal(objects.regions[0], expected)
    assert objects.regions[1].all()
    assert notes == []


def test_a_box_that_is_cropped_away_is_told():
    cropped = PreprocessingRule(None, (10, 10), "nearest", "GRAY", (0.5,), (0.5,))
    boxes = [Box("x.png", (0, 0, 5, 5), ""), Box("y.png", (10, 10, 30, 20), "")]
    objects, [note] = place(boxes, ["x.png", "y.png"], cropped)
    assert objects.rows.tolist() == [1]
    assert note == "x.png: nothing of its box is left in what the network sees"
    with pytest.raises(CommandError, match="nothing of its box is left"):
        place(boxes[:1], ["x.png"], cropped)


@pytest.mark.parametrize(
    ("box", "paths", "reason"),
    [
        (Box("z.png", (0, 0, 1, 1), ""), ["x.png"], "no box is of any of the pictures"),
        (Box("x.png", (0, 0, 1, 1), ""), ["a/x.png", "b/x.png"], "give more of the path"),
        (Box("x.png", (0, 0, 1, 1), "dgo"), ["x.png"], "did you mean 'dog'?"),
        (Box("x.png", (0, 0, 1, 1), "2"), ["x.png"], "neither a label nor an index below 2"),
    ],
)
def test_a_box_that_cannot_be_placed(box, paths, reason):
    with pytest.raises(CommandError) as caught:
        place([box], paths)
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("a.csv", "x.png,1,2,3,4\n", "must begin with the line image,x_min"),
        ("a.csv", "", "found nothing"),
        ("a.csv", HEAD, "holds no box"),
        ("a.csv", HEAD + "x.png,1,2,3\n", "box 1 has no y_max"),
        ("a.csv", HEAD + "x.png,1,2,3,4,dog,5\n", "box 1 has None too"),
        ("a.csv", HEAD + "x.png,1,2,3,four,\n", "edges must be numbers"),
        ("a.csv", HEAD + "x.png,0,0,1,1,\nx.png,3,2,1,4,\n", "box 2: expected x_min < x_max"),
        ("a.csv", HEAD + "x.png,1,2,nan,4,\n", "expected x_min < x_max"),
        ("a.json", "[", "is no JSON"),
        ("a.json", '{"image": 1}', "must hold a list of objects"),
        ("a.json", '[{"image": "x.png"}]', "has no x_min, y_min, x_max, y_max"),
    ],
)
def test_a_file_that_holds_no_boxes(tmp_path, name, text, reason):
    (tmp_path / name).write_text(text)
    with pytest.raises(CommandError) as caught:
        read_boxes(tmp_path / name)
    assert reason in str(caught.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(CommandError, match=r"none\.csv cannot be read: no such file"):
        read_boxes(tmp_path / "none.csv")

"""`eyespot inspect` on networks of the zoo and on entries."""

import json

import pytest
from PIL import Image

from eyespot.cli.main import main


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    folder = tmp_path_factory.mktemp("repository")
    words = ["export", "lenet5_modern", "--output", str(folder), "--name", "letters"]
    assert main([*words, "--max-batch-size", "2"]) == 0
    return folder


def test_the_table_of_a_network(run):
    lines = run("inspect", "lenet5_modern").out.splitlines()
    assert lines[0] == "input (1, 1, 32, 32)"
    assert lines[1].split()[:3] == ["LAYER", "KIND", "OUTPUT"]
    assert lines[2].split("  ")[-1].strip() == "(32 + 2*0 - 1*(5 - 1) - 1)/1 + 1 = 28"
    assert "convolution 5x5, padding valid" in lines[2]
    assert "61,706 parameters" in lines[-2]
    assert lines[-1] == (
        "last spatial map: max_pool2d_1 (16, 5, 5), receptive field 16x16, stride 4"
    )
    every = run("inspect", "lenet5_modern", "--operators").out
    assert len(every.splitlines()) > len(lines)


def test_the_table_in_json(run):
    network = run("inspect", "lenet5_modern", "--json").json["network"]
    assert (network["parameters"], network["last_map"]) == (61_706, "max_pool2d_1")
    assert network["receptive_field"] == [16, 16]
    assert network["undefined_from"] is None
    first = network["layers"][0]
    assert (first["node"], first["padding"], first["macs"]) == ("conv2d", "valid", 117_600)
    assert first["fields"] == [
        {"axis": 2, "size": 5, "stride": 1, "offset": 0},
        {"axis": 3, "size": 5, "stride": 1, "offset": 0},
    ]


def test_the_maps_for_saliency(run):
    lines = run("inspect", "lenet5_modern", "--layers").out.splitlines()
    assert lines[1].split()[0] == "conv2d"
    # What saliency takes by itself: the last map before pooling.
    assert [line.split()[0] for line in lines if line.endswith("default")] == ["relu_1"]
    maps = run("inspect", "lenet5_modern", "--layers", "--json").json["layers"]
    assert maps[-1]["node"] == "max_pool2d_1"
    assert [each["is_default"] for each in maps].count(True) == 1


def test_an_entry_has_its_layers_beside_what_it_says_of_itself(run, repository):
    out = run("inspect", repository / "letters").out
    assert "letters version 1 (of 1)" in out
    assert "last spatial map: max_pool2d_1 (16, 5, 5)" in out
    told = run("inspect", repository / "letters", "--json").json
    assert told["model_name"] == "letters"
    assert told["network"]["input_shapes"] == [[1, 32, 32, 1]]
    assert told["network"]["parameters"] == told["parameter_count"]


def test_the_effective_field_is_drawn(run, tmp_path):
    words = ["--measure", "--samples", "2", "--output", tmp_path / "field.png"]
    ran = run("inspect", "lenet5_modern", *words)
    assert "of 16x16 pixels" in ran.out.splitlines()[-1]
    with Image.open(tmp_path / "field.png") as picture:
        assert picture.size == (1200, 600)
    told = run("inspect", "lenet5_modern", *words, "--json").json["effective_field"]
    assert told["box"] == [8, 8, 16, 16]
    assert told["picture"] == str(tmp_path / "field.png")
    assert "gradients" not in told


def test_the_effective_field_of_an_entry(run, repository, tmp_path):
    words = ["--measure", "--samples", "1", "--output", tmp_path / "field.png", "--json"]
    told = run("inspect", repository / "letters", *words).json["effective_field"]
    assert (told["node"], told["samples"]) == ("max_pool2d_1", 1)
    ran = run("inspect", repository / "letters", "--measure", "--weights", "x")
    assert ran.code == 2


def test_what_goes_wrong_is_told(run, tmp_path):
    assert "did you mean 'lenet5'?" in run("inspect", "lenet55").err
    assert "must be at least 63, found 40" in run("inspect", "alexnet", "--input-size", "40").err
    assert run("inspect", "lenet5", "--layers", "--measure").code == 2
    assert run("inspect", "lenet5", "--output", "x.png").code == 2
    ran = run("inspect", "lenet5_modern", "--measure", "--images", tmp_path)
    assert ran.code == 1
    assert "no usable picture among 0" in ran.err


def test_an_entry_without_an_original_has_no_layers(run, tiny_repository, tmp_path):
    file = tiny_repository / "double" / "1" / "model.onnx"
    assert run("add", file, "--name", "twice", "--output", tmp_path / "models").code == 0
    assert json.loads(run("inspect", tmp_path / "models" / "twice", "--json").out)["model_name"]
    ran = run("inspect", tmp_path / "models" / "twice", "--layers")
    assert ran.code == 1
    assert "no PyTorch original" in ran.err

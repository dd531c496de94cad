"""`eyespot explain`: what is left of an explanation besides a drawing."""

import numpy as np
import pytest
from PIL import Image

# Of the green picture: logits 0, 4, 0, and an explanation of blue that is 2 everywhere.
GREEN = pytest.approx(np.exp(4) / (np.exp(4) + 2))


def test_json_needs_no_picture_and_holds_what_a_script_wants(run, address, pictures, servicer):
    ran = run("explain", pictures / "green.png", "--server", address, "--json")
    assert (ran.code, ran.err) == (0, "")
    [image] = ran.json["images"]
    first, *_ = image["classes"]
    assert (first["label"], first["probability"]) == ("green", GREEN)
    assert (image["method"], image["model_version"]) == ("saliency", "2")
    assert (image["label"], image["score"], image["score_name"]) == ("blue", 1.5, "logit")
    assert (image["shape"], image["channel_reduction"]) == ([2, 2], "max")
    assert (image["drawing"], image["map"]) == (None, None)
    assert image["reports"] == {"steps": 3}


def test_maps_are_written_as_numbers(run, address, pictures, tmp_path):
    files = [pictures / "green.png", pictures / "blue.png"]
    words = ["explain", *files, "--server", address, "--maps", tmp_path / "maps"]
    ran = run(*words)
    assert ran.code == 0
    assert ran.out.splitlines() == [
        f"{file}: blue, logit 1.5 -> {tmp_path / 'maps' / file.stem}-saliency.npy" for file in files
    ]
    found = np.load(tmp_path / "maps" / "green-saliency.npy")
    assert (found.tolist(), found.dtype) == ([[1, 1], [1, 1]], np.float32)
    both = run(*words, "--output", tmp_path / "drawn", "--json")
    assert both.json["images"][0]["map"] == str(tmp_path / "maps" / "green-saliency.npy")
    with Image.open(both.json["images"][0]["drawing"]) as drawn:
        assert drawn.width > 320


def test_files_are_named_by_the_parameters_too(run, address, pictures, tmp_path):
    maps = tmp_path / "maps"
    words = ["explain", pictures / "green.png", "--server", address, "--maps", maps]
    told = run(*words, "--parameter", "layer=../a b", "--parameter", "n_steps=100", "--json")
    assert told.json["images"][0]["parameters"] == {"layer": "../a b", "n_steps": 100}
    assert run(*words).code == 0
    assert {file.name for file in maps.iterdir()} == {
        "green-saliency.npy",
        "green-saliency-layer=..-a-b-n_steps=100.npy",
    }
    assert run(*words, "--parameter", f"layer={'x' * 300}").code == 0
    assert max(len(file.name) for file in maps.iterdir()) < 100


def test_nothing_is_asked_where_nothing_would_be_left(run, address, pictures, servicer):
    ran = run("explain", pictures / "green.png", "--server", address)
    assert ran.code == 2
    assert "(--output)" in ran.err
    assert "--maps" in ran.err
    assert servicer.requests == []


def test_a_model_that_names_no_classes_is_explained_all_the_same(run, address, pictures):
    ran = run(
        "explain", pictures / "green.png", "--server", address, "--json", "--model", "scene",
        "--target", "1",
    )  # fmt: skip
    assert ran.code == 0
    assert ran.json["images"][0]["classes"] == []


def test_a_folder_that_cannot_be_written_into_is_told(run, address, pictures):
    taken = pictures / "blue.png"
    ran = run("explain", pictures / "green.png", "--server", address, "--maps", taken)
    assert (ran.code, f"{taken} is no folder" in ran.err) == (1, True)

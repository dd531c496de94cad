"""Pictures to a server that segments and embeds; see tests/client/fake.py for its answers."""

import numpy as np
import pytest
from PIL import Image


def test_segment_draws_and_tells_the_shares(run, address, pictures, tmp_path):
    folder = tmp_path / "drawn"
    picture = tmp_path / "flag.png"
    pixels = np.zeros((4, 8, 3), np.uint8)
    pixels[:, :2, 0] = pixels[:, 2:, 2] = 200
    Image.fromarray(pixels).save(picture)
    ran = run("segment", picture, "--model", "scene", "--server", address, "--output", folder)
    assert ran.out.splitlines() == [
        f"{picture} -> {folder / 'flag-segmentation.png'}",
        "   75.00%  blue (2)",
        "   25.00%  red (0)",
    ]
    assert (ran.code, ran.err) == (0, "")
    with Image.open(folder / "flag-segmentation.png") as drawn:
        assert drawn.width > 640


def test_segment_in_json(run, address, pictures, tmp_path):
    words = ["--model", "scene", "--server", address, "--output", tmp_path / "drawn", "--json"]
    ran = run("segment", pictures / "green.png", pictures / "absent.png", *words)
    assert ran.code == 1
    [answer] = ran.json["images"]
    assert answer["classes"] == [{"index": 1, "label": "green", "share": 1.0}]
    assert "absent.png cannot be read" in ran.err


def test_segment_needs_a_folder_or_json(run, address, pictures):
    file = pictures / "green.png"
    ran = run("segment", file, "--model", "scene", "--server", address)
    assert (ran.code, "--output" in ran.err) == (2, True)
    ran = run("segment", file, "--model", "scene", "--server", address, "--json")
    assert (ran.code, ran.json["images"][0]["drawing"]) == (0, None)
    ran = run("segment", file, "--model", "scene", "--server", address, "--output", file)
    assert ran.code == 1
    assert "is no folder: files cannot be written there" in ran.err


def test_embed_tells_the_squared_distances(run, address, tmp_path):
    for name, color in (("a", (3, 0, 0)), ("b", (0, 4, 0))):
        Image.new("RGB", (2, 2), color).save(tmp_path / f"{name}.png")
    files = [tmp_path / "a.png", tmp_path / "b.png"]
    ran = run("embed", *files, "--model", "scene", "--server", address)
    assert ran.code == 0
    _, _, first, second = (line.split() for line in ran.out.splitlines())
    assert first == ["1", str(files[0]), "0", "25"]  # 3 * 3 + 4 * 4
    assert second == ["2", str(files[1]), "25", "0"]
    vectors = run("embed", *files, "--model", "scene", "--server", address, "--json").json
    assert [each["embedding"] for each in vectors["images"]] == [[3, 0, 0], [0, 4, 0]]

    assert [pair["squared_distance"] for pair in vectors["pairs"]] == [25]


@pytest.mark.parametrize(("threshold", "verdict"), [("24.9", "not the same"), ("25.1", "the same")])
def test_embed_tells_which_pictures_show_the_same(threshold, verdict, run, address, tmp_path):
    for name, color in (("a", (3, 0, 0)), ("b", (0, 4, 0))):
        Image.new("RGB", (2, 2), color).save(tmp_path / f"{name}.png")
    files = [tmp_path / "a.png", tmp_path / "b.png"]
    words = ["--model", "scene", "--server", address, "--threshold", threshold]
    assert run("embed", *files, *words).out.splitlines()[-1] == (
        f"{files[0]} and {files[1]}: {verdict}"
    )
    (pair,) = run("embed", *files, *words, "--json").json["pairs"]
    assert pair["is_same"] is (verdict == "the same")


def test_a_threshold_that_is_none_is_refused(run, pictures):
    ran = run("embed", pictures / "green.png", "--threshold", "-1")
    assert ran.code == 2
    assert "must be above 0, found -1" in ran.err


@pytest.mark.parametrize("command", ["segment", "embed"])
def test_a_model_for_something_else_is_told(command, run, address, pictures, tmp_path):
    extra = ["--output", tmp_path / "drawn"] if command == "segment" else []
    ran = run(command, pictures / "green.png", "--model", "planes", "--server", address, *extra)
    assert ran.code == 1
    assert ran.err.startswith("eyespot: error: ")


@pytest.mark.parametrize("words", [["embed"], ["explain", "--like"]])
def test_logits_are_no_embedding(words, run, address, pictures, tmp_path):
    picture = pictures / "green.png"
    extra = ["--output", tmp_path / "drawn"] if words[0] == "explain" else []
    ran = run(*words, picture, *([picture] if extra else []), "--model", "colors",
              "--server", address, *extra)  # fmt: skip
    assert ran.code == 1
    assert "has no output 'embedding'" in ran.err
    assert "it has logits, which `eyespot infer` reads" in ran.err

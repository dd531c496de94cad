"""Commands on the zoo and on a model repository."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
from PIL import Image
from tests.exporter.test_pixel_input import save

from eyespot.cli.main import main
from eyespot.exporter import NotWorthwhileError
from eyespot.exporter.quantisation import Sensitivity
from eyespot.v1.manifest import read_manifest


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """One small network, exported by the command itself; nobody may change it."""
    folder = tmp_path_factory.mktemp("repository")
    labels = folder / "labels.txt"
    labels.write_text("a\nb\nc\n")
    words = ["export", "lenet5_modern", "--output", str(folder / "models"), "--name", "letters"]
    words += ["--num-classes", "3", "--labels", str(labels), "--max-batch-size", "4"]
    words += ["--mean", "0.25", "--std", "0.5", "--resize", "40", "--crop", "32"]
    words += ["--interpolation", "bicubic", "--seed", "5"]
    assert main(words) == 0
    return folder / "models"


def test_models_are_listed(run):
    ran = run("models")
    [lenet5] = [line for line in ran.out.splitlines() if line.startswith("lenet5 ")]
    words = ["lenet5", "classification", "60,000", "416", "k", "1x32x32", "1998"]
    assert lenet5.split()[:7] == words
    assert lenet5.endswith("LeCun et al.")
    assert max(map(len, ran.out.splitlines())) <= 100


def test_models_in_json(run):
    by_name = {entry["name"]: entry for entry in run("models", "--json").json}
    assert by_name["resnet18"]["parameter_count"] == 11_689_512
    assert by_name["lenet5"]["input_size"] == [1, 32, 32]
    assert by_name["lenet5"]["year"] == 1998
    assert by_name["lenet5"]["departures"]
    assert by_name["lenet5"]["paper"].startswith("LeCun, Bottou, Bengio and Haffner: Gradient-")
    vgg16 = by_name["vgg16"]
    assert (vgg16["task"], vgg16["models"], vgg16["dynamic_axes"]) == (
        "classification",
        ["vgg16"],
        [],
    )
    assert vgg16["macs"] == 15_470_264_320  # 3x3 convolutions and three full layers, by hand
    assert vgg16["receptive_field"] == 212  # Araujo, Norris and Sim, 2019


def test_inspect_tells_what_the_export_was_told(run, repository):
    ran = run("inspect", repository / "letters" / "1", "--json")
    entry = ran.json
    assert (entry["model_name"], entry["model_version"]) == ("letters", "1")
    assert entry["inputs"] == [
        {"name": "image", "datatype": "UINT8", "shape": ["batch", 32, 32, 1]}
    ]
    assert entry["outputs"][0]["shape"] == ["batch", 3]
    assert entry["max_batch_size"] == 4
    assert entry["is_explainable"] is True
    assert entry["preprocessing"] == {
        "resize_size": 40,
        "crop_size": [32, 32],
        "interpolation": "bicubic",
        "color_order": "GRAY",
        "mean": [0.25],
        "std": [0.5],
    }
    assert [case["batch_size"] for case in entry["parity"]["cases"]] == [1, 2, 4]
    assert entry["provenance"]["training"] == {"seed": 5}


def test_inspect_for_people(run, repository):
    out = run("inspect", repository / "letters").out
    assert "letters version 1 (of 1)" in out
    assert "image UINT8 (batch, 32, 32, 1)" in out
    assert "to GRAY, resize shorter side to 40 (bicubic), crop the centre (32, 32)" in out
    assert "MAX ABS DIFF" in out


def test_inspect_of_nothing(run, repository):
    ran = run("inspect", repository / "lettres")
    assert ran.code == 1
    assert ran.err == (f"eyespot: error: no model 'lettres' in {repository}; its models: letters\n")


def test_inspect_of_a_repository_names_its_models(run, repository):
    ran = run("inspect", repository)
    assert ran.code == 1
    assert ran.err == (
        f"eyespot: error: {repository} is a repository; name one of its models: letters\n"
    )


def test_check_finds_nothing_and_then_a_changed_file(run, repository, tmp_path):
    ran = run("check", repository)
    assert ran.code == 0
    assert ran.out.splitlines()[0].startswith("ok     letters version 1, max_abs_diff")
    assert ran.out.splitlines()[-1] == "1 model version, 0 at fault"

    version = tmp_path / "models" / "letters" / "1"
    version.mkdir(parents=True)
    for source in [*repository.glob("letters/*.*"), *repository.glob("letters/1/*")]:
        target = tmp_path / "models" / source.relative_to(repository)
        target.write_bytes(source.read_bytes())
    with (version / "model.onnx").open("ab") as file:
        file.write(b"x")
    ran = run("check", tmp_path / "models", "--json")
    assert ran.code == 1
    [result] = ran.json
    assert result["ok"] is False
    assert "model.onnx has changed" in result["reasons"][0]


def test_check_takes_a_model_or_a_version_too(run, tmp_path, monkeypatch):
    models = tmp_path / "models"
    for name, versions in (("net", ("1", "2")), ("other", ("1",))):
        for version in versions:
            (models / name / version).mkdir(parents=True)
            (models / name / version / "model.onnx").write_bytes(b"no graph")

    def checked(*words):
        told = run("check", *words, "--json").json
        return [(each["model_name"], each["model_version"]) for each in told]

    assert checked(models) == [("net", "1"), ("net", "2"), ("other", "1")]
    assert checked(models / "net") == [("net", "1"), ("net", "2")]
    assert checked(models / "net" / "2") == [("net", "2")]
    assert checked(models, "other", "net") == [("other", "1"), ("net", "1"), ("net", "2")]
    monkeypatch.chdir(models / "net")
    assert checked(".") == [("net", "1"), ("net", "2")]
    ran = run("check", models, "nix")
    assert (ran.code, ran.err.splitlines()[-1]) == (
        1, f"eyespot: error: no model 'nix' in {models}; its models: net, other"
    )  # fmt: skip
    ran = run("check", models / "net", "other")
    assert ran.code == 2
    assert "NAME goes with a repository" in ran.err
    ran = run("check", models / "net" / "7")
    assert (ran.code, "net has no version 7; its versions: 1, 2" in ran.err) == (1, True)


def test_add_takes_any_onnx_file(run, tiny_repository, tmp_path):
    file = tiny_repository / "double" / "1" / "model.onnx"
    ran = run("add", file, "--name", "twice", "--output", tmp_path / "models")
    assert ran.code == 0
    assert "added twice version 1" in ran.out
    assert "without gradients" in ran.out
    assert "occlusion" not in ran.out  # it takes no maps
    ran = run("inspect", tmp_path / "models" / "twice")
    assert "no: there is no PyTorch original" in ran.out


def test_add_lets_an_onnx_file_take_pictures(run, tmp_path):
    file = save(tmp_path / "same.onnx", ["N", 3, 2, 5])
    words = ["add", file, "--name", "same", "--output", tmp_path / "models"]
    ran = run(*words, "--resize", "2x5", "--mean", "0.5,0.5,0.5")
    assert ran.code == 0, ran.err
    assert "preprocessing  to RGB, resize height and width to (2, 5)" in ran.out
    assert "occlusion and rise explain it\n" in ran.out
    rule = run(*words, "--name", "again", "--resize", "2x5", "--json").json["manifest"][
        "preprocessing"
    ]
    assert (rule["resize_size"], rule["mean"]) == ([2, 5], [0.485, 0.456, 0.406])
    ran = run(*words, "--preprocessing", "imagenet", "--mean", "1,1,1")
    assert (ran.code, "it does not go with --mean" in ran.err) == (2, True)
    ran = run(*words, "--preprocessing", tmp_path / "rule.json")
    assert (ran.code, "rule.json cannot be read" in ran.err) == (1, True)
    assert "once its config.pbtxt tells the channels" in run(*words, "--name", "floats").out


def test_flags_of_the_export_reach_it(run, tmp_path):
    words = ["export", "lenet5_modern", "--output", tmp_path, "--max-batch-size", "1"]
    ran = run(*words, "--external-data", "--json")
    assert ran.code == 0
    assert "model.onnx.data" in ran.json["manifest"]["files"]
    ran = run(*words, "--transform-input")
    assert ran.code == 1
    assert "does not re-normalise its input" in ran.err
    ran = run(*words, "--input-size", "15")
    assert ran.code == 1
    assert "lenet5_modern's input_size must be at least 16, found 15" in ran.err
    ran = run(*words, "--gradient-layer", "relu_1", "--gradient-layer", "relu_7")
    assert ran.code == 1
    assert "there is no layer 'relu_7'; did you mean 'relu_1' or 'relu'?" in ran.err


def test_all_or_one(run, tmp_path):
    for words in ([], ["lenet5", "--all"], ["--all", "--weights", "x", "--no-transform-input"]):
        ran = run("export", *words, "--output", tmp_path)
        assert ran.code == 2
    assert "--weights, --transform-input is for one MODEL" in ran.err
    ran = run("export", "--all", "--gradient-layer", "relu", "--output", tmp_path)
    assert (ran.code, "--gradient-layer is for one MODEL" in ran.err) == (2, True)


def test_every_network_is_a_row_and_a_failure_stops_none(run, tmp_path, monkeypatch):
    import eyespot.exporter.whole_zoo

    class BrokenError(Exception):
        """Not one that the exporter knows."""

    def export(name, **options):
        if name == "lenet5":
            raise BrokenError("its reason")
        return real(name, **options)

    real = eyespot.exporter.whole_zoo.export_zoo_parts
    monkeypatch.setattr(eyespot.exporter.whole_zoo, "export_zoo_parts", export)
    monkeypatch.setattr(
        eyespot.exporter.whole_zoo, "list_models", lambda: ["lenet5", "lenet5_modern"]
    )
    words = ["export", "--all", "--output", tmp_path, "--seed", "3", "--max-batch-size", "2"]
    ran = run(*words, "--json")
    assert ran.code == 1
    broken, whole = ran.json
    assert (broken["reason"], broken["models"], broken["max_abs_diff"]) == ("its reason", [], None)
    assert (whole["name"], whole["reason"]) == ("lenet5_modern", None)
    assert (whole["parameter_count"], whole["opset_version"]) == (61_706, 18)
    graph = tmp_path / "lenet5_modern" / "1" / "model.onnx"
    assert whole["size_bytes"] == graph.stat().st_size
    assert 0 < whole["max_rel_diff"] < 1e-4
    assert whole["export_seconds"] > 0
    # PyTorch alone takes more than this, and the network nothing beside it.
    assert 2**26 < whole["peak_bytes"] < 2**34

    ran = run(*words, "--replace")
    assert ran.code == 1
    assert ran.out.splitlines()[0].split()[:3] == ["NAME", "PARAMETERS", "SECONDS"]
    assert ran.out.splitlines()[2].split()[:2] == ["lenet5_modern", "61,706"]
    assert ran.out.splitlines()[-2:] == ["FAILED  lenet5: its reason", "2 networks, 1 failed"]


def test_an_unknown_network_suggests_the_nearest(run, tmp_path):
    ran = run("export", "lenet55", "--output", tmp_path)
    assert ran.code == 1
    assert "did you mean 'lenet5'?" in ran.err
    ran = run("export", "lenet55", "--output", tmp_path, "--mean", "0.5")
    assert "did you mean 'lenet5'?" in ran.err


def test_weights_that_are_not_there(run, tmp_path):
    ran = run("export", "lenet5", "--weights", tmp_path / "no.pth", "--output", tmp_path)
    assert ran.code == 1
    assert ran.err.splitlines()[-1].startswith("eyespot: error: ")
    assert "no.pth" in ran.err


@pytest.mark.parametrize(
    "words",
    [
        ["--preprocessing", "none", "--mean", "0.5"],
        ["--resize", "wide"],
        ["--crop", "3x"],
        ["--mean", "a,b"],
        ["--num-classes", "0"],
        ["--name", "a/b"],
        ["--name", ".hidden"],
    ],
)
def test_contradictory_rules_are_wrong_usage(run, tmp_path, words):
    assert run("export", "lenet5", "--output", tmp_path, *words).code == 2


def test_a_rule_that_cannot_be_is_told(run, tmp_path):
    ran = run("export", "lenet5", "--output", tmp_path, "--mean", "0.5,0.5")
    assert ran.code == 2
    assert "mean needs 1 numbers for GRAY, found 2" in ran.err


def test_serve_is_a_face_of_the_server(tiny_repository, tmp_path):
    command = [sys.executable, "-m", "eyespot.cli", "serve", str(tiny_repository)]
    command += ["--port", "0", "--port-file", str(tmp_path / "port")]
    server = subprocess.Popen(command, stderr=subprocess.DEVNULL, env={**os.environ})
    try:
        while not (tmp_path / "port").exists():
            assert server.poll() is None, "the server has ended"
            time.sleep(0.02)
        address = f"127.0.0.1:{(tmp_path / 'port').read_text().strip()}"
        asked = subprocess.run(
            [sys.executable, "-m", "eyespot.cli", "status", "--server", address, "--json"],
            capture_output=True,
            text=True,
        )
        assert asked.returncode == 0
        [model] = json.loads(asked.stdout)["models"]
        assert (model["name"], model["state"]) == ("double", "READY")
    finally:
        server.send_signal(signal.SIGTERM)
    assert server.wait(60) == 0


def test_impossible_settings_are_wrong_usage(run, tmp_path, monkeypatch):
    monkeypatch.delenv("EYESPOT_REPOSITORY", raising=False)
    ran = run("serve")
    assert ran.code == 2
    assert "no model repository is given" in ran.err
    assert run("serve", tmp_path, "--port", "70000").code == 2
    assert run("serve", tmp_path, "--device", "abacus").code == 2


def test_a_check_of_nothing_does_not_pass(run, tmp_path):
    ran = run("check", tmp_path)
    assert ran.code == 1
    assert "no model version is in" in ran.err
    folder = tmp_path / "net"
    (folder / "1").mkdir(parents=True)
    (folder / "config.pbtxt").write_text("")
    ran = run("check", folder)
    assert ran.code == 1
    assert ran.out.splitlines()[0] == "FAULT  net version 1"
    (folder / "1").rmdir()
    ran = run("check", folder)
    assert ran.code == 1
    assert "no model version is in" in ran.err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--std", "inf"), "std must be finite numbers, found [inf]"),
        (("--mean", "a"), "must be numbers with commas between them"),
        (("--resize", "40x"), "must be a number of pixels such as 224, or HEIGHTxWIDTH, found ''"),
        (("--crop", "0"), "must be a number of pixels"),
        (("--seed", "-1"), "must be at least 0, found -1"),
    ],
)
def test_numbers_of_the_export_that_cannot_be(run, tmp_path, words, told):
    ran = run("export", "lenet5_modern", "--output", tmp_path, *words)
    assert ran.code == 2
    assert told in ran.err
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_pictures_that_is_not_there(run, tmp_path):
    words = ["--parity-images", tmp_path / "absent"]
    ran = run("export", "lenet5_modern", "--output", tmp_path / "models", *words)
    assert ran.code == 1
    assert "absent is no folder: a folder of pictures is expected" in ran.err


def test_smaller_versions_are_made_and_told_of(run, repository, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(repository, tmp_path / "models")
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for number in range(32):
        Image.effect_noise((40, 40), number + 5).save(pictures / f"{number:02}.png")

    ran = run("quantize", "models/letters", "--calibration", pictures, "--even-if-worse")
    assert ran.code == 0, ran.err
    lines = ran.out.splitlines()
    assert lines[1].split()[:2] == ["LAYER", "OPERATOR"]
    assert [line.split()[:2] for line in lines[2:7]] == [
        ["conv1", "Conv"], ["conv2", "Conv"], ["fc1", "Gemm"], ["fc2", "Gemm"], ["fc3", "Gemm"]
    ]  # fmt: skip
    assert "drew letters-sensitivity.png" in ran.out
    assert (tmp_path / "letters-sensitivity.png").exists()
    assert "of 16 held-out pictures" in ran.out
    rtol = read_manifest(tmp_path / "models/letters_int8/1/manifest.json").parity.rtol
    assert rtol > 1e-4  # of eight bits
    assert f"{rtol:g} of that scale, which the server and `eyespot check` allow" in ran.out
    assert "from PyTorch" in ran.out
    assert any(line.startswith("wrote letters_int8 version 1 at ") for line in lines)

    assert run("convert", "models/letters", "--int8-weights", "--name", "small").code == 0
    again = run("convert", "models/letters", "--int8-weights", "--name", "small")
    assert "version 2 is beside 1: a server serves the latest" in again.out
    kibibytes = (tmp_path / "models/small/2/original.pt2").stat().st_size / 1024
    assert f"beside it     {kibibytes:.0f} KiB that explanations need: original.pt2" in again.out
    assert run("optimize", "models/letters", "--json").json["model_name"] == "letters_optimised"

    ran = run("check", "models")
    assert ran.code == 0, ran.out
    assert "ok     letters_int8 version 1, quantised from letters version 1, max_abs" in ran.out
    assert "ok     small version 1, int8 weights from letters version 1, max_abs" in ran.out

    out = run("inspect", "models/letters_int8").out
    assert "quantised from letters version 1" in out
    assert "of 16 pictures" in out


def test_what_shows_why_a_version_was_refused_is_kept_and_named(
    run, repository, tmp_path, monkeypatch
):
    def refuse(*model, told_sensitivities, **options):
        told_sensitivities([Sensitivity("n", "conv1", "Conv", 10, 0.9, 0.1)])
        raise NotWorthwhileError("too much is lost")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("eyespot.exporter.quantisation.quantize", refuse)
    for words, picture in (([], "letters-sensitivity.png"), (["--plot", "why.png"], "why.png")):
        ran = run("quantize", repository / "letters", "--calibration", tmp_path, *words, "--json")
        assert (ran.code, ran.err.splitlines()[-1]) == (
            1,
            f"eyespot: error: too much is lost; {picture} is kept: it shows what each layer costs",
        )
        assert (tmp_path / picture).exists()


def test_a_version_is_made_here_or_there(run, repository):
    ran = run("optimize", repository / "letters", "--name", "x", "--as-version")
    assert ran.code == 2
    assert "--name is for another model" in ran.err


def test_ranges_of_each_input_need_no_calibrator(run, repository, tmp_path):
    words = ["--calibration", tmp_path, "--method", "dynamic", "--calibrate", "entropy"]
    ran = run("quantize", repository / "letters", *words)
    assert ran.code == 2
    assert "--calibrate is about static ranges" in ran.err

"""`eyespot evaluate`, on an exported network that can be read, and at a server."""

import shutil

import pytest
import torch
from PIL import Image
from tests.client import fake
from torch import nn

from eyespot.exporter import export
from eyespot.v1.manifest import read_manifest, write_manifest

COLORS = {"red": (9, 0, 0), "green": (0, 9, 0), "blue": (0, 0, 9)}


class Mean(nn.Module):
    """The mean of each colour is its logit."""

    def forward(self, x):
        return x.mean(dim=(2, 3))


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """`colors`, and `swapped`, which calls green blue and blue green."""
    folder = tmp_path_factory.mktemp("repository")
    sample = torch.zeros(1, 3, 2, 2)
    export(
        Mean(), sample, repository=folder, name="colors", preprocessing=fake.RULE,
        labels=list(COLORS), max_batch_size=2,
    )  # fmt: skip
    shutil.copytree(folder / "colors", folder / "swapped")
    change(folder / "swapped", model_name="swapped")
    (folder / "swapped" / "labels.txt").write_text("red\nblue\ngreen\n")
    return folder


@pytest.fixture
def repository(exported, tmp_path):
    return shutil.copytree(exported, tmp_path / "repository")


@pytest.fixture
def data(tmp_path):
    """Two of each class, one of which is green though it is said to be red."""
    for name, colors in {"red": "red green", "green": "green green", "blue": "blue blue"}.items():
        (tmp_path / "data" / name).mkdir(parents=True)
        for number, color in enumerate(colors.split()):
            Image.new("RGB", (3, 3), COLORS[color]).save(tmp_path / "data" / name / f"{number}.png")
    return tmp_path / "data"


def change(model, **fields):
    path = model / "1" / "manifest.json"
    write_manifest(read_manifest(path)._replace(**fields), path)


def test_an_exported_model(run, exported, data):
    (data / "red" / "note.txt").write_text("no picture")
    ran = run("evaluate", exported / "colors", data)
    assert ran.code == 0
    lines = ran.out.splitlines()
    assert lines[:4] == [
        "model              colors version 1",
        f"pictures           6 of {data} (all)",
        "skipped            1 file",
        "accuracy           83.33%",
    ]
    [agreement] = [line for line in lines if line.startswith("PyTorch original")]
    assert "the same answer in 6 of 6 rows; logits differ by" in agreement
    rows = [line.split() for line in lines[-4:]]
    assert rows == [
        ["CLASS", "PICTURES", "PRECISION", "RECALL", "F1"],
        ["red", "2", "100.0%", "50.0%", "66.7%"],
        ["green", "2", "66.7%", "100.0%", "80.0%"],
        ["blue", "2", "100.0%", "100.0%", "100.0%"],
    ]
    assert "eyespot: skipped red/note.txt: no picture" in ran.err


def test_json_and_a_comparison(run, exported, data):
    told = run(
        "evaluate", exported / "colors", data, "--compare", exported / "swapped", "--json"
    ).json
    assert told["metrics"]["confusion"] == [[1, 1, 0], [0, 2, 0], [0, 0, 2]]
    assert told["agreement"] == {
        "rows": 6, "agreeing": 6, "max_abs_diff": told["agreement"]["max_abs_diff"],
    }  # fmt: skip
    assert told["agreement"]["max_abs_diff"] < 1e-6
    assert (told["part"], told["skipped"], told["absent"]) == ("all", [], [])
    assert told["other"]["metrics"]["accuracy"] == pytest.approx(1 / 6)
    # One red is right with both, the other with none; four are right with the first only.
    assert told["mcnemar"] == {
        "both_right": 1, "only_first": 4, "only_second": 0, "both_wrong": 1, "p_value": 0.125,
    }  # fmt: skip
    assert "logits" not in told


def test_a_comparison_as_text(run, exported, data):
    out = run("evaluate", exported / "swapped", data, "--compare", exported / "colors").out
    assert "swapped version 1 against colors version 1" in out
    assert out.splitlines()[-1] == (
        "McNemar's test   p = 0.125 (exact): the difference may well be chance"
    )


def test_a_report(run, exported, data, tmp_path):
    ran = run("evaluate", exported / "colors", data, "--report", tmp_path / "report")
    assert ran.out.splitlines()[-1] == f"written to {tmp_path / 'report'}"
    page = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    assert "colors on data" in page
    assert "(grad_cam)" in page


def test_at_a_server(run, address, servicer, exported, data):
    ran = run("evaluate", exported / "colors", data, "--server", address, "--json")
    # Its logits are sums of whole numbers, and its rule the same: other logits, same classes.
    assert ran.json["metrics"]["accuracy"] == pytest.approx(5 / 6)
    assert (ran.json["agreement"]["rows"], ran.json["agreement"]["agreeing"]) == (6, 6)
    assert ran.json["agreement"]["max_abs_diff"] == pytest.approx(4 * 9 - 9 / 255)
    name_alone = run("evaluate", "colors", data, "--server", address).out
    assert "PyTorch original   no repository was named" in name_alone


def test_what_a_server_cannot_do_is_told(run, address, data):
    ran = run("evaluate", "scene", data, "--server", address)
    assert (ran.code, "scene is no classifier" in ran.err) == (1, True)
    ran = run("evaluate", "absent", data, "--server", address)
    assert (ran.code, "no model absent" in ran.err) == (1, True)


def test_a_name_alone_needs_a_server(run, data):
    ran = run("evaluate", "colors", data)
    assert (ran.code, "a name alone needs --server" in ran.err) == (2, True)


def test_a_model_without_an_original_tells_so(run, repository, data):
    change(repository / "colors", gradient_node=None, parity=None)
    ran = run("evaluate", repository / "colors", data)
    assert "PyTorch original   it has no PyTorch original: whether the two agree" in ran.out
    ran = run("evaluate", repository / "colors", data, "--json")
    assert ran.json["agreement"] is None


def test_what_is_no_classifier_is_refused(run, repository, data):
    change(repository / "colors", task="segmentation")
    ran = run("evaluate", repository / "colors", data)
    assert (ran.code, "no classifier (its task is segmentation)" in ran.err) == (1, True)


def test_classes_that_the_model_has_not_are_named(run, exported, data):
    (data / "green").rename(data / "cyan")
    ran = run("evaluate", exported / "colors", data)
    assert ran.code == 1
    assert "classes that the model has not: cyan; the model's are red, green, blue" in ran.err


def test_a_repository_is_no_model(run, exported, data):
    ran = run("evaluate", exported, data)
    assert (ran.code, "name one of its models: colors, swapped" in ran.err) == (1, True)

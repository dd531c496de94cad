import json

import pytest
from PIL import Image
from safetensors import safe_open

from eyespot.cli import train
from eyespot.transfer import EpochReport


def test_it_trains_and_writes_the_weights(run, tmp_path):
    path = tmp_path / "weights.safetensors"
    words = ("lenet5_modern", "digits", "--output", path, "--seed", "4")
    ran = run("train", *words, "--epochs", "1", "--json")
    assert ran.code == 0
    with safe_open(path, framework="pt") as file:
        told = file.metadata()
    assert told["data"] == "digits"
    assert json.loads(told["labels"]) == list("0123456789")
    assert (told["seed"], told["epochs"]) == ("4", "1")
    assert ran.json["output"] == str(path)
    assert ran.json["accuracy"] == float(told["accuracy"])
    assert len(ran.json["losses"]) == 1


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("lenet5", "cats"), 1, "cats cannot be read: No such file"),
        (("lenet6", "digits"), 1, "did you mean 'lenet5'?"),
        (
            ("lenet5", "digits", "--epochs", "0"),
            2,
            "--epochs: must be at least 1, found 0",
        ),
        (("lenet5", "digits", "--threads", "0"), 2, "--threads: must be at least 1"),
        (("lenet5", "digits", "--seed", "-1"), 2, "--seed: must be at least 0, found -1"),
    ],
)
def test_what_is_wrong_is_told_and_nothing_written(words, code, message, run, tmp_path):
    ran = run("train", *words, "--output", tmp_path / "weights.safetensors")
    assert ran.code == code
    assert message in ran.err
    assert list(tmp_path.iterdir()) == []


def test_an_epoch_is_told_every_two_seconds():
    now = 0.0
    told = []
    tell = train._teller(told.append, clock=lambda: now)
    for number, now in enumerate([0.5, 1.9, 2.0, 2.5, 4.1], start=1):  # noqa: B007
        tell(EpochReport(number, 5, loss=1.234, accuracy=0.5, seconds_left=7.4))
    assert told == [
        "epoch 3 of 5: loss 1.23, 50.0% right, 7 s left",
        "epoch 5 of 5: loss 1.23, 50.0% right, 7 s left",
    ]


def test_a_folder_of_pictures_is_learnt_and_the_next_command_told(run, tmp_path):
    for name, color in (("day", 250), ("night", 5)):
        (tmp_path / "sky" / name).mkdir(parents=True)
        for number in range(3):
            Image.new("L", (9, 9), color + number).save(tmp_path / "sky" / name / f"{number}.png")
    (tmp_path / "sky" / "day" / "notes.txt").write_text("cloudy")
    path = tmp_path / "sky.safetensors"
    words = ("resnet20", tmp_path / "sky", "--output", path, "--epochs", "2", "--channels", "1")
    ran = run("train", *words, "--input-size", "8")
    assert ran.code == 0, ran.err
    assert "skipped day/notes.txt: no picture" in ran.err
    assert ran.out.splitlines()[-1] == (
        f"to serve it, with the names of its classes: eyespot export resnet20 --weights {path} "
        "--num-classes 2 --input-size 8 --channels 1 --output repository"
    )
    with safe_open(path, framework="pt") as file:
        assert json.loads(file.metadata()["labels"]) == ["day", "night"]
        assert file.get_tensor("linear.weight").shape[0] == 2

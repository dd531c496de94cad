"""INT8 of trained networks, measured through the served model: within a point of FP32."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eyespot.cli.main import main
from eyespot.cli.server_process import running_server
from eyespot.client import Client
from eyespot.transfer import load_digits

DATA = Path(os.environ.get("EYESPOT_DATA", "nowhere"))
CHECKPOINT = DATA / "resnet20-12fca82f.th"

pytestmark = pytest.mark.giant


def served_accuracies(repository, models, pictures, classes):
    """How often each model is right, in per cent; classes by label."""
    found = []
    with running_server(repository, log=repository.parent / "server.log") as server:
        with Client(server.address, timeout=120) as client:
            for model in models:
                answers = client.classify(model, pictures, top_k=1)
                right = [
                    best.label == truth for [best], truth in zip(answers, classes, strict=True)
                ]
                found.append(100 * np.mean(right))
        server.stop()
    return found


def run(*words):
    assert main([str(word) for word in words]) == 0


def test_digits(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    digits = load_digits()
    weights, repository = tmp_path / "digits.safetensors", tmp_path / "repository"
    train = ["train", "lenet5_modern", "digits", "--output", weights, "--threads", "1"]
    run(*train, "--epochs", "15")
    run("export", "lenet5_modern", "--weights", weights, "--name", "digits", "--output", repository)
    # Pictures that training saw tell the ranges; those that it never saw are asked about.
    for number, (image, label) in enumerate(
        zip(digits.train.images[:256], digits.train.labels[:256], strict=True)
    ):
        folder = tmp_path / "calibration" / str(label)
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[..., 0]).save(folder / f"{number:04}.png")
    # LeNet is so small that INT8 may be slower: its speed is not what is looked at.
    calibration = tmp_path / "calibration"
    run("quantize", repository / "digits", "--calibration", calibration, "--even-if-worse")
    pictures = digits.test.save_pictures(tmp_path / "pictures")
    classes = [str(label) for label in digits.test.labels.tolist()]
    before, after = served_accuracies(repository, ["digits", "digits_int8"], pictures, classes)
    assert before > 95
    assert after >= before - 1


def test_resnet20_on_cifar(tmp_path, monkeypatch):
    if not CHECKPOINT.is_file():
        pytest.skip("EYESPOT_DATA names no folder with resnet20-12fca82f.th and cifar10")
    monkeypatch.chdir(tmp_path)
    names = sorted(folder.name for folder in (DATA / "cifar10" / "test").iterdir())
    (tmp_path / "labels.txt").write_text("".join(f"{name}\n" for name in names))
    repository = tmp_path / "repository"
    export = ["export", "resnet20", "--weights", CHECKPOINT, "--labels", tmp_path / "labels.txt"]
    run(*export, "--name", "cifar", "--output", repository)
    calibration = DATA / "cifar10" / "train"
    run("quantize", repository / "cifar", "--calibration", calibration, "--even-if-worse")
    pictures = sorted((DATA / "cifar10" / "test").glob("*/*.jpg"))
    classes = [path.parent.name for path in pictures]
    before, after = served_accuracies(repository, ["cifar", "cifar_int8"], pictures, classes)
    assert before > 75
    assert after >= before - 1

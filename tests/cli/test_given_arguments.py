"""What a command line gets wrong is told before PyTorch is loaded, which takes ten seconds."""

import json
import subprocess
import sys

import pytest

from eyespot.cli.zoo_names import CLASSES, NETWORKS, PUBLISHED
from eyespot.zoo import list_models, model_entry

# Words after which files are looked for in an empty folder, but for what `given` puts there; the
# exit code, and what is said.
WRONG = [
    (
        "export restnet18 --output new",
        1,
        "no network is named 'restnet18'; did you mean 'resnet18'",
    ),
    ("export lenet5 --output new --weights a.pt", 1, "a.pt cannot be read: no such file"),
    ("export lenet5 --output new --weights there/a", 1, "there/a cannot be read: no such file"),
    ("export lenet5 --output new --labels there", 1, "there is a folder: a text file, one class"),
    ("add two.txt --name a --output new --labels there", 1, "there is a folder: a text file"),
    ("export lenet5 --output new --labels two.txt", 1, "two.txt has 2 labels for 10 classes"),
    (
        "export resnet18 --output new --labels two.txt --num-classes 1",
        1,
        "two.txt has 2 labels for 1 class: one for each is expected",
    ),
    ("export lenet5 --output new --labels latin.txt", 1, "latin.txt is not UTF-8 (byte 1)"),
    (
        "export resnet20 --output new --weights IMAGENET1K_V1",
        1,
        "weights 'IMAGENET1K_V1' is no file; resnet20 has no published weights, give a file",
    ),
    ("export lenet5 --output new --preprocessing r.json", 1, "r.json cannot be read"),
    ("export lenet5 --output new --parity-images here", 1, "here is no folder"),
    ("export lenet5 --output new --opset x", 2, "--opset: must be a whole number"),
    ("export lenet5 --output new --interpolation cubic", 2, "--interpolation: invalid choice"),
    ("inspect restnet18", 1, "did you mean 'resnet18'"),
    ("inspect lenet5 --measure --weights a.pth", 1, "a.pth cannot be read"),
    ("inspect lenet5 --measure --images here", 1, "here is no folder"),
    ("inspect lenet5 --measure --output here/a.png", 1, "there is no folder here"),
    ("inspect lenet5 --seed -1", 2, "--seed: must be at least 0"),
    ("inspect there/net/2", 1, "net has no version 2; its versions: 1"),
    ("inspect there/nut", 1, "no model 'nut' in"),
    ("compare lenet5 restnet18", 1, "did you mean 'resnet18'"),
    ("train restnet18 there --output a.pt", 1, "did you mean 'resnet18'"),
    ("quantize there/nut --calibration there", 1, "no model 'nut' in"),
    ("quantize here/net --calibration there", 1, "is no model repository: there is no such folder"),
    ("quantize there/net --calibration here", 1, "here is no folder"),
    ("quantize there/net --calibration there --plot here/a.png", 1, "there is no folder here"),
    ("quantize there/net --calibration there --plot a.svg", 1, "a.svg would be a PNG: a name that"),
    ("compare lenet5 --output a.jpg", 1, "a.jpg would be a PNG"),
    ("inspect lenet5 --measure --output a", 1, "a would be a PNG"),
    ("tune there/net --max-latency-ms 9 --output a.pdf", 1, "a.pdf would be a PNG"),
    ("convert there/net", 2, "--float16 (half the size, for GPUs) or --int8-weights"),
    ("convert there/net/3 --float16", 1, "net has no version 3"),
    ("optimize there", 1, "there is a repository; name one of its models: net"),
    ("check here", 1, "is no model repository"),
    ("check there nut", 1, "no model 'nut' in"),
    ("add a.onnx --name net --output new", 1, "a.onnx cannot be read"),
]
PROGRAM = """
import contextlib
import io
import json
import sys
from eyespot.cli.main import main

ended = []
for words in json.loads(sys.argv[1]):
    with contextlib.redirect_stderr(io.StringIO()) as told:
        code = main(words.split())
    ended.append((code, told.getvalue()))
loaded = sorted({"torch", "torchvision", "onnx", "onnxruntime"} & set(sys.modules))
print(json.dumps([ended, loaded]))
"""


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    """How each of these command lines has ended, and which large libraries were loaded by then."""
    folder = tmp_path_factory.mktemp("given")
    (folder / "there" / "net" / "1").mkdir(parents=True)
    (folder / "there" / "net" / "config.pbtxt").touch()
    (folder / "two.txt").write_text("a\nb\n\n")
    (folder / "latin.txt").write_bytes(b"a\xff\n")
    lines = json.dumps([words for words, _, _ in WRONG])
    command = [sys.executable, "-c", PROGRAM, lines]
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def test_what_is_wrong_is_told_without_pytorch(ended):
    _, loaded = ended
    assert loaded == []


@pytest.mark.parametrize("index", range(len(WRONG)), ids=[words for words, _, _ in WRONG])
def test_what_is_wrong_is_told(ended, index):
    code, told = ended[0][index]
    _, expected_code, expected = WRONG[index]
    assert (code, expected in told) == (expected_code, True), told


def test_the_tables_say_what_the_zoo_says():
    assert list(NETWORKS) == list_models()
    entries = [model_entry(name) for name in NETWORKS]
    assert {entry.name: entry.num_classes for entry in entries} == CLASSES
    published = [entry.name for entry in entries if entry.torchvision_name is not None]
    assert published == list(PUBLISHED)

"""Gradients where PyTorch is not installed: by the graphs that were written at export."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from eyespot.saliency import Objective, Targets, find_method
from eyespot.saliency.torch_backend import TorchBackend

METHODS = (
    "saliency",
    "input_x_gradient",
    "integrated_gradients",
    "guided_backprop",
    "grad_cam",
    "occlusion",
)


def serve_and_ask(repository, x, tmp_path, *, methods=METHODS, backend="auto"):
    np.save(tmp_path / "x.npy", x)
    script = Path(__file__).with_name("without_torch.py")
    done = subprocess.run(
        [
            *(sys.executable, script, repository, "branched"),
            *(tmp_path / "x.npy", ",".join(methods), backend),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def x():
    return np.random.default_rng(8).standard_normal((2, 3, 16, 16), np.float32)


@pytest.fixture(scope="module")
def found(gradient_export, x, tmp_path_factory):
    repository = gradient_export.path.parent.parent
    return serve_and_ask(repository, x, tmp_path_factory.mktemp("asked"))


@pytest.mark.parametrize("method", METHODS[:5])
def test_it_explains_as_torch_does(found, gradient_export, x, method):
    original = TorchBackend.load(gradient_export.path / "original.pt2", gradient_node="x")
    objective = Objective(Targets(np.full(2, -1)))
    expected = find_method(method).explain(original, x, objective)
    answer = found[method]
    assert answer["backends"] == ["onnxruntime"] * 2
    assert answer["targets"] == expected.targets.tolist()
    given = np.array(answer["attributions"])  # (B, H, W, C), or (B, H, W)
    given = given[:, None] if given.ndim == 3 else given.transpose(0, 3, 1, 2)
    scale = np.abs(expected.attributions).max()
    np.testing.assert_allclose(given, expected.attributions, atol=1e-4 * scale)


def test_methods_that_need_torch_say_so(found):
    assert set(found["refused"]) == {"cam", "deep_lift", "lrp"}
    assert all("pip install 'eyespot[explain]'" in reason for reason in found["refused"].values())


def test_it_infers_and_occludes(found, gradient_export, x):
    original = TorchBackend.load(gradient_export.path / "original.pt2", gradient_node="x")
    np.testing.assert_allclose(found["logits"], original.scores(x), rtol=1e-4, atol=1e-5)
    assert found["occlusion"]["backends"] == ["onnxruntime"] * 2


def test_torch_that_was_asked_for_is_missed(gradient_export, x, tmp_path):
    repository = gradient_export.path.parent.parent
    answer = serve_and_ask(repository, x, tmp_path, methods=("occlusion",), backend="torch")
    assert "saliency needs PyTorch" in answer["refused"]["saliency"]

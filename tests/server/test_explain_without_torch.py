"""Gradients where PyTorch is not installed: by the graphs that were written at export."""

import json
import subprocess
import sys

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


# Whoever imports it is told that it is not there.
WITHOUT_TORCH = """
import sys
sys.modules["torch"] = None

import asyncio
import json
from pathlib import Path

import numpy as np

from eyespot.client import Client
from eyespot.server.app import Server
from eyespot.server.config import ServerConfig


async def main(repository, inputs, methods, backend):
    server = Server(ServerConfig(repository=Path(repository), port=0, explain_backend=backend))
    await server.start()
    try:
        await server.load()
        found = await asyncio.to_thread(ask, server.address, np.load(inputs), methods.split(","))
    finally:
        await server.stop()
    print(json.dumps(found))


def ask(address, x, methods):
    with Client(address) as client:
        listed = client.list_methods("branched")
        found = {
            "logits": client.infer("branched", x).outputs["logits"].tolist(),
            "refused": {each.name: each.reason for each in listed if not each.is_available},
        }
        for method in methods:
            explained = client.explain("branched", x, method=method, channel_reduction="none")
            found[method] = {
                "backends": [each.backend for each in explained],
                "targets": [each.target for each in explained],
                "attributions": [each.attributions.tolist() for each in explained],
            }
    return found


asyncio.run(main(*sys.argv[1:]))
"""


def serve_and_ask(repository, x, tmp_path, *, methods=METHODS, backend="auto"):
    np.save(tmp_path / "x.npy", x)
    arguments = [repository, tmp_path / "x.npy", ",".join(methods), backend]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, *map(str, arguments)],
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

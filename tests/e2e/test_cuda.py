"""Parity, batching and saliency with the sessions on a CUDA device.

Wherever a device and onnxruntime-gpu are, these run; elsewhere they are skipped and say so.
"""

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnxruntime
import pytest
import torch

from eyespot.client import Client
from eyespot.exporter import export_zoo_model
from eyespot.v1.manifest import MODEL_FILE, ORIGINAL_FILE

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(
        "CUDAExecutionProvider" not in onnxruntime.get_available_providers(),
        reason="needs onnxruntime-gpu and a CUDA device",
    ),
]

# TF32 would round the products to 10 bits, a thousandth of the scale; the provider is told not to.
TOLERANCE = 1e-4
NETWORKS = ["resnet20", "mobilenet_v2"]


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cuda") / "repository"
    for name in NETWORKS:
        export_zoo_model(name, repository=folder, preprocessing="none", max_batch_size=8)
    return folder


@pytest.fixture(scope="module")
def client(repository, tmp_path_factory):
    port_file = tmp_path_factory.mktemp("port") / "port"
    server = subprocess.Popen(
        [sys.executable, "-m", "eyespot.server", repository, "--device", "cuda",
         "--port", "0", "--port-file", port_file]
    )  # fmt: skip
    try:
        while not port_file.exists():
            assert server.poll() is None, "the server ended before it served"
            time.sleep(0.1)
        port = port_file.read_text().strip()
        with Client(f"127.0.0.1:{port}", timeout=300) as client:
            yield client
    finally:
        server.terminate()
        assert server.wait(timeout=300) == 0


def rows_of(name, count, seed=0):
    size = 32 if name == "resnet20" else 224
    return np.random.default_rng(seed).standard_normal((count, 3, size, size), np.float32)


def original_logits(repository, name, rows):
    program = torch.export.load(repository / name / "1" / ORIGINAL_FILE)
    with torch.no_grad():
        return program.module()(torch.from_numpy(rows)).numpy()


def assert_close(found, expected):
    assert np.abs(found - expected).max() <= TOLERANCE * np.abs(expected).max()


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_parity_with_the_original(repository, client, name, batch_size):
    assert (repository / name / "1" / MODEL_FILE).exists()
    rows = rows_of(name, batch_size)
    served = client.infer(name, rows).outputs["logits"]
    assert_close(served, original_logits(repository, name, rows))


def test_each_caller_gets_its_own_rows_out_of_a_batch(repository, client):
    requests = [rows_of("resnet20", 1 + seed % 5, seed) for seed in range(64)]
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda rows: client.infer("resnet20", rows), requests))
    for rows, answer in zip(requests, answers, strict=True):
        assert_close(answer.outputs["logits"], original_logits(repository, "resnet20", rows))
    (status,) = client.statistics("resnet20")
    assert status.inference_count > status.execution_count


@pytest.mark.parametrize("name", NETWORKS)
def test_an_explanation_has_the_score_that_inference_gives(client, name):
    rows = rows_of(name, 2)
    logits = client.infer(name, rows).outputs["logits"]
    for row, explained in enumerate(client.explain(name, rows)):
        assert explained.target == logits[row].argmax()
        assert abs(explained.score - logits[row].max()) <= TOLERANCE * np.abs(logits).max()
        assert np.isfinite(explained.attributions).all()

"""Parity, batching, saliency, shared memory and shortage of memory on a CUDA device.

Wherever a device and onnxruntime-gpu are, these run; elsewhere they are skipped and say so.
"""

import ctypes
import functools
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnxruntime
import pytest
import torch

from eyespot.client import Client
from eyespot.exporter import export_zoo_model
from eyespot.exporter.quantisation import convert
from eyespot.saliency import Objective, Targets, find_method
from eyespot.saliency.torch_backend import TorchBackend
from eyespot.v1.manifest import MODEL_FILE, ORIGINAL_FILE, read_manifest

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(
        "CUDAExecutionProvider" not in onnxruntime.get_available_providers(),
        reason="needs onnxruntime-gpu and a CUDA device",
    ),
]

# TF32 would round the products to 10 bits, a thousandth of the scale; the provider is told not to.
TOLERANCE = 1e-4
# Half precision keeps 11 bits at each of some fifty layers.
HALF_TOLERANCE = 2e-2
NETWORKS = ["resnet20", "mobilenet_v2"]
MANY_ROWS = 64  # of MobileNetV2: one layer's output alone has 294 MiB
METHODS = [
    *("saliency", "integrated_gradients", "smooth_grad", "guided_backprop", "deconvnet"),
    *("grad_cam", "deep_lift", "lrp"),
]


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cuda") / "repository"
    for name in NETWORKS:
        export_zoo_model(
            name,
            repository=folder,
            preprocessing="none",
            max_batch_size=MANY_ROWS,
            gradient_graph=True,
        )
        convert(folder, name, to="float16")
    return folder


class Served(NamedTuple):
    """A server of its own process: a client of it, and the file of its log."""

    client: Client
    address: str
    log: Path


@contextmanager
def serving(repository, folder, *options):
    """A server on the device."""
    port_file, log = folder / "port", folder / "log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", "eyespot.server", repository, "--device", "cuda",
             "--port", "0", "--port-file", port_file, *options],
            stderr=output,
        )  # fmt: skip
        try:
            while not port_file.exists():
                assert server.poll() is None, f"the server ended: {log.read_text()}"
                time.sleep(0.1)
            address = f"127.0.0.1:{port_file.read_text().strip()}"
            with Client(address, timeout=300) as client:
                yield Served(client, address, log)
        finally:
            server.terminate()
            assert server.wait(timeout=300) == 0


@pytest.fixture(scope="module")
def served(repository, tmp_path_factory):
    with serving(repository, tmp_path_factory.mktemp("served"), "--shared-memory") as served:
        yield served


@pytest.fixture
def client(served):
    return served.client


def rows_of(name, count, seed=0):
    size = 32 if name == "resnet20" else 224
    return np.random.default_rng(seed).standard_normal((count, 3, size, size), np.float32)


def original(repository, name):
    return torch.export.load(repository / name / "1" / ORIGINAL_FILE).module()


def original_logits(repository, name, rows):
    with torch.no_grad():
        return original(repository, name)(torch.from_numpy(rows)).numpy()


def assert_close(found, expected, tolerance=TOLERANCE):
    assert np.abs(found - expected).max() <= tolerance * np.abs(expected).max()


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_parity_with_the_original(repository, client, name, batch_size):
    assert (repository / name / "1" / MODEL_FILE).exists()
    rows = rows_of(name, batch_size)
    served = client.infer(name, rows).outputs["logits"]
    assert_close(served, original_logits(repository, name, rows))


@pytest.mark.parametrize("name", NETWORKS)
def test_half_precision(repository, client, name):
    rows = rows_of(name, 4)
    served = client.infer(f"{name}_fp16", rows).outputs["logits"]
    assert_close(served, original_logits(repository, name, rows), HALF_TOLERANCE)


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


@functools.cache
def on_the_cpu(repository, name):
    folder = repository / name / "1"
    node = read_manifest(folder / "manifest.json").gradient_node
    return TorchBackend.load(folder / ORIGINAL_FILE, gradient_node=node)


def assert_explained(explained, repository, rows, method="saliency"):
    """Compare with PyTorch on the CPU; one that is near zero may flip, so the whole is compared."""
    backend = on_the_cpu(repository, explained[0].model_name)
    objective = Objective(Targets(np.array([row.target for row in explained])))
    expected = find_method(method).explain(backend, rows, objective)
    for row, maps in zip(explained, expected.attributions.astype(float), strict=True):
        assert row.backend == "torch"
        given, wanted = row.attributions.ravel(), maps.transpose(1, 2, 0).ravel()
        assert given @ wanted >= 0.999 * np.linalg.norm(given) * np.linalg.norm(wanted)
        assert np.linalg.norm(given) == pytest.approx(np.linalg.norm(wanted), rel=1e-2)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("method", METHODS)
def test_pytorch_explains_on_the_device_as_on_the_cpu(repository, served, name, method):
    rows = rows_of(name, 2)
    served.client.wait_while_loading(name, for_explaining=True, timeout=300)
    explained = served.client.explain(name, rows, method=method, channel_reduction="none")
    assert_explained(explained, repository, rows, method)
    assert "PyTorch explains on cuda:0" in served.log.read_text()


@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_of_the_graph_are_those_of_the_original(repository, tmp_path, name):
    """A rectifier near zero may flip and move a few pixels: the whole is compared."""
    rows = rows_of(name, 4)
    pixels = torch.from_numpy(rows).requires_grad_()
    logits = original(repository, name)(pixels)
    (gradients,) = torch.autograd.grad(logits.amax(dim=1).sum(), pixels)
    with serving(repository, tmp_path, "--explain-backend", "onnx") as served:
        explained = served.client.explain(name, rows, channel_reduction="none")
    for row, gradient in zip(explained, gradients.double().numpy(), strict=True):
        assert row.backend == "onnxruntime"
        found, expected = row.attributions.ravel(), gradient.transpose(1, 2, 0).ravel()
        assert found @ expected >= 0.999 * np.linalg.norm(found) * np.linalg.norm(expected)


TRITON_CLIENT = """
import sys
import numpy as np
import tritonclient.grpc as triton
import tritonclient.utils.cuda_shared_memory as cuda

url, rows_file, logits_file = sys.argv[1:]
rows = np.load(rows_file)
size, answer_size = rows.nbytes, len(rows) * 10 * 4
given = cuda.create_shared_memory_region("given", size, 0)
wanted = cuda.create_shared_memory_region("wanted", answer_size, 0)
cuda.set_shared_memory_region(given, [rows])
with triton.InferenceServerClient(url) as client:
    client.register_cuda_shared_memory("given", cuda.get_raw_handle(given), 0, size)
    client.register_cuda_shared_memory("wanted", cuda.get_raw_handle(wanted), 0, answer_size)
    pixels = triton.InferInput("input", rows.shape, "FP32")
    pixels.set_shared_memory("given", size)
    logits = triton.InferRequestedOutput("logits")
    logits.set_shared_memory("wanted", answer_size)
    client.infer("resnet20", [pixels], outputs=[logits])
    np.save(logits_file, cuda.get_contents_as_numpy(wanted, np.float32, [len(rows), 10]))
    assert set(client.get_cuda_shared_memory_status(as_json=True)["regions"]) == {"given", "wanted"}
    client.unregister_cuda_shared_memory()
cuda.destroy_shared_memory_region(given)
cuda.destroy_shared_memory_region(wanted)
"""


def test_tritonclient_puts_tensors_into_the_memory_of_the_device(repository, served, tmp_path):
    pytest.importorskip("cuda.bindings.runtime", reason="tritonclient needs cuda-python for it")
    rows = rows_of("resnet20", 3)
    np.save(tmp_path / "rows.npy", rows)
    arguments = [served.address, tmp_path / "rows.npy", tmp_path / "logits.npy"]
    subprocess.run([sys.executable, "-c", TRITON_CLIENT, *map(str, arguments)], check=True)
    assert_close(np.load(tmp_path / "logits.npy"), original_logits(repository, "resnet20", rows))


@contextmanager
def all_but(free_bytes):
    """Takes the device's memory but for so many bytes."""
    driver = ctypes.CDLL("libcuda.so.1")

    def call(name, *arguments):
        assert getattr(driver, name)(*arguments) == 0, name

    device, context, pointer = ctypes.c_int(), ctypes.c_void_p(), ctypes.c_uint64()
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    call("cuInit", 0)
    call("cuDeviceGet", ctypes.byref(device), 0)
    call("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
    call("cuCtxSetCurrent", context)
    call("cuMemGetInfo_v2", ctypes.byref(free), ctypes.byref(total))
    call("cuMemAlloc_v2", ctypes.byref(pointer), ctypes.c_size_t(free.value - free_bytes))
    try:
        yield
    finally:
        call("cuMemFree_v2", pointer)
        call("cuDevicePrimaryCtxRelease_v2", device)


def test_a_batch_too_large_for_the_device_runs_in_parts(repository, tmp_path):
    name, rows = "mobilenet_v2", rows_of("mobilenet_v2", MANY_ROWS)
    only = ("--explain", "off", "--model-control-mode", "explicit", "--load-model", name)
    with serving(repository, tmp_path, *only) as (client, _, log):
        client.infer(name, rows[:1])  # what the libraries hold for themselves is held
        with all_but(300 * 2**20):
            answer = client.infer(name, rows)
        assert "memory did not suffice for a batch" in log.read_text()
        assert_close(answer.outputs["logits"], original_logits(repository, name, rows))


def test_rows_too_many_for_the_device_are_explained_in_halves(repository, tmp_path):
    name, rows = "mobilenet_v2", rows_of("mobilenet_v2", 8)
    only = ("--model-control-mode", "explicit", "--load-model", name)
    with serving(repository, tmp_path, *only) as (client, _, log):
        client.wait_while_loading(name, for_explaining=True, timeout=300)
        client.explain(name, rows[:1])  # what the libraries hold for themselves is held
        with all_but(300 * 2**20):
            explained = client.explain(name, rows, channel_reduction="none")
        assert "memory did not suffice for 8 rows at once" in log.read_text()
    assert_explained(explained, repository, rows)

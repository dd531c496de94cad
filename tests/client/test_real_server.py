"""The client against the server itself, with a model that ONNX helpers make."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image

from eyespot.client import (
    Client,
    EyespotError,
    InvalidArgumentError,
    NotFoundError,
    ServerError,
)
from eyespot.v1.preprocessing import PreprocessingRule

RULE = PreprocessingRule(
    resize_size=(4, 4),
    crop_size=(2, 2),
    interpolation="nearest",
    color_order="RGB",
    mean=(0.0,) * 3,
    std=(1.0,) * 3,
)


def _sum_of_each_colour():
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["float", "axes"], ["logits"], keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "colors",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", 2, 2, 3])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 3])],
        [onnx.numpy_helper.from_array(np.array([1, 2]), "axes")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    folder = tmp_path_factory.mktemp("repository")
    version = folder / "colors" / "1"
    version.mkdir(parents=True)
    onnx.save(_sum_of_each_colour(), version / "model.onnx")
    parameters = "\n".join(
        f"parameters {{ key: '{name}' value {{ string_value: '{value}' }} }}"
        for name, value in RULE.to_parameters().items()
    )
    (folder / "colors" / "config.pbtxt").write_text(
        "max_batch_size: 3\n"
        "input { name: 'image' data_type: TYPE_UINT8 dims: [2, 2, 3] format: FORMAT_NHWC }\n"
        "output { name: 'logits' data_type: TYPE_FP32 dims: [3] label_filename: 'labels.txt' }\n"
        f"{parameters}\n"
    )
    (folder / "colors" / "labels.txt").write_text("red\ngreen\nblue\n")
    torn = folder / "torn" / "1"
    torn.mkdir(parents=True)
    (torn / "model.onnx").write_bytes(b"torn")
    return folder


class Serving:
    """A server process that can be killed and started anew on its port."""

    def __init__(self, repository, port_file):
        self.repository = repository
        self.port_file = port_file
        self.port = 0
        self.process = None

    def start(self):
        self.port_file.unlink(missing_ok=True)
        command = [sys.executable, "-m", "eyespot.server", str(self.repository)]
        command += ["--port", str(self.port), "--port-file", str(self.port_file)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
        while not self.port_file.exists():
            assert self.process.poll() is None, "the server has ended"
            time.sleep(0.02)
        self.port = int(self.port_file.read_text())

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def end(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        return self.process.wait(60)


@pytest.fixture(scope="module")
def server(repository, tmp_path_factory):
    serving = Serving(repository, tmp_path_factory.mktemp("server") / "port")
    serving.start()
    yield serving
    serving.end()


@pytest.fixture
def client(server):
    with Client(server.address) as client:
        yield client


def test_pictures_are_classified_with_labels(client):
    picture = Image.new("RGB", (8, 8), "black")
    picture.paste((0, 3, 0), (2, 2, 6, 6))  # what is left of it after resize and crop
    seen = client.classify("colors", [picture] * 7, top_k=1)
    assert [(each.label, each.logit) for [each] in seen] == [("green", 12.0)] * 7


def test_arrays_come_back_as_arrays(client):
    rows = np.arange(12, dtype=np.uint8).reshape(1, 2, 2, 3)
    result = client.infer("colors", rows)
    assert result.outputs["logits"].tolist() == [[18, 22, 26]]
    assert result.model_version == "1"


def test_errors_carry_the_status(client):
    with pytest.raises(InvalidArgumentError, match="image"):
        client.infer("colors", np.zeros((1, 3, 3, 3), np.uint8))
    with pytest.raises(NotFoundError, match="'nix'"):
        client.infer("nix", np.zeros((1, 2, 2, 3), np.uint8))
    with pytest.raises(ServerError):
        client.explain("colors", np.zeros((1, 2, 2, 3), np.uint8))  # no original


def test_the_server_describes_itself(client):
    assert client.server_live()
    assert client.server_ready()
    assert client.model_ready("colors")
    assert not client.model_ready("torn")
    assert client.server_metadata().name == "eyespot"
    assert client.model_metadata("colors").inputs[0].datatype == "UINT8"
    assert client.model_config("colors").preprocessing == RULE
    assert client.model_config("colors").labels == ("red", "green", "blue")
    colors, torn = client.repository_index()
    assert (colors.name, colors.is_ready) == ("colors", True)
    assert (torn.name, torn.state) == ("torn", "UNAVAILABLE")
    assert torn.reason
    rows_before = client.statistics("colors")[0].inference_count
    client.infer("colors", np.zeros((2, 2, 2, 3), np.uint8))
    assert client.statistics("colors")[0].inference_count == rows_before + 2


def test_a_restarted_server_is_found_again(repository, tmp_path):
    serving = Serving(repository, tmp_path / "port")
    serving.start()
    zeros = np.zeros((1, 2, 2, 3), np.uint8)
    try:
        with Client(serving.address, sleep=lambda _: None, retries=0) as impatient:
            impatient.infer("colors", zeros)
            serving.end(signal.SIGKILL)
            with pytest.raises(EyespotError):
                impatient.infer("colors", zeros)

        restarts = []

        def restart(_seconds):
            """Start the server in the pause between two attempts."""
            if not restarts:
                serving.start()
                restarts.append(serving.port)
            time.sleep(0.1)  # gRPC connects again on its own clock

        with Client(serving.address, sleep=restart, retries=50) as client:
            assert client.infer("colors", zeros).outputs["logits"].shape == (1, 3)
        assert restarts == [serving.port]
    finally:
        serving.end()

"""Tensors in shared memory against tensors in the message, of MobileNetV2's size.

What the server takes outside the session is measured with a graph that has MobileNetV2's input
and output and computes nothing: its session is next to nothing, so the rest is all there is.
"""

from __future__ import annotations

from multiprocessing.shared_memory import SharedMemory
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from benchmarks.processes import ServerProcess, running
from benchmarks.serving.ratios import Bar, Ratio
from benchmarks.serving.stage import QUIETLY, ask, measure, request_of
from eyespot.v1 import inference_pb2

_MODEL = "nothing"
_ROW_SHAPE = (3, 224, 224)
_CLASSES = 1000
_CLIENTS = 8
_CALLS = 2000
_WARM_UP_CALLS = 200
_CONFIG = """
backend: "onnxruntime"
max_batch_size: 8
input { name: "input" data_type: TYPE_FP32 dims: [ 3, 224, 224 ] }
output { name: "logits" data_type: TYPE_FP32 dims: [ 1000 ] }
"""


def shared_memory(rounds: int, folder: Path) -> list[Ratio]:
    """CPU per call with the row in shared memory, over that with the row in the message."""
    repository = folder / "nothing_repository"
    _write_model(repository)
    row = np.random.default_rng(0).random((1, *_ROW_SHAPE), np.float32)
    in_message, elsewhere = folder / "in_message.request", folder / "elsewhere.request"
    in_message.write_bytes(request_of(_MODEL, row))
    cpu = []
    memory = SharedMemory(create=True, size=row.nbytes)
    try:
        np.ndarray(row.shape, row.dtype, memory.buf)[:] = row
        serve = ["serve", str(repository), *QUIETLY, "--shared-memory"]
        with running("eyespot.cli", serve) as server:
            _register(server, memory.name, row.nbytes)
            elsewhere.write_bytes(_request_elsewhere(row.nbytes))
            for request in (in_message, elsewhere):
                measure(server, request, clients=_CLIENTS, calls=_WARM_UP_CALLS)
            for _ in range(rounds):
                by_bytes, by_memory = (
                    measure(server, request, clients=_CLIENTS, calls=_CALLS)
                    for request in (in_message, elsewhere)
                )
                cpu.append(by_memory.cpu_per_call / by_bytes.cpu_per_call)
    finally:
        memory.close()
        memory.unlink()
    name = "MobileNetV2's tensors, CPU outside the session: in shared memory / in the message"
    return [Ratio(name, tuple(cpu), Bar(0.5))]


def _register(server: ServerProcess, key: str, byte_size: int) -> None:
    request = inference_pb2.SystemSharedMemoryRegisterRequest(
        name="row", key=f"/{key}", byte_size=byte_size
    )
    ask(server, request.SerializeToString(), "SystemSharedMemoryRegister")


def _request_elsewhere(byte_size: int) -> bytes:
    request = inference_pb2.ModelInferRequest(model_name=_MODEL)
    tensor = request.inputs.add(name="input", datatype="FP32", shape=(1, *_ROW_SHAPE))
    tensor.parameters["shared_memory_region"].string_param = "row"
    tensor.parameters["shared_memory_byte_size"].int64_param = byte_size
    return request.SerializeToString()


def _write_model(repository: Path) -> None:
    """Zeros for as many rows as come, without a look at them."""
    nodes = [
        helper.make_node("Shape", ["input"], ["rows"], end=1),
        helper.make_node("Concat", ["rows", "classes"], ["shape"], axis=0),
        helper.make_node("ConstantOfShape", ["shape"], ["logits"]),
    ]
    classes = numpy_helper.from_array(np.array([_CLASSES], np.int64), "classes")
    graph = helper.make_graph(
        nodes,
        _MODEL,
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", *_ROW_SHAPE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", _CLASSES])],
        initializer=[classes],
    )
    opset = helper.make_opsetid("", 18)
    version = repository / _MODEL / "1"
    version.mkdir(parents=True)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=9), version / "model.onnx")
    (repository / _MODEL / "config.pbtxt").write_text(_CONFIG, encoding="utf-8")

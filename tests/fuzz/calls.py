"""Calls to the server: sound ones, and what becomes of them."""

import json
import random
from collections.abc import Callable, Sequence

import numpy as np
from google.protobuf.message import Message
from tests.fuzz.fault import Parts
from tests.fuzz.message_mutation import mutate_message
from tests.fuzz.models import ADMIN, CAPTURED, FREE, LABELS, PICTURE, ROWS, TEXT, TYPED, affine
from tests.fuzz.mutation import TEXTS, mutate_bytes, mutate_json
from tests.fuzz.served import REGION, REGION_KEY, Served

from eyespot.v1 import explain_pb2
from eyespot.v1 import inference_pb2 as pb
from eyespot.v1.services import EXPLAIN_SERVICE, INFERENCE_SERVICE
from eyespot.v1.tensors import datatype_of, encode

Call = tuple[str, Message]  # the name of a method, and its request
Inference = tuple[str, pb.ModelInferRequest]

_REGION, _OFFSET, _SIZE = (f"shared_memory_{it}" for it in ("region", "offset", "byte_size"))
_METHODS = (
    *("saliency", "input_x_gradient", "integrated_gradients", "smooth_grad", "occlusion", "rise"),
    *("grad_cam", "guided_backprop", "deep_lift", "lrp", "layer_cam"),
)
_WORDS = (
    *(
        ROWS,
        TEXT,
        FREE,
        TYPED,
        PICTURE,
        CAPTURED,
        "x",
        "y",
        "saliency",
        "1",
        "2",
        REGION,
        REGION_KEY,
    ),
    *("FP32", "FP16", "BF16", "INT16", "BYTES", "BOOL", "fp32", "UINT8", "TYPE_FP32"),
    *("timeout", "priority", "sequence_id", "classification", "binary_data", _REGION, _OFFSET),
    *(
        _SIZE,
        "triton_enable_empty_final_response",
        "target",
        "method",
        "score",
        "channel_reduction",
    ),
    *("n_steps", "window", "stride", "layer", "baseline", "n_samples", "noise", "seed", "masks"),
    *(*_METHODS, *LABELS, "logit", "probability", "max", "mean"),
)
_ADMIN_WORDS = (
    *(ADMIN, REGION_KEY, "other", "config", "file:1/model.onnx", "file:config.pbtxt", "file:../x"),
    *("file:1", "file:", "log_info", "log_verbose_level", "log_format", "log_file", "json"),
    *("trace_level", "trace_rate", "trace_count", "trace_mode", "OFF", "opentelemetry", "default"),
)


def make_inference(draw: random.Random) -> Parts:
    """A ModelInfer."""
    return _mutated([draw.choice(_INFERENCES)()], _WORDS, draw)


def make_stream(draw: random.Random) -> Parts:
    """A ModelStreamInfer of some requests."""
    calls = [draw.choice(_INFERENCES)() for _ in range(draw.randint(1, 5))]
    return _mutated([("ModelStreamInfer", request) for _, request in calls], _WORDS, draw)


def make_explanation(draw: random.Random) -> Parts:
    """A call of the explain service."""
    return _mutated([draw.choice(_EXPLANATIONS)(draw)], _WORDS, draw)


def make_question(draw: random.Random) -> Parts:
    """A call that reads or changes what is served."""
    name, request = draw.choice(_questions(draw))
    return _mutated([(name, request)], _ADMIN_WORDS, draw)


def make_socket_call(draw: random.Random) -> Parts:
    """Any of them, to be sent through a socket."""
    make = draw.choice((make_inference, make_stream, make_explanation))
    parts = dict(make(draw))
    if draw.random() < 0.1:
        parts["method"] = draw.choice((b"/a/b", b"/", b"/inference.GRPCInferenceService/Nothing"))
    if draw.random() < 0.3:
        key = draw.choice(("traceparent", "authorization", "grpc-x", "grpc-encoding", "a-bin"))
        parts["metadata"] = f"{key}\n{draw.choice(TEXTS)[:300]}".encode()
    return parts


async def run_call(served: Served, parts: Parts) -> str:
    """Makes the call in process."""
    return await served.call(parts["method"].decode(), _messages(parts))


async def run_socket_call(served: Served, parts: Parts) -> str:
    """Makes the call through gRPC."""
    key, _, value = parts.get("metadata", b"").decode().partition("\n")
    told = value.encode() if key.endswith("-bin") else value.encode("ascii", "ignore").decode()
    sendable = isinstance(told, bytes) or told.isprintable()
    metadata: tuple[tuple[str, str | bytes], ...] = ((key, told),) if key and sendable else ()
    return await served.call_by_socket(parts["method"].decode(), _messages(parts), metadata)


def _messages(parts: Parts) -> list[bytes]:
    return [parts[name] for name in sorted(parts) if name.isdigit()]


def _mutated(calls: Sequence[Call], words: Sequence[str], draw: random.Random) -> Parts:
    parts = {"method": _path(calls[0][0]).encode()}
    for number, (_, request) in enumerate(calls):
        if draw.random() < 0.9:
            mutate_message(request, draw, words=words)
        raw = request.SerializeToString()
        parts[f"{number:03}"] = mutate_bytes(raw, draw) if draw.random() < 0.2 else raw
    return parts


def _path(method: str) -> str:
    explains = method in explain_pb2.DESCRIPTOR.services_by_name["ExplainService"].methods_by_name
    return f"/{EXPLAIN_SERVICE if explains else INFERENCE_SERVICE}/{method}"


def _inference(model_name: str, array: np.ndarray) -> Inference:
    datatype = datatype_of(array.dtype)
    request = pb.ModelInferRequest(model_name=model_name, id="7")
    request.inputs.add(name="x", datatype=datatype, shape=array.shape)
    request.raw_input_contents.append(encode(array, datatype))
    return "ModelInfer", request


def _typed_inference() -> Inference:
    request = pb.ModelInferRequest(model_name=TYPED, model_version="1")
    request.inputs.add(name="x", datatype="INT16", shape=[1, 2]).contents.int_contents[:] = [3, 4]
    request.parameters["priority"].uint64_param = 1
    request.parameters["timeout"].int64_param = 1_000_000
    return "ModelInfer", request


def _shared_inference() -> Inference:
    request = pb.ModelInferRequest(model_name=ROWS)
    tensors = (
        request.inputs.add(name="x", datatype="FP32", shape=[1, 4]),
        request.outputs.add(name="y"),
    )
    for tensor in tensors:
        tensor.parameters[_REGION].string_param = REGION
        tensor.parameters[_OFFSET].int64_param = 64
        tensor.parameters[_SIZE].int64_param = 16
    return "ModelInfer", request


def _classified_inference() -> Inference:
    name, request = _inference(PICTURE, _picture())
    request.outputs.add(name="y").parameters["classification"].int64_param = 2
    return name, request


def _explained_inference() -> Inference:
    name, request = _inference(PICTURE, _picture())
    output = request.outputs.add(name="saliency")
    output.parameters["method"].string_param = "occlusion"
    output.parameters["target"].string_param = "dog"
    output.parameters["window"].int64_param = 3
    return name, request


_INFERENCES: tuple[Callable[[], Inference], ...] = (
    lambda: _inference(ROWS, np.array([[1, 2, 3, 4], [5, 6, 7, 8]], np.float32)),
    lambda: _inference(TEXT, np.array([[b"ab", b""]], object)),
    lambda: _inference(FREE, np.array([[1, 2], [3, 4], [5, 6]], np.float32)),
    _typed_inference,
    _shared_inference,
    _classified_inference,
    _explained_inference,
)


def _explain(draw: random.Random) -> Call:
    x = _picture()
    request = explain_pb2.ExplainRequest(
        model_name=draw.choice((PICTURE, CAPTURED, CAPTURED)),
        targets=[explain_pb2.ExplainTarget(index=1)],
        raw_input_contents=[encode(x, "FP32")],
    )
    request.inputs.add(name="x", datatype="FP32", shape=x.shape)
    without_gradients = request.model_name == PICTURE
    request.method = draw.choice(("occlusion", "rise") if without_gradients else _METHODS)
    if request.method == "occlusion":
        request.parameters["window"].int64_param = 3
    if draw.random() < 0.3:
        request.targets[0].against_label = "cat"
    if draw.random() < 0.2:
        request.encoding = explain_pb2.ATTRIBUTION_ENCODING_PNG
    return draw.choice(("Explain", "ExplainStream")), request


_EXPLANATIONS: tuple[Callable[[random.Random], Call], ...] = (
    *(_explain, _explain, _explain),
    lambda _: ("ListMethods", explain_pb2.ListMethodsRequest(model_name=CAPTURED)),
)


def _questions(draw: random.Random) -> list[Call]:
    named = {"name": ADMIN, "version": "1"}
    region = pb.SystemSharedMemoryRegisterRequest(name="other", key=REGION_KEY, byte_size=64)
    return [
        ("RepositoryIndex", pb.RepositoryIndexRequest(ready=True)),
        ("RepositoryModelLoad", _load(draw)),
        ("RepositoryModelLoad", _load(draw)),
        ("RepositoryModelUnload", pb.RepositoryModelUnloadRequest(model_name=ADMIN)),
        ("ModelReady", pb.ModelReadyRequest(**named)),
        ("ModelMetadata", pb.ModelMetadataRequest(**named)),
        ("ModelConfig", pb.ModelConfigRequest(**named)),
        ("ModelStatistics", pb.ModelStatisticsRequest(**named)),
        ("SystemSharedMemoryRegister", region),
        ("SystemSharedMemoryStatus", pb.SystemSharedMemoryStatusRequest(name="other")),
        ("SystemSharedMemoryUnregister", pb.SystemSharedMemoryUnregisterRequest(name="other")),
        ("CudaSharedMemoryStatus", pb.CudaSharedMemoryStatusRequest()),
        ("LogSettings", _log_settings()),
        ("TraceSetting", _trace_settings()),
    ]


def _load(draw: random.Random) -> Message:
    request = pb.RepositoryModelLoadRequest(model_name=ADMIN)
    if draw.random() < 0.7:
        config = {
            "maxBatchSize": 4,
            "dynamicBatching": {"preferredBatchSize": [2], "maxQueueDelayMicroseconds": 10},
            "instanceGroup": [{"count": 1, "kind": "KIND_CPU"}],
            "parameters": {"intra_op_thread_count": {"stringValue": "1"}},
        }
        told = json.dumps(mutate_json(config, draw) if draw.random() < 0.8 else config)
        request.parameters["config"].string_param = told
    if draw.random() < 0.3:
        request.parameters["file:1/model.onnx"].bytes_param = affine().SerializeToString()
    return request


def _log_settings() -> Message:
    request = pb.LogSettingsRequest()
    request.settings["log_info"].bool_param = False
    request.settings["log_format"].string_param = "json"
    return request


def _trace_settings() -> Message:
    request = pb.TraceSettingRequest(model_name=ADMIN)
    request.settings["trace_rate"].value.append("5")
    request.settings["trace_level"].value.append("OFF")  # a collector there is not
    return request


def _picture() -> np.ndarray:
    return np.linspace(0, 1, 108, dtype=np.float32).reshape(1, 3, 6, 6)

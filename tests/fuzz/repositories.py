"""Files of a model: config.pbtxt, manifest.json, warm-ups, and graphs with their weights beside."""

import asyncio
import hashlib
import json
import random
import shutil
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
from google.protobuf import text_format
from tests.fuzz.fault import FaultError, Parts
from tests.fuzz.message_mutation import mutate_message
from tests.fuzz.models import affine
from tests.fuzz.mutation import mutate_bytes, mutate_json, mutate_text
from tests.fuzz.served import Served

from eyespot.server.decoding import Signature
from eyespot.server.errors import InternalError, RepositoryError, RequestError, StartError
from eyespot.server.loaded_version import LoadedVersion
from eyespot.server.model import InferCall, Model
from eyespot.server.repository import BrokenModel, scan_model
from eyespot.server.shared_memory import SharedMemory
from eyespot.server.version_loading import load_version
from eyespot.v1 import inference_pb2 as pb
from eyespot.v1 import model_config_pb2
from eyespot.v1.manifest import (
    MANIFEST_FILE,
    DynamicAxis,
    Manifest,
    ParityCase,
    ParityReport,
    Provenance,
    TensorSpec,
    write_manifest,
)
from eyespot.v1.preprocessing import IMAGENET

_NAME = "model"
_GRAPH, _CONFIG, _MANIFEST = "1/model.onnx", "config.pbtxt", "1/manifest.json"
_LABELS, _WARMUP, _WEIGHTS = "labels.txt", "warmup/row", "1/weights.bin"
_ROW = np.array([[1, 2, 3, 4]], np.float32)
_WORDS = (
    *("x", "y", "labels.txt", "model.onnx", "onnxruntime", "onnxruntime_onnx", "row", "../row"),
    *("intra_op_thread_count", "inter_op_thread_count", "execution_mode", "enable_mem_arena"),
    *("1", "0", "2", "-1", "\0", "a\0b", "1/model.onnx", "warmup", "labels", "classes", "a" * 300),
)
_DATA_WORDS = (
    *("location", "offset", "length", "checksum", "weights.bin", "./weights.bin", "../weights.bin"),
    *(
        "/etc/passwd",
        "0",
        "16",
        "32",
        "-1",
        "9" * 19,
        "1/../weights.bin",
        "a\0b",
        "",
        "weights.bin/",
    ),
)
_CONFIGURED = """
name: "model" max_batch_size: 4
input { name: "x" data_type: TYPE_FP32 dims: 4 }
output { name: "y" data_type: TYPE_FP32 dims: 4 label_filename: "labels.txt" }
dynamic_batching {
  preferred_batch_size: [ 2, 4 ] max_queue_delay_microseconds: 10 priority_levels: 2
  default_priority_level: 1 default_queue_policy { max_queue_size: 8 }
  priority_queue_policy { key: 2 value { timeout_action: DELAY default_timeout_microseconds: 900 } }
}
instance_group { count: 2 kind: KIND_CPU } version_policy { latest { num_versions: 1 } }
optimization { graph { level: 1 } }
parameters { key: "intra_op_thread_count" value { string_value: "1" } }
"""
_WARMED_UP = """
max_batch_size: 4
model_warmup { name: "w" batch_size: 2 count: 2
  inputs { key: "x" value { data_type: TYPE_FP32 dims: 4 random_data: true } } }
model_warmup { name: "f" batch_size: 1
  inputs { key: "x" value { data_type: TYPE_FP32 dims: 4 input_data_file: "row" } } }
"""


def make_config(draw: random.Random) -> Parts:
    """A config.pbtxt."""
    return {**_files(), _CONFIG: _config(_CONFIGURED, draw)}


def make_warmup(draw: random.Random) -> Parts:
    """A config.pbtxt with warm-ups, and their file."""
    files = {**_files(), _CONFIG: _config(_WARMED_UP, draw, mostly="model_warmup")}
    if draw.random() < 0.3:
        files[_WARMUP] = mutate_bytes(files[_WARMUP], draw)
    return files


def make_manifest(draw: random.Random) -> Parts:
    """A manifest.json."""
    values = json.loads(_manifest())
    for _ in range(draw.randint(1, 2)):
        values = mutate_json(values, draw)
    raw = json.dumps(values).encode()
    if draw.random() < 0.2:
        raw = mutate_bytes(raw, draw)
    return {**_files(), _CONFIG: b"max_batch_size: 4\n", _MANIFEST: raw}


def make_graph(draw: random.Random) -> Parts:
    """A graph with weights in another file."""
    graph = onnx.ModelProto.FromString(_external_graph())
    tensors = list(graph.graph.initializer)
    whole = draw.random() < 0.2
    mutate_message(graph if whole else draw.choice(tensors), draw, words=_DATA_WORDS)
    raw = graph.SerializeToString()
    if draw.random() < 0.2:
        raw = mutate_bytes(raw, draw)
    return {_CONFIG: b"max_batch_size: 4\n", _GRAPH: raw, _WEIGHTS: bytes(32)}


async def run_repository(served: Served, parts: Parts) -> str:
    """Loads the model and asks it once; says what came of it.

    Raises:
        FaultError: It fails in a way that nobody has thought of.
    """
    repository = served.folder / "files"
    _write(repository / _NAME, parts)
    try:
        found = scan_model(repository, _NAME)
        broken = [each for each in found if isinstance(each, BrokenModel)]
        if broken or not found:
            return "BROKEN"
        loaded = load_version(found[0], served.config)  # type: ignore[arg-type]
        return await _ask(loaded, served)
    except (RepositoryError, StartError):
        return "REFUSED"
    except RequestError as error:
        if isinstance(error, InternalError):
            raise FaultError(str(error), cause=error) from error
        return error.status.name
    except Exception as error:
        raise FaultError(f"{type(error).__name__} of a model's files", cause=error) from error
    finally:
        shutil.rmtree(repository)


async def _ask(loaded: LoadedVersion, served: Served) -> str:
    request = pb.ModelInferRequest(raw_input_contents=[_ROW.tobytes()])
    request.inputs.add(name="x", datatype="FP32", shape=_ROW.shape)
    signature = Signature(loaded.config, SharedMemory(is_enabled=False))
    model = Model(loaded, served.config)
    try:
        decoded = signature.read_inputs(request)
        call = InferCall(decoded.arrays, decoded.rows, decoded.key)
        async with asyncio.timeout(0.2):  # it may be told to wait long for company
            await model.infer(call)
        return "OK"
    except TimeoutError:
        return "WAITS"
    finally:
        async with asyncio.timeout(20):
            await model.drain()
        model.close()


def _write(folder: Path, parts: Parts) -> None:
    for name, content in parts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def _config(text: str, draw: random.Random, *, mostly: str = "") -> bytes:
    message = text_format.Parse(text, model_config_pb2.ModelConfig())
    place: Any = message
    if mostly and draw.random() < 0.7:
        place = draw.choice(getattr(message, mostly))
    if draw.random() < 0.9:
        mutate_message(place, draw, words=_WORDS)
    written = text_format.MessageToString(message)
    if draw.random() < 0.3:
        written = mutate_text(written, draw)
    raw = written.encode()
    return mutate_bytes(raw, draw) if draw.random() < 0.1 else raw


@cache
def _graph() -> bytes:
    return affine().SerializeToString()


def _files() -> dict[str, bytes]:
    return {_GRAPH: _graph(), _LABELS: b"a\nb\nc\nd\n", _WARMUP: _ROW.tobytes()}


@cache
def _manifest() -> str:
    manifest = Manifest(
        model_name=_NAME,
        model_version="1",
        provenance=Provenance("Affine", year=1998, training={"accuracy": 0.5}),
        inputs=(TensorSpec("x", "FP32", ("batch", "columns")),),
        outputs=(TensorSpec("y", "FP32", ("batch", 4)),),
        channel_axis=None,
        gradient_node=None,
        preprocessing=IMAGENET,
        parity=ParityReport(1e-5, 1e-5, (ParityCase("random", 2, "y", 0.0, 0.0, 1.0),)),
        opset_version=20,
        parameter_count=8,
        files={"model.onnx": hashlib.sha256(_graph()).hexdigest()},
        library_versions={"onnx": "1"},
        dynamic_axes=(DynamicAxis("columns", 2, 4),),
        symbols={"x": 9},
    )
    with TemporaryDirectory() as folder:
        path = Path(folder) / MANIFEST_FILE
        write_manifest(manifest, path)
        return path.read_text()


@cache
def _external_graph() -> bytes:
    graph = affine()
    for number, tensor in enumerate(graph.graph.initializer):
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        said = {"location": "weights.bin", "offset": str(16 * number), "length": "16"}
        for key, value in said.items():
            tensor.external_data.add(key=key, value=value)
    return graph.SerializeToString()

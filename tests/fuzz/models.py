"""Tiny models that are fuzzed: enough kinds of input that every way through the server is there."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

FLOAT = TensorProto.FLOAT
ROWS = "rows"  # (batch, 4) -> 2 x + 1
TEXT = "text"  # (batch, 2) texts, given back
FREE = "free"  # any matrix, given back; nothing is batched
TYPED = "typed"  # (batch, 2) whole numbers, given back
PICTURE = "picture"  # (batch, 3, 6, 6) -> 3 classes with labels: explained without an original
CAPTURED = "captured"  # the same shapes, with an original
ADMIN = "admin"  # loaded and unloaded by calls
CANARY = "canary"  # as ROWS: asked in between, named by no input
LABELS = ("cat", "dog", "door")

Declared = Mapping[str, tuple[int, list[Any]]]


def write_models(repository: Path) -> None:
    """Writes all of them."""
    batching = "max_batch_size: 4\ndynamic_batching {}\n"
    for name in (ROWS, CANARY, ADMIN):
        _write(repository / name, affine(), batching)
    _write(repository / TEXT, identity(TensorProto.STRING, ["batch", 2]), batching)
    _write(repository / FREE, identity(FLOAT, ["a", "b"]), "max_batch_size: 0\n")
    _write(repository / TYPED, identity(TensorProto.INT16, ["batch", 2]), batching)
    labelled = 'output { name: "y" label_filename: "labels.txt" }\n'
    _write(repository / PICTURE, pooled(), batching + labelled)
    (repository / PICTURE / "labels.txt").write_text("\n".join(LABELS), encoding="utf-8")


def write_captured(repository: Path) -> None:
    """Exports a small network with its original."""
    import torch

    from eyespot.exporter import export

    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3, padding=1),
        torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
        torch.nn.Linear(4, len(LABELS)),
    )
    export(
        network.eval(), torch.zeros(1, 3, 6, 6), repository=repository, name=CAPTURED,
        input_names=["x"], labels=LABELS, max_batch_size=4,
    )  # fmt: skip


def affine() -> onnx.ModelProto:
    """y = 2 x + 1."""
    nodes = [
        helper.make_node("Mul", ["x", "scale"], ["scaled"]),
        helper.make_node("Add", ["scaled", "offset"], ["y"]),
    ]
    row = (FLOAT, ["batch", 4])
    constants: dict[str, NDArray[Any]] = {
        "scale": np.full(4, 2, np.float32),
        "offset": np.ones(4, np.float32),
    }
    return model(nodes, {"x": row}, {"y": row}, constants)


def identity(onnx_type: int, shape: list[Any]) -> onnx.ModelProto:
    """y = x."""
    node = helper.make_node("Identity", ["x"], ["y"])
    return model([node], {"x": (onnx_type, shape)}, {"y": (onnx_type, shape)})


def pooled() -> onnx.ModelProto:
    """The mean of each channel."""
    nodes = [
        helper.make_node("GlobalAveragePool", ["x"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["y"]),
    ]
    return model(nodes, {"x": (FLOAT, ["batch", 3, 6, 6])}, {"y": (FLOAT, ["batch", 3])})


def model(
    nodes: list[onnx.NodeProto],
    inputs: Declared,
    outputs: Declared,
    constants: Mapping[str, NDArray[Any]] | None = None,
) -> onnx.ModelProto:
    """A graph of a few nodes."""
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(name, *each) for name, each in inputs.items()],
        [helper.make_tensor_value_info(name, *each) for name, each in outputs.items()],
        [onnx.numpy_helper.from_array(a, name) for name, a in (constants or {}).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def _write(folder: Path, graph: onnx.ModelProto, config: str) -> None:
    (folder / "1").mkdir(parents=True)
    onnx.save(graph, folder / "1" / "model.onnx")
    (folder / "config.pbtxt").write_text(config, encoding="utf-8")

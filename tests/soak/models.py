"""Models whose every answer is known by hand, and tells which version has given it."""

import shutil
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

Floats = NDArray[np.float32]

ROWS = "rows"  # (batch, 4) -> 2 x + version; swapped
WIDE = "wide"  # (batch, width) -> -x: each width is a new shape to the runtime
TEXT = "text"  # (batch, 1) texts, given back
PICTURE = "picture"  # (batch, 3, 8, 8) -> 4 classes, linear, with its original; swapped
COMING = "coming"  # as ROWS in version 1; loaded and unloaded
MOST_ROWS = 8
_BATCHED = f"max_batch_size: {MOST_ROWS}\ndynamic_batching {{}}\n"
_CLASSES, _PIXELS = 4, 3 * 8 * 8


def write_models(repository: Path, originals: Path) -> None:
    """Writes each model in version 1.

    Args:
        repository: Receives the models.
        originals: Receives the exported networks that the versions of PICTURE are made of.
    """
    _write(repository / COMING, _affine(1))
    _write(repository / WIDE, _unary("Neg", TensorProto.FLOAT, "width"))
    _write(repository / TEXT, _unary("Identity", TensorProto.STRING, 1))
    _export_pictures(originals)
    shutil.copytree(originals / "1", repository / PICTURE)
    _write(repository / ROWS, _affine(1))


def publish(repository: Path, name: str, version: int, originals: Path) -> None:
    """Puts a new version of ROWS or PICTURE beside those that are there, and removes the oldest."""
    folder, written = repository / name / str(version), repository / name / f".{version}"
    if name == ROWS:
        written.mkdir()
        onnx.save(_affine(version), written / "model.onnx")
    else:
        shutil.copytree(originals / str(version % 2) / "1", written)
    written.rename(folder)
    shutil.rmtree(repository / name / str(version - 2), ignore_errors=True)


def weights(version: int) -> Floats:
    """(classes, pixels) of a version of PICTURE: those of odd and of even ones are the same."""
    random = np.random.default_rng(version % 2)
    return random.integers(-3, 4, (_CLASSES, _PIXELS)).astype(np.float32)


def _affine(version: int) -> onnx.ModelProto:
    nodes = [
        helper.make_node("Mul", ["x", "two"], ["doubled"]),
        helper.make_node("Add", ["doubled", "version"], ["y"]),
    ]
    constants = {"two": np.float32(2), "version": np.float32(version)}
    return _model(nodes, TensorProto.FLOAT, 4, constants)


def _unary(operator: str, onnx_type: int, width: int | str) -> onnx.ModelProto:
    return _model([helper.make_node(operator, ["x"], ["y"])], onnx_type, width, {})


def _model(
    nodes: list[onnx.NodeProto], onnx_type: int, width: int | str, constants: dict[str, np.float32]
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "soak",
        [helper.make_tensor_value_info("x", onnx_type, ["batch", width])],
        [helper.make_tensor_value_info("y", onnx_type, ["batch", width])],
        [onnx.numpy_helper.from_array(np.asarray(a), name) for name, a in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def _write(folder: Path, graph: onnx.ModelProto) -> None:
    (folder / "1").mkdir(parents=True)
    onnx.save(graph, folder / "1" / "model.onnx")
    (folder / "config.pbtxt").write_text(_BATCHED, encoding="utf-8")


def _export_pictures(originals: Path) -> None:
    """Exports both kinds of weights, each with its original."""
    import torch

    from eyespot.exporter import export

    for kind in (0, 1):
        linear = torch.nn.Linear(_PIXELS, _CLASSES, bias=False)
        linear.load_state_dict({"weight": torch.from_numpy(weights(kind))})
        network = torch.nn.Sequential(torch.nn.Flatten(), linear).eval()
        folder = originals / f"exported-{kind}"
        export(
            network, torch.zeros(1, 3, 8, 8), repository=folder, name=PICTURE,
            input_names=["x"], output_names=["y"], max_batch_size=MOST_ROWS,
        )  # fmt: skip
        (folder / PICTURE).rename(originals / str(kind))

"""The served graph once more, without its weights: they stay where `model.onnx` has them.

ONNX lets a tensor lie at any offset of any file beside the graph; so those of a model without
external data are read out of `model.onnx` itself, of which not a byte changes.
"""

from __future__ import annotations

import mmap
from pathlib import Path

import onnx
from onnx.external_data_helper import load_external_data_for_tensor

from eyespot.exporter.errors import GradientError
from eyespot.v1.manifest import MODEL_FILE

# Shapes, axes, places and other small constants are copied: rules read them.
_SMALLEST = 2**10
_WHOLE = (onnx.TensorProto.INT64, onnx.TensorProto.INT32)


def read_without_weights(folder: Path) -> onnx.ModelProto:
    """Read `model.onnx`; its larger weights are named by their place in the files beside it."""
    path = folder / MODEL_FILE
    model = onnx.load(path, load_external_data=False)
    at = 0
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for tensor in model.graph.initializer:
            if tensor.data_type in _WHOLE:
                _take_in(tensor, folder)
                continue
            raw = tensor.raw_data  # a copy, each time that it is asked for
            if len(raw) < _SMALLEST:
                continue
            # They lie one behind the other; wherever the same bytes are found, they are right.
            at = _find(data, raw, at)
            place = {"location": MODEL_FILE, "offset": at, "length": len(raw)}
            tensor.ClearField("raw_data")
            tensor.data_location = onnx.TensorProto.EXTERNAL
            for key, value in place.items():
                tensor.external_data.add(key=key, value=str(value))
    return model


def _take_in(tensor: onnx.TensorProto, folder: Path) -> None:
    if tensor.external_data:
        load_external_data_for_tensor(tensor, str(folder))
        tensor.data_location = onnx.TensorProto.DEFAULT
        tensor.ClearField("external_data")


def _find(data: mmap.mmap, sought: bytes, start: int) -> int:
    """Find where bytes lie, from a place on: by how they begin, which is quick to look for."""
    at = start
    while (at := data.find(sought[:_SMALLEST], at)) >= 0:
        if data[at : at + len(sought)] == sought:
            return at
        at += 1
    raise GradientError(f"the weights of {MODEL_FILE} are not found in it again: this is a bug")

"""`model.onnx.data`: weights beside the graph, where one file of protobuf cannot hold both."""

from __future__ import annotations

from pathlib import Path

import onnx

# A page, so that the runtime can map each tensor into memory instead of reading it.
_ALIGNMENT = 4096
# Shapes, axes and other small constants stay, where the graph can be understood without them.
_SMALLEST = 2**10


def move_weights(model: onnx.ModelProto, path: Path) -> None:
    """Move the larger initializers of a graph to a file, one after the other."""
    with path.open("wb") as file:
        for tensor in model.graph.initializer:
            if len(tensor.raw_data) < _SMALLEST:
                continue
            file.write(b"\0" * (-file.tell() % _ALIGNMENT))
            place = {
                "location": path.name,
                "offset": str(file.tell()),
                "length": str(len(tensor.raw_data)),
            }
            file.write(tensor.raw_data)
            tensor.ClearField("raw_data")
            tensor.data_location = onnx.TensorProto.EXTERNAL
            for key, value in place.items():
                tensor.external_data.add(key=key, value=value)

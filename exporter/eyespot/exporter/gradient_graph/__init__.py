"""The gradient itself as an ONNX graph: the served graph and its backward pass."""

from eyespot.exporter.gradient_graph.gradient_graphs import (
    ROWS,
    WrittenGradients,
    open_gradients,
    write_gradients,
)
from eyespot.exporter.gradient_graph.gradient_parity import compare
from eyespot.exporter.gradient_graph.layer_places import find_layers

__all__ = [
    "ROWS",
    "WrittenGradients",
    "compare",
    "find_layers",
    "open_gradients",
    "write_gradients",
]

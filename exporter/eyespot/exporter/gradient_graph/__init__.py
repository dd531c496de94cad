"""The gradient itself as an ONNX graph: the served graph and its backward pass."""

from eyespot.exporter.gradient_graph.gradient_graphs import (
    ROWS,
    WrittenGradients,
    open_gradients,
    write_gradients,
)
from eyespot.exporter.gradient_graph.gradient_parity import compare
from eyespot.exporter.gradient_graph.layer_places import check_layers

__all__ = [
    "ROWS",
    "WrittenGradients",
    "check_layers",
    "compare",
    "open_gradients",
    "write_gradients",
]

"""What of a graph can be quantised: its layers, and what follows them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx

from eyespot.exporter.errors import DerivationError

LAYER_TYPES = ("Conv", "Gemm", "MatMul")
# Those that have kernels for whole numbers, or pass them on as they are.
_FOLLOWING_TYPES = (
    "Add", "AveragePool", "Clip", "Concat", "Flatten", "GlobalAveragePool", "MaxPool", "Mul",
    "Pad", "Relu", "Reshape", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze",
)  # fmt: skip
QUANTISED_TYPES = (*LAYER_TYPES, *_FOLLOWING_TYPES)
# They have weights, and stay in floating point.
_FLOAT_LAYER_TYPES = ("ConvTranspose", "LSTM", "GRU", "RNN", "Einsum")
_KNOWN_DOMAINS = ("", "ai.onnx", "com.microsoft")


@dataclass(frozen=True)
class QuantisableLayer:
    """A node with weights.

    Attributes:
        name: Of the node.
        title: What its weights are called in the network.
        operator: "Conv", "Gemm" or "MatMul".
        parameters: Of its weights.
    """

    name: str
    title: str
    operator: str
    parameters: int


@dataclass(frozen=True)
class PreparedGraph:
    """A graph with known shapes and batch norms folded, ready to be quantised.

    Attributes:
        path: Of the file.
        layers: From the input on.
        nodes: Names of all that may be quantised, layers among them: what comes before the first
            layer is the normalisation of the picture, and stays exact.
        notes: What stays in floating point that one might not expect.
    """

    path: Path
    layers: tuple[QuantisableLayer, ...]
    nodes: tuple[str, ...]
    notes: tuple[str, ...]


def prepare(graph: Path, folder: Path) -> PreparedGraph:
    """Infer shapes, fold batch norms, and find what can be quantised.

    Args:
        graph: As it is served.
        folder: To write into.

    Raises:
        DerivationError: An operator is not known, or there is nothing to quantise.
    """
    from onnxruntime.quantization.shape_inference import quant_pre_process

    _check_operators(onnx.load(graph, load_external_data=False))
    path = folder / "prepared.onnx"
    try:
        quant_pre_process(str(graph), str(path))
    except Exception as error:  # its exceptions share no class of their own
        raise DerivationError(f"the graph cannot be prepared for quantisation: {error}") from error
    model = onnx.load(path)
    layers = _layers(model)
    if not layers:
        raise DerivationError(
            f"there is nothing to quantise: no {', '.join(LAYER_TYPES)} with weights in the graph"
        )
    return PreparedGraph(path, layers, _following(model, layers), _notes(model))


def _check_operators(model: onnx.ModelProto) -> None:
    unknown = sorted(
        f"{node.domain}.{node.op_type}"
        for node in model.graph.node
        if node.domain not in _KNOWN_DOMAINS
    )
    if unknown:
        raise DerivationError(
            f"operator {unknown[0]} is not one of ONNX: its shapes cannot be inferred, and the "
            "graph not be quantised"
        )


def _layers(model: onnx.ModelProto) -> tuple[QuantisableLayer, ...]:
    sizes = {weight.name: math.prod(weight.dims) for weight in model.graph.initializer}
    return tuple(
        QuantisableLayer(node.name, _title(node.input[1]), node.op_type, sizes[node.input[1]])
        for node in model.graph.node
        if node.op_type in LAYER_TYPES and node.input[1] in sizes
    )


def _title(weight: str) -> str:
    return weight.removeprefix("network.").removesuffix(".weight")


def _following(model: onnx.ModelProto, layers: Sequence[QuantisableLayer]) -> tuple[str, ...]:
    """Name the layers, and what computes on their outputs."""
    names = {layer.name for layer in layers}
    reached: set[str] = set()
    found = []
    for node in model.graph.node:  # in the order of computation
        if node.name not in names and not reached.intersection(node.input):
            continue
        reached.update(node.output)
        if node.op_type in QUANTISED_TYPES:
            found.append(node.name)
    return tuple(found)


def _notes(model: onnx.ModelProto) -> tuple[str, ...]:
    counts = Counter(
        node.op_type for node in model.graph.node if node.op_type in _FLOAT_LAYER_TYPES
    )
    return tuple(
        f"{count} {operator} stay in floating point: there is no kernel for whole numbers"
        for operator, count in sorted(counts.items())
    )

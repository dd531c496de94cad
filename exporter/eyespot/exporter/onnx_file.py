"""From the captured program to `model.onnx`: the same bytes each time."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import onnx
import torch
from torch.export import ExportedProgram

from eyespot.exporter.capture import silenced
from eyespot.exporter.errors import ModelTooLargeError, OnnxError
from eyespot.exporter.external_data import move_weights
from eyespot.v1.manifest import DATA_FILE, MODEL_FILE, TensorSpec

MIN_OPSET = 18
# What torch's translation is written in: no conversion, and the widest choice of runtimes.
DEFAULT_OPSET = 18

_PROTOBUF_LIMIT = 2**31 - 1
# Room for the graph itself beside the weights.
_GRAPH_BYTES = 2**24
# Ends the names of inputs and outputs until what has such a name within the graph is renamed;
# no name of PyTorch's has such a character.
_FOR_NOW = "$"
_INNER = "_inner"
_STACK_TRACE = "pkg.torch.onnx.stack_trace"


def write_onnx(
    program: ExportedProgram,
    folder: Path,
    *,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    opset_version: int,
    external_data: bool = False,
) -> tuple[str, ...]:
    """Translate a program, write it down, check it, and name the files.

    Weights that do not fit beside the graph go into a file of their own, asked or not.

    Args:
        program: As it was captured.
        folder: To write into.
        inputs: What the graph's inputs are to be called, and their sizes.
        outputs: The same of its outputs.
        opset_version: Of the graph.
        external_data: Write the weights into a file of their own.

    Raises:
        OnnxError: The opset is not to be had, an operator has no translation, or the
            result is not valid.
    """
    check_opset(opset_version)
    model = _translate(program, inputs, outputs, opset_version)
    _strip(model)
    _name_values(model, [spec.name for spec in (*inputs, *outputs)])
    _name_sizes(model, (*inputs, *outputs))
    files: tuple[str, ...] = (MODEL_FILE,)
    if external_data or _weigh(program) > _PROTOBUF_LIMIT - _GRAPH_BYTES:
        move_weights(model, folder / DATA_FILE)
        files = (MODEL_FILE, DATA_FILE)
    if model.ByteSize() > _PROTOBUF_LIMIT:
        raise ModelTooLargeError(
            f"the graph without its weights takes {model.ByteSize() / 2**30:.2f} GiB, and "
            f"{MODEL_FILE} can hold no more than 2 GiB"
        )
    (folder / MODEL_FILE).write_bytes(model.SerializeToString(deterministic=True))
    _check_opset_of(model, opset_version)
    _check(folder / MODEL_FILE)
    return files


def check_opset(opset_version: int) -> None:
    """Check that an opset is one that can be written.

    Raises:
        OnnxError: It is too old or not yet known.
    """
    latest = onnx.defs.onnx_opset_version()
    if not MIN_OPSET <= opset_version <= latest:
        raise OnnxError(f"opset {opset_version} is not between {MIN_OPSET} and {latest}")


def _translate(
    program: ExportedProgram,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    opset_version: int,
) -> onnx.ModelProto:
    try:
        with silenced():
            translated = torch.onnx.export(
                program,
                dynamo=True,
                opset_version=opset_version,
                input_names=[spec.name + _FOR_NOW for spec in inputs],
                output_names=[spec.name + _FOR_NOW for spec in outputs],
                dynamic_shapes=tuple(
                    {i: size for i, size in enumerate(spec.shape) if isinstance(size, str)}
                    for spec in inputs
                ),
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        raise OnnxError(f"the program cannot be translated to ONNX: {error}") from error
    assert translated is not None
    return translated.model_proto


def _weigh(program: ExportedProgram) -> int:
    """Count the bytes of the weights, without a copy of them."""
    return sum(math.prod(value.shape) * value.itemsize for value in program.state_dict.values())


def _name_values(model: onnx.ModelProto, names: Sequence[str]) -> None:
    """Give inputs and outputs their names; a value or weight within that has one gives way."""
    renamed = {name + _FOR_NOW: name for name in names} | {name: name + _INNER for name in names}
    graphs = [model.graph]
    for node in _nodes(model):
        node.input[:] = [renamed.get(value, value) for value in node.input]
        node.output[:] = [renamed.get(value, value) for value in node.output]
        graphs.extend(graph for a in node.attribute for graph in (a.g, *a.graphs))
    for graph in graphs:
        for value in (*graph.input, *graph.output, *graph.value_info):
            value.name = renamed.get(value.name, value.name)
        for weight in graph.initializer:
            weight.name = renamed.get(weight.name, weight.name)


def _name_sizes(model: onnx.ModelProto, specs: Sequence[TensorSpec]) -> None:
    """Give each dynamic size of inputs and outputs its name, which torch gives to most.

    Raises:
        OnnxError: A fixed size is another one, or a dynamic size is fixed.
    """
    for value, spec in zip((*model.graph.input, *model.graph.output), specs, strict=True):
        dimensions = value.type.tensor_type.shape.dim
        found = [
            dim.dim_value if dim.HasField("dim_value") else dim.dim_param for dim in dimensions
        ]
        if [isinstance(size, str) for size in found] != [
            isinstance(size, str) for size in spec.shape
        ] or any(a != b for a, b in zip(found, spec.shape, strict=True) if isinstance(b, int)):
            raise OnnxError(
                f"the sizes of {value.name} are {found} in the translation, {list(spec.shape)} in "
                "the program"
            )
        for dimension, size in zip(dimensions, spec.shape, strict=True):
            if isinstance(size, str):
                dimension.dim_param = size


def _check_opset_of(model: onnx.ModelProto, opset_version: int) -> None:
    found = {entry.domain: entry.version for entry in model.opset_import}.get("")
    if found != opset_version:
        raise OnnxError(f"opset {opset_version} was asked for, the translation gives {found}")


def _check(path: Path) -> None:
    try:
        onnx.checker.check_model(str(path), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        reason = str(error).replace(str(path), path.name)
        raise OnnxError(f"the translation is not valid ONNX: {reason}") from error


def _strip(model: onnx.ModelProto) -> None:
    """Take away the source paths; name scopes stay, so that layers can be found."""
    for node in _nodes(model):
        kept = [entry for entry in node.metadata_props if entry.key != _STACK_TRACE]
        del node.metadata_props[:]
        node.metadata_props.extend(kept)


def _nodes(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    waiting = [*model.graph.node]
    for function in model.functions:
        waiting.extend(function.node)
    while waiting:
        node = waiting.pop()
        yield node
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                waiting.extend(graph.node)

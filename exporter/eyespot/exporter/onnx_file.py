"""From the captured program to the bytes of `model.onnx`: the same bytes each time."""

from __future__ import annotations

import math
from collections.abc import Iterator

import onnx
import torch
from torch.export import ExportedProgram

from eyespot.exporter.capture import BATCH, silenced
from eyespot.exporter.errors import ModelTooLargeError, OnnxError

MIN_OPSET = 18
# What torch's translation is written in: no conversion, and the widest choice of runtimes.
DEFAULT_OPSET = 18

_PROTOBUF_LIMIT = 2**31 - 1
# Room for the graph itself beside the weights.
_GRAPH_BYTES = 2**24
_STACK_TRACE = "pkg.torch.onnx.stack_trace"


def build_onnx(
    program: ExportedProgram, *, input_name: str, output_name: str, opset_version: int
) -> bytes:
    """Translate a program, check it, and write it down.

    Raises:
        OnnxError: The opset is not to be had, an operator has no translation, or the
            result is not valid.
    """
    check_opset(opset_version)
    try:
        with silenced():
            translated = torch.onnx.export(
                program,
                dynamo=True,
                opset_version=opset_version,
                input_names=[input_name],
                output_names=[output_name],
                dynamic_shapes=({0: BATCH},),
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        raise OnnxError(f"the program cannot be translated to ONNX: {error}") from error
    assert translated is not None
    model = translated.model_proto
    _strip(model)
    _check(model, opset_version)
    return bytes(model.SerializeToString(deterministic=True))


def check_opset(opset_version: int) -> None:
    """Check that an opset is one that can be written.

    Raises:
        OnnxError: It is too old or not yet known.
    """
    latest = onnx.defs.onnx_opset_version()
    if not MIN_OPSET <= opset_version <= latest:
        raise OnnxError(f"opset {opset_version} is not between {MIN_OPSET} and {latest}")


def check_size(program: ExportedProgram) -> None:
    """Check that the weights fit into one file.

    Raises:
        ModelTooLargeError: They do not.
    """
    size = sum(math.prod(value.shape) * value.itemsize for value in program.state_dict.values())
    if size > _PROTOBUF_LIMIT - _GRAPH_BYTES:
        raise ModelTooLargeError(
            f"the weights take {size / 2**30:.2f} GiB, and model.onnx can hold no more than 2 GiB"
        )


def _check(model: onnx.ModelProto, opset_version: int) -> None:
    found = {entry.domain: entry.version for entry in model.opset_import}.get("")
    if found != opset_version:
        raise OnnxError(f"opset {opset_version} was asked for, the translation gives {found}")
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise OnnxError(f"the translation is not valid ONNX: {error}") from error
    for value in (*model.graph.input, *model.graph.output):
        dimension = value.type.tensor_type.shape.dim[0]
        if dimension.dim_param != BATCH:
            raise OnnxError(f"the first size of {value.name} is {dimension}, not {BATCH!r}")


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

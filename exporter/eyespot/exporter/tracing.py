"""Tracing a module for its layers: any inputs and outputs, and no weights needed."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from eyespot.exporter.capture import held_in_eval, silenced
from eyespot.exporter.errors import CaptureError, InputSizeError
from eyespot.exporter.field_tracking import spatial_axes
from eyespot.exporter.smallest_size import smallest_size, unlogged
from eyespot.zoo import ModelEntry, create_model, model_entry


def trace(module: nn.Module, *inputs: Tensor) -> ExportedProgram:
    """Capture the graph of a module, whose weights may be on the meta device.

    Args:
        module: Left as it was found.
        inputs: One row of each that it takes; the values do not matter.

    Raises:
        InputSizeError: The inputs are too small for it.
        CaptureError: It cannot be traced.
    """
    try:
        with held_in_eval(module), silenced(), unlogged():
            program = torch.export.export(module, inputs)
    except Exception as error:  # whatever the module's own code raises
        reason = next((line for line in str(error).splitlines() if line.strip()), repr(error))
        shapes = ", ".join(str(list(each.shape)) for each in inputs)
        smallest = smallest_side(module, inputs)
        if smallest is not None:
            raise InputSizeError(
                f"inputs of shape {shapes} are too small for {type(module).__name__}: the "
                f"smallest that passes has sides of {smallest} ({reason})"
            ) from error
        raise CaptureError(
            f"{type(module).__name__} cannot be traced on inputs of shape {shapes}: {reason}"
        ) from error
    return _strip_checks(program)


def _strip_checks(program: ExportedProgram) -> ExportedProgram:
    """Take the checks of casts out of a graph: they give nothing."""
    for node in list(program.graph.nodes):
        if node.target == torch.ops.aten._assert_tensor_metadata.default:
            program.graph.erase_node(node)
    program.graph_module.recompile()
    return program


def trace_zoo_model(name: str, *, input_size: int | None = None) -> ExportedProgram:
    """Capture the graph of a network of the zoo, without its weights.

    Raises:
        ZooError: There is no such network, or it cannot take inputs of this size.
        CaptureError: It cannot be traced.
    """
    entry = model_entry(name)
    with torch.device("meta"):
        return trace(
            create_model(name, input_size=input_size), *zoo_inputs(entry, input_size=input_size)
        )


def zoo_inputs(entry: ModelEntry, *, input_size: int | None = None) -> tuple[Tensor, ...]:
    """Make one row of everything that a network of the zoo takes, of no particular values."""
    side = entry.input_size[-1] if input_size is None else input_size
    whole = next((part for part in entry.parts if not part.suffix), None)
    if whole is None:
        sides = [side] * (len(entry.input_size) - 1)
        if input_size is None:
            sides = list(entry.input_size[1:])
        return (torch.zeros(1, entry.input_size[0], *sides),)
    dtypes = {"FP32": torch.float32, "INT64": torch.int64}
    return tuple(
        torch.zeros(
            1,
            *(size if isinstance(size, int) else side for size in fact.shape),
            dtype=dtypes[fact.datatype],
        )
        for fact in whole.inputs
    )


def smallest_side(module: nn.Module, inputs: Sequence[Tensor]) -> int | None:
    """Find the smallest height and width, larger than that of the inputs, that a module takes.

    Returns:
        None if the inputs have no sides, or no size passes.
    """
    sides = [each.shape[axis] for each in inputs for axis in spatial_axes(each)]
    if not sides:
        return None
    return smallest_size(lambda side: _passes(module, inputs, side), above=min(sides))


def _passes(module: nn.Module, inputs: Sequence[Tensor], side: int) -> bool:
    """Run the module without its weights on squares of zeros."""
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    weights = {name: value.to("meta") for name, value in tensors.items()}
    squares = []
    for each in inputs:
        axes = spatial_axes(each)
        shape = [side if axis in axes else size for axis, size in enumerate(each.shape)]
        squares.append(torch.empty(shape, dtype=each.dtype, device="meta"))
    try:
        with held_in_eval(module), torch.no_grad():
            torch.func.functional_call(module, weights, tuple(squares))
    except Exception:  # whatever the module's own code raises
        return False
    return True

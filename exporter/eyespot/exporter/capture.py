"""Capture: a module becomes one exported program, for any batch, certainly in eval mode."""

from __future__ import annotations

import contextlib
import copy
import warnings
from collections.abc import Iterator

import torch
from torch import fx, nn
from torch.export import ExportedProgram

from eyespot.exporter.errors import CaptureError

BATCH = "batch"


@contextlib.contextmanager
def held_in_eval(module: nn.Module) -> Iterator[None]:
    """Put a module in eval mode, and each of its parts back as it was found."""
    found = [(part, part.training) for part in module.modules()]
    try:
        module.eval()
        yield
    finally:
        for part, training in found:
            part.training = training


def on_cpu(module: nn.Module) -> nn.Module:
    """Give the module itself if all of it is on the CPU, else a copy that is.

    Raises:
        CaptureError: It is on another device and cannot be copied.
    """
    tensors = [*module.parameters(), *module.buffers()]
    if all(tensor.device.type == "cpu" for tensor in tensors):
        return module
    try:
        return copy.deepcopy(module).cpu()
    except (RuntimeError, TypeError) as error:
        raise CaptureError(
            f"the module is not on the CPU and cannot be copied there ({error}): "
            "move it with module.cpu() first"
        ) from error


def capture(module: nn.Module, sample: torch.Tensor) -> ExportedProgram:
    """Trace a module that is in eval mode, with a dynamic batch dimension.

    Args:
        module: Takes one tensor and gives one, rows first in both.
        sample: One row or more of what it takes; the values do not matter.

    Raises:
        CaptureError: It cannot be traced, or the batch is fixed, or dropout, batch norm or
            another source of chance is live, or it changes its own state or its input.
    """
    # A batch of 1 would be taken for a constant.
    example = torch.cat([sample, sample])[:2]
    try:
        with silenced():
            program = torch.export.export(
                module, (example,), dynamic_shapes=({0: torch.export.Dim(BATCH)},)
            )
    except Exception as error:  # whatever the module's own code raises
        reason = next((line for line in str(error).splitlines() if line.strip()), repr(error))
        raise CaptureError(
            f"{type(module).__name__} cannot be captured for any batch of inputs like "
            f"{list(sample.shape)}: {reason}"
        ) from error
    _check_tensors(program)
    for node in _calls(program):
        _check_is_deterministic(node)
        _check_writes_to_own(node)
    if program._guards_code:
        raise CaptureError(f"the program holds only where {program._guards_code[0]}")
    _strip(program)
    return program


def input_node(program: ExportedProgram) -> fx.Node:
    """Find the placeholder of the input among those of the weights."""
    (name,) = program.graph_signature.user_inputs
    return _node(program, name)


def output_node(program: ExportedProgram) -> fx.Node:
    """Find the node whose value the program gives."""
    (name,) = program.graph_signature.user_outputs
    return _node(program, name)


def find_gradient_node(program: ExportedProgram) -> str:
    """Name the node at which gradients begin: the input, or its cast if it has no gradient."""
    node = input_node(program)
    if node.meta["val"].is_floating_point():
        return str(node.name)
    casts = [user for user in node.users if user.meta["val"].is_floating_point()]
    if len(casts) != 1:
        raise CaptureError(
            f"input {node.name} is {node.meta['val'].dtype} and is cast {len(casts)} times to "
            "floating point: gradients need exactly one place to begin"
        )
    return str(casts[0].name)


@contextlib.contextmanager
def silenced() -> Iterator[None]:
    """Keep back the two warnings that exporting gives about PyTorch's own code."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*LeafSpec.*", FutureWarning)
        # An expanded buffer is stored whole; its strides are stored beside it.
        warnings.filterwarnings("ignore", "No complete tensor found in the group", UserWarning)
        yield


def _check_tensors(program: ExportedProgram) -> None:
    outputs = program.graph_signature.user_outputs
    if len(outputs) != 1 or not program.call_spec.out_spec.is_leaf():
        raise CaptureError(
            f"the module gives {program.call_spec.out_spec}: one tensor (batch, classes) is "
            "expected; wrap it in a module that picks it"
        )
    given = output_node(program).meta["val"]
    if output_node(program) is input_node(program):
        raise CaptureError("the module gives its input back as it is")
    for what, tensor in (("input", input_node(program).meta["val"]), ("output", given)):
        sizes = list(tensor.shape)
        if not sizes or not isinstance(sizes[0], torch.SymInt):
            raise CaptureError(f"the {what} has the shape {sizes}: its first size must be dynamic")
        if any(isinstance(size, torch.SymInt) for size in sizes[1:]):
            raise CaptureError(f"the {what} has the shape {sizes}: only its rows may be dynamic")
    if given.dtype != torch.float32 or given.ndim != 2:
        raise CaptureError(
            f"the module gives {given.dtype} of shape {list(given.shape)}: float32 of shape "
            "(batch, classes) is expected"
        )


def _check_is_deterministic(node: fx.Node) -> None:
    """Refuse an operator that draws at random or learns from the batch."""
    for argument in ("train", "training", "dropout_p"):
        value = _argument(node, argument)
        if value is None:
            continue
        if value:
            raise CaptureError(
                f"{node.target} is live ({argument}={value}) in {_scope(node)}: in eval mode "
                "it must do nothing of the kind"
            )
        return
    if torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ()):
        raise CaptureError(
            f"{node.target} in {_scope(node)} draws at random: no two answers would agree"
        )


def _check_writes_to_own(node: fx.Node) -> None:
    """Refuse an operator that writes into a weight, a buffer or the input."""
    for written in _aliased(node, only_written=True):
        owner = written
        while owner.op == "call_function" and (views := _aliased(owner, only_written=False)):
            owner = views[0]
        if owner.op == "placeholder":
            raise CaptureError(
                f"{node.target} in {_scope(node)} writes into {owner.name}: a served network "
                "must leave its state and its input as they are"
            )


def _aliased(node: fx.Node, *, only_written: bool) -> list[fx.Node]:
    """List the arguments whose memory an operator writes into, or hands on."""
    found = []
    for position, argument in enumerate(_schema(node)):
        alias = argument.alias_info
        if alias is None or (only_written and not alias.is_write):
            continue
        value = node.args[position] if position < len(node.args) else node.kwargs.get(argument.name)
        if isinstance(value, fx.Node):
            found.append(value)
    return found


def _argument(node: fx.Node, name: str) -> object:
    for position, argument in enumerate(_schema(node)):
        if argument.name == name:
            if position < len(node.args):
                return node.args[position]
            return node.kwargs.get(name, argument.default_value)
    return None


def _schema(node: fx.Node) -> list[torch.Argument]:
    schema = getattr(node.target, "_schema", None)
    return [] if schema is None else list(schema.arguments)


def _scope(node: fx.Node) -> str:
    """Name the part of the module that an operator comes from."""
    stack = [scope for scope, _ in (node.meta.get("nn_module_stack") or {}).values() if scope]
    return f"module {stack[-1]!r}" if stack else "the module itself"


def _node(program: ExportedProgram, name: object) -> fx.Node:
    found: fx.Node = next(node for node in program.graph.nodes if node.name == name)
    return found


def _calls(program: ExportedProgram) -> Iterator[fx.Node]:
    for part in program.graph_module.modules():
        if isinstance(part, fx.GraphModule):
            yield from (node for node in part.graph.nodes if node.op == "call_function")


def _strip(program: ExportedProgram) -> None:
    """Take away what tells of the machine that traces: source paths and devices."""
    for node in list(_calls(program)):
        node.meta.pop("stack_trace", None)
        if node.target == torch.ops.aten._assert_tensor_metadata.default:
            # It pins a cast to this device; what comes in is checked before it is queued.
            node.graph.erase_node(node)
    program.graph_module.recompile()

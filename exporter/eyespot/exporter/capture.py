"""Capture: a module becomes one exported program, for any batch, certainly in eval mode.

Sizes that a request may choose, such as a picture's height, stay symbols in the program. What
PyTorch cannot prove of them for every size is left out of it; parity tries several sizes.
"""

from __future__ import annotations

import contextlib
import copy
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import fx, nn
from torch.export import Dim, ExportedProgram
from torch.fx.experimental import _config

from eyespot.exporter.errors import CaptureError
from eyespot.v1.manifest import DynamicAxis

BATCH = "batch"

# By number, for each input; the rows are axis 0 and need not be told.
Axes = Sequence[Mapping[int, DynamicAxis]]

# Two inputs share a dynamic size: the only guard that the server sees to itself.
_SAME_SIZE = re.compile(r"L\['\w+'\]\.size\(\)\[\d+\] == L\['\w+'\]\.size\(\)\[\d+\]")


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


def capture(
    module: nn.Module,
    samples: torch.Tensor | Sequence[torch.Tensor],
    *,
    axes: Axes = (),
    outputs: int = 1,
) -> ExportedProgram:
    """Trace a module that is in eval mode, with a dynamic batch dimension.

    Args:
        module: Takes one tensor or several and gives one or several, rows first in each.
        samples: One row or more of what it takes; the values do not matter.
        axes: Other dynamic sizes of each input.
        outputs: How many tensors the module should give.

    Raises:
        CaptureError: It cannot be traced, or the batch is fixed, or dropout, batch norm or
            another source of chance is live, or it changes its own state or its input.
    """
    samples = (samples,) if isinstance(samples, torch.Tensor) else tuple(samples)
    # A batch of 1 would be taken for a constant.
    example = tuple(torch.cat([sample, sample])[:2] for sample in samples)
    try:
        with silenced(), _any_size(any(axes)):
            program = torch.export.export(
                module,
                example,
                dynamic_shapes=_dynamic_shapes(len(samples), axes),
                prefer_deferred_runtime_asserts_over_guards=any(axes),
            )
    except Exception as error:  # whatever the module's own code raises
        reason = next((line for line in str(error).splitlines() if line.strip()), repr(error))
        shapes = ", ".join(str(list(sample.shape)) for sample in samples)
        raise CaptureError(
            f"{type(module).__name__} cannot be captured for any batch of inputs like "
            f"{shapes}: {reason}"
        ) from error
    _check_tensors(program, outputs)
    for node in _calls(program):
        _check_is_deterministic(node)
        _check_writes_to_own(node)
    guards = [guard for guard in program._guards_code if not _SAME_SIZE.fullmatch(guard)]
    if guards:
        raise CaptureError(f"the program holds only where {guards[0]}")
    program._guards_code = []
    _strip(program)
    return program


def input_nodes(program: ExportedProgram) -> list[fx.Node]:
    """Find the placeholders of the inputs among those of the weights."""
    return [_node(program, name) for name in program.graph_signature.user_inputs]


def output_nodes(program: ExportedProgram) -> list[fx.Node]:
    """Find the nodes whose values the program gives."""
    return [_node(program, name) for name in program.graph_signature.user_outputs]


def read_shapes(program: ExportedProgram, axes: Axes) -> list[tuple[int | str, ...]]:
    """Write the shapes of inputs and outputs, with dynamic sizes by their names.

    A size of an output that is neither fixed nor that of an input is written as a formula.
    """
    nodes = input_nodes(program)
    names = {str(nodes[0].meta["val"].shape[0].node.expr): BATCH}
    for node, named in zip(nodes, axes or [{}] * len(nodes), strict=True):
        for number, axis in named.items():
            names[str(node.meta["val"].shape[number].node.expr)] = axis.name
    return [
        tuple(_size(size, names) for size in node.meta["val"].shape)
        for node in [*nodes, *output_nodes(program)]
    ]


def find_gradient_node(program: ExportedProgram) -> str | None:
    """Name the node at which gradients begin: the input, or its cast if it has no gradient.

    None where there is no one place: several inputs, or symbols, of which there is no fraction.
    """
    nodes = input_nodes(program)
    if len(nodes) != 1 or nodes[0].meta["val"].dtype == torch.int64:
        return None
    (node,) = nodes
    if node.meta["val"].is_floating_point():
        return str(node.name)
    casts = [user for user in node.users if _is_floating(user)]
    if len(casts) != 1:
        raise CaptureError(
            f"input {node.name} is {node.meta['val'].dtype} and is cast {len(casts)} times to "
            "floating point: gradients need exactly one place to begin"
        )
    return str(casts[0].name)


@contextlib.contextmanager
def silenced() -> Iterator[None]:
    """Keep back the warnings that exporting gives about PyTorch's own code."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*LeafSpec.*", FutureWarning)
        # An expanded buffer is stored whole; its strides are stored beside it.
        warnings.filterwarnings("ignore", "No complete tensor found in the group", UserWarning)
        # Two inputs share a size, and its name.
        warnings.filterwarnings("ignore", ".*it shares the same shape constraints", UserWarning)
        yield


def _any_size(is_wanted: bool) -> contextlib.AbstractContextManager[Any]:
    """Keep the tracer from setting apart the size 1, where a stride or a broadcast means nothing.

    Else a map that is one pixel wide for the smallest picture forbids that picture.
    """
    patch: contextlib.AbstractContextManager[Any] = _config.patch(  # type: ignore[attr-defined]
        backed_size_oblivious=is_wanted
    )
    return patch


def _dynamic_shapes(inputs: int, axes: Axes) -> tuple[dict[int, Dim], ...]:
    """Declare each dynamic size once by its name, however many inputs share it."""
    declared = {BATCH: Dim(BATCH)}
    for axis in (axis for named in axes for axis in named.values()):
        declared.setdefault(axis.name, Dim(axis.name, min=axis.minimum))
    return tuple(
        {0: declared[BATCH], **{number: declared[axis.name] for number, axis in named.items()}}
        for named in axes or [{}] * inputs
    )


def _check_tensors(program: ExportedProgram, outputs: int) -> None:
    _check_structure(program, outputs)
    inputs, given = input_nodes(program), output_nodes(program)
    if any(node in inputs for node in given):
        raise CaptureError("the module gives its input back as it is")
    for what, nodes in (("input", inputs), ("output", given)):
        for node in nodes:
            _check_rows(what, node.meta["val"], inputs[0].meta["val"])
    for node in given:
        if node.meta["val"].dtype != torch.float32:
            raise CaptureError(f"the module gives {node.meta['val'].dtype}: float32 is expected")


def _check_structure(program: ExportedProgram, outputs: int) -> None:
    spec = program.call_spec.out_spec
    is_flat = spec.is_leaf() or (
        spec.type in (tuple, list)
        and all(spec.child(i).is_leaf() for i in range(spec.num_children))
    )
    if not is_flat or len(program.graph_signature.user_outputs) != outputs:
        expected = "one tensor" if outputs == 1 else f"a tuple of {outputs} tensors"
        raise CaptureError(
            f"the module gives {spec}: {expected} is expected; wrap it in a module that picks it"
        )


def _check_rows(what: str, value: object, first: torch.Tensor) -> None:
    if not isinstance(value, torch.Tensor):
        raise CaptureError(f"the {what} is {value}, which is no tensor")
    sizes = list(value.shape)
    if not sizes or not isinstance(sizes[0], torch.SymInt):
        raise CaptureError(f"the {what} has the shape {sizes}: its first size must be dynamic")
    if sizes[0].node.expr != first.shape[0].node.expr:
        raise CaptureError(f"the {what} has the shape {sizes}: its rows are not the input's")


def _size(size: int | torch.SymInt, names: Mapping[str, str]) -> int | str:
    if isinstance(size, int):
        return size
    return re.sub(r"\w+", lambda word: names.get(word[0], word[0]), str(size.node.expr))


def _is_floating(node: fx.Node) -> bool:
    value = node.meta.get("val")
    return isinstance(value, torch.Tensor) and value.is_floating_point()


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
    """Take away what tells of the machine that traces, and claims about sizes.

    A claim is what the tracer could not prove; an operator whose shapes do not fit still fails.
    """
    for node in reversed(list(program.graph.nodes)):
        if node.op == "call_function" and not node.users and _is_claim(node):
            node.graph.erase_node(node)
    for node in list(_calls(program)):
        node.meta.pop("stack_trace", None)
        if node.target == torch.ops.aten._assert_tensor_metadata.default:
            # It pins a cast to this device; what comes in is checked before it is queued.
            node.graph.erase_node(node)
    program.graph_module.recompile()


def _is_claim(node: fx.Node) -> bool:
    """Tell an assertion about sizes, or arithmetic on sizes that nothing uses any more."""
    return node.target is torch.ops.aten._assert_scalar.default or isinstance(
        node.meta.get("val"), torch.SymInt | torch.SymBool | torch.SymFloat | int | float
    )

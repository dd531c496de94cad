"""A captured program read from disk, and what is asked of its graph."""

import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, OutputKind
from torch.export.pt2_archive import PT2ArchiveReader
from torch.export.pt2_archive._package import load_pt2

from eyespot.saliency.errors import OriginalError, UnsafeOriginalError
from eyespot.saliency.original_file import check_original

# Changes a graph, given its leaf.
Edit: TypeAlias = Callable[[fx.Graph, fx.Node], None]

_RANKS = (2, 3, 4)
# Operators whose value never shares memory with what they take.
_GIVE_ANEW = {
    *(torch.ops.aten.conv1d.default, torch.ops.aten.conv2d.default, torch.ops.aten.conv3d.default),
    *(torch.ops.aten.linear.default, torch.ops.aten.batch_norm.default),
    *(torch.ops.aten.add.Tensor, torch.ops.aten.sub.Tensor),
    *(torch.ops.aten.mul.Tensor, torch.ops.aten.div.Tensor),
}


def read_program(path: Path) -> ExportedProgram:
    """Read a captured program; nothing in it is unpickled or evaluated.

    Raises:
        UnsafeOriginalError: the file holds more than numbers and a graph.
        OriginalError: it cannot be read.
    """
    try:
        reader = PT2ArchiveReader(str(path))
        check_original(reader.get_file_names(), reader.read_bytes)
        del reader
        with warnings.catch_warnings():
            # About PyTorch's own code, which reads structures of inputs in an older way.
            warnings.filterwarnings("ignore", ".*LeafSpec.*", FutureWarning)
            program: ExportedProgram = load_pt2(str(path)).exported_programs["model"]
    except UnsafeOriginalError as error:
        raise UnsafeOriginalError(f"{path.name} was not read: it {error}") from error
    except OriginalError as error:
        raise OriginalError(f"{path.name} {error}") from error
    except Exception as error:  # the reader raises whatever the damage makes it trip over
        raise OriginalError(f"{path.name} is no readable captured program: {error}") from error
    return program


def lifted_values(program: ExportedProgram) -> list[Tensor]:
    """The weights, buffers and constants, in the order in which the graph takes them."""
    values = []
    for spec in program.graph_signature.input_specs:
        if spec.kind is InputKind.USER_INPUT:
            continue
        target = spec.target
        assert target is not None
        value = program.state_dict.get(target)
        if value is None:
            value = program.constants.get(target)
        if not isinstance(value, Tensor):
            raise OriginalError(f"the captured program has no value for {target!r}")
        values.append(value.detach())  # no gradient is ever asked for: nothing is kept for it
    return values


def user_input(program: ExportedProgram) -> fx.Node:
    """The node of the one input."""
    names = program.graph_signature.user_inputs
    last = program.graph_signature.input_specs[-1]
    if len(names) != 1 or last.kind is not InputKind.USER_INPUT:
        raise OriginalError(f"the captured program takes {len(names)} inputs, expected one")
    return find_node(program.graph, names[0])


def user_output(program: ExportedProgram) -> fx.Node:
    """The node of the one output: a vector, a sequence or a map for each row."""
    outputs = program.graph_signature.output_specs
    kinds = [spec.kind for spec in outputs]
    if kinds != [OutputKind.USER_OUTPUT]:
        raise OriginalError(
            f"the captured program gives {[kind.name for kind in kinds]}, expected one output"
        )
    node = find_node(program.graph, outputs[0].arg.name)
    shape = node.meta["val"].shape
    classes = shape[2 if len(shape) == 3 else 1] if len(shape) in _RANKS else None
    if not isinstance(classes, int):
        raise OriginalError(
            f"the captured program gives {list(shape)}, expected logits of shape "
            "(batch, classes), (batch, steps, classes) or (batch, classes, height, width)"
        )
    return node


def find_node(graph: fx.Graph, name: str) -> fx.Node:
    """The node of a name."""
    node: fx.Node
    for node in graph.nodes:
        if node.name == name:
            return node
    raise OriginalError(f"the captured program has no node {name!r}")


def known_sizes(sizes: Iterable[int | torch.SymInt]) -> tuple[int | None, ...]:
    """A shape with None for each size that varies."""
    return tuple(size if isinstance(size, int) else None for size in sizes)


def nodes_on_path(start: fx.Node) -> set[fx.Node]:
    """A node and all whose value depends on it."""
    found = {start}
    node = start
    while (node := node.next).op != "root":
        if not found.isdisjoint(node.all_input_nodes):
            found.add(node)
    return found


def in_order(nodes: set[fx.Node]) -> list[fx.Node]:
    """Nodes of one graph in the order of the computation."""
    return sorted(nodes)


def compile_graph(
    graph: fx.Graph, *, leaf: str | None = None, edit: Edit | None = None
) -> fx.GraphModule:
    """Compile a graph to Python once, which costs less per call than interpreting its nodes.

    Args:
        graph: is left as it is.
        leaf: name of a node; a leaf is put in its place, and given before the outputs, so
            that one call yields both ends of the path that is differentiated.
        edit: changes the copy that is compiled, which has such a leaf.
    """
    own = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}  # by node and not by name: a copy may be renamed
    outputs = own.graph_copy(graph, copies)
    assert isinstance(outputs, list | tuple)
    if leaf is None:
        own.output(outputs)
    else:
        found = _put_leaf(own, copies[find_node(graph, leaf)])
        own.output((found, *outputs))
        if edit is not None:
            edit(own, found)
    for node in list(own.nodes):
        # It pins the input's type; what comes in is checked before, and may be floating point.
        if node.target == torch.ops.aten._assert_tensor_metadata.default:
            own.erase_node(node)
    own.lint()
    return fx.GraphModule(torch.nn.Module(), own)


def _put_leaf(graph: fx.Graph, node: fx.Node) -> fx.Node:
    users = set(node.users)
    last = node
    while last.next.op == "placeholder":
        last = last.next
    with graph.inserting_after(last):
        leaf = graph.call_function(_make_leaf, (node,))
    leaf.meta = dict(node.meta)
    node.replace_all_uses_with(leaf, delete_user_cb=users.__contains__)
    if any(user.target not in _GIVE_ANEW for user in users):
        # What goes on through the graph may be written into, and a leaf must not be.
        with graph.inserting_after(leaf):
            value = graph.call_function(torch.clone, (leaf,))
        value.meta = dict(node.meta)
        leaf.replace_all_uses_with(value, delete_user_cb=lambda user: user is not value)
    return leaf


def _make_leaf(value: Tensor) -> Tensor:
    """A tensor of its own to differentiate with respect to."""
    return value.detach().requires_grad_()


def operator_name(node: fx.Node) -> str:
    """How an operator is called in messages, such as aten.conv2d."""
    target: Any = node.target
    packet = getattr(target, "overloadpacket", None)
    if packet is not None:
        return str(packet)
    return str(getattr(target, "__name__", target))

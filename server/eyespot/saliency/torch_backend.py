"""Gradients by PyTorch on the captured program: the only file here that imports torch.

The program's graph is taken as it was captured. At `gradient_node` a leaf is put into it,
and the program gives that leaf beside its logits; so one call yields both ends of the path
that is differentiated, and nothing is ever stored on the module. Compiling the graph to
Python once (`fx.GraphModule`) costs less per call than interpreting its nodes.
"""

import os
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, OutputKind
from torch.export.pt2_archive import PT2ArchiveReader
from torch.export.pt2_archive._package import load_pt2

from eyespot.saliency.backend import TOP_CLASS, Gradients, check_score, check_targets
from eyespot.saliency.errors import ArgumentError, OriginalError, UnsafeOriginalError
from eyespot.saliency.original_file import check_original


class TorchBackend:
    """A captured program and its weights, frozen.

    Args:
        program: takes one tensor and gives one, (B, K).
        gradient_node: name of the node whose value is differentiated with respect to.
        num_threads: threads of each operator; PyTorch's own choice unless given.

    Raises:
        OriginalError: the program has no such node, or other inputs and outputs.
    """

    name = "torch"

    def __init__(
        self, program: ExportedProgram, *, gradient_node: str, num_threads: int | None = None
    ) -> None:
        self._num_threads = num_threads
        self._weights = _lifted_values(program)
        self._dtype = _user_input(program).meta["val"].dtype
        self.classes = _classes(program)
        self._forward = _compile(program.graph)
        self._forward_from_leaf = _compile_with_leaf(program.graph, gradient_node)

    @classmethod
    def load(
        cls,
        original_path: str | os.PathLike[str],
        *,
        gradient_node: str,
        num_threads: int | None = None,
    ) -> "TorchBackend":
        """Read a captured program from disk; nothing in it is unpickled or evaluated.

        Raises:
            UnsafeOriginalError: the file holds more than numbers and a graph.
            OriginalError: it cannot be read, or cannot be differentiated.
        """
        program = _read(Path(original_path))
        return cls(program, gradient_node=gradient_node, num_threads=num_threads)

    def scores(self, x: NDArray[np.generic]) -> NDArray[np.float32]:
        """The logits (B, K) of a batch."""
        self._set_num_threads()
        with torch.no_grad():
            (logits,) = self._forward(*self._weights, self._to_tensor(x))
        return _to_array(logits)

    def gradients(
        self, x: NDArray[np.generic], targets: NDArray[np.int64], *, score: str
    ) -> Gradients:
        """Differentiate each row's score of its target once, for the whole batch."""
        check_score(score, classes=self.classes)
        check_targets(targets, rows=len(x), classes=self.classes)
        self._set_num_threads()
        with torch.enable_grad():
            leaf, logits = self._forward_from_leaf(*self._weights, self._to_tensor(x))
            classes = torch.from_numpy(targets.copy())
            classes = torch.where(classes == TOP_CLASS, logits.detach().argmax(1), classes)
            scores = _SCORES[score](logits, classes)  # (B, K) -> (B,)
            (gradients,) = torch.autograd.grad(scores.sum(), leaf)
        return Gradients(
            logits=_to_array(logits),
            targets=classes.numpy(),
            scores=_to_array(scores),
            gradients=_to_array(gradients),
        )

    def _to_tensor(self, x: NDArray[np.generic]) -> Tensor:
        # A copy: arrays from the wire are read-only, and a network may write into its input.
        tensor = torch.from_numpy(np.array(x, order="C"))
        if tensor.dtype != self._dtype:
            raise ArgumentError(f"the network takes {self._dtype}, found {tensor.dtype}")
        return tensor

    def _set_num_threads(self) -> None:
        """The number belongs to the calling thread, so each call sees to it."""
        if self._num_threads not in (None, torch.get_num_threads()):
            torch.set_num_threads(self._num_threads)


def _logit(logits: Tensor, classes: Tensor) -> Tensor:
    return logits.gather(1, classes[:, None])[:, 0]


def _probability(logits: Tensor, classes: Tensor) -> Tensor:
    return _logit(logits.softmax(1), classes)


def _binary_logit(logits: Tensor, classes: Tensor) -> Tensor:
    is_target = torch.nn.functional.one_hot(classes, logits.shape[1]).bool()  # (B, K)
    others = logits.masked_fill(is_target, -torch.inf)
    return _logit(logits, classes) - others.logsumexp(1)


def _binary_probability(logits: Tensor, classes: Tensor) -> Tensor:
    return _binary_logit(logits, classes).sigmoid()


_SCORES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "logit": _logit,
    "probability": _probability,
    "binary_logit": _binary_logit,
    "binary_probability": _binary_probability,
}


def _to_array(tensor: Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = np.ascontiguousarray(tensor.detach().numpy(), np.float32)
    return array


def read_original(path: Path) -> ExportedProgram:
    """Read a captured program from disk; nothing in it is unpickled or evaluated.

    Raises:
        UnsafeOriginalError: the file holds more than numbers and a graph.
        OriginalError: it cannot be read.
    """
    return _read(path)


def _read(path: Path) -> ExportedProgram:
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


def _lifted_values(program: ExportedProgram) -> list[Tensor]:
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


def _user_input(program: ExportedProgram) -> fx.Node:
    names = program.graph_signature.user_inputs
    last = program.graph_signature.input_specs[-1]
    if len(names) != 1 or last.kind is not InputKind.USER_INPUT:
        raise OriginalError(f"the captured program takes {len(names)} inputs, expected one")
    return _node(program.graph, names[0])


def _classes(program: ExportedProgram) -> int:
    outputs = program.graph_signature.output_specs
    kinds = [spec.kind for spec in outputs]
    if kinds != [OutputKind.USER_OUTPUT]:
        raise OriginalError(
            f"the captured program gives {[kind.name for kind in kinds]}, expected one output"
        )
    shape = _node(program.graph, outputs[0].arg.name).meta["val"].shape
    if len(shape) != 2 or not isinstance(shape[1], int):
        raise OriginalError(
            f"the captured program gives {list(shape)}, expected logits of shape (batch, classes)"
        )
    return shape[1]


def _node(graph: fx.Graph, name: str) -> fx.Node:
    node: fx.Node
    for node in graph.nodes:
        if node.name == name:
            return node
    raise OriginalError(f"the captured program has no node {name!r}")


def _compile(graph: fx.Graph) -> fx.GraphModule:
    own = fx.Graph()
    own.output(own.graph_copy(graph, {}))
    return fx.GraphModule(torch.nn.Module(), own)


def _compile_with_leaf(graph: fx.Graph, gradient_node: str) -> fx.GraphModule:
    """Put a leaf at a node, and give that leaf before the logits."""
    found = _node(graph, gradient_node)
    if not found.meta["val"].is_floating_point():
        raise OriginalError(f"{gradient_node!r} holds no floating point numbers to differentiate")
    own = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}  # by node and not by name: a copy may be renamed
    logits = own.graph_copy(graph, copies)
    node = last = copies[found]
    users = set(node.users)
    while last.next.op == "placeholder":
        last = last.next
    with own.inserting_after(last):
        leaf = own.call_function(_make_leaf, (node,))
    with own.inserting_after(leaf):
        value = own.call_function(torch.clone, (leaf,))
    node.replace_all_uses_with(value, delete_user_cb=users.__contains__)
    assert isinstance(logits, list | tuple)
    own.output((leaf, *logits))
    own.lint()
    return fx.GraphModule(torch.nn.Module(), own)


def _make_leaf(value: Tensor) -> Tensor:
    """A tensor of its own to differentiate with respect to.

    Its clone goes on through the graph: the network may rectify it in place.
    """
    return value.detach().requires_grad_()

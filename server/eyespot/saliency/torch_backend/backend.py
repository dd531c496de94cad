"""The backend itself: one captured program, frozen, and its graph compiled for each rule.

The program's graph is taken as it was captured. Where something is differentiated with
respect to, a leaf is put into it, and the program gives that leaf beside its outputs; so
one call yields both ends of the path, and nothing is ever stored on the module.
"""

import copy
import functools
import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx
from torch.export import ExportedProgram

from eyespot.saliency.backend import Gradients, Layer, LinearHead, Rectifier
from eyespot.saliency.errors import ArgumentError, OriginalError
from eyespot.saliency.objective import Objective
from eyespot.saliency.rows_at_once import MOST_ROWS, best_rows, row_does_not_fit
from eyespot.saliency.torch_backend import layers
from eyespot.saliency.torch_backend.deep_lift import check_rescale, rescale
from eyespot.saliency.torch_backend.device import CPU, find_device, move_program
from eyespot.saliency.torch_backend.lrp import check_relevance, propagate_relevance
from eyespot.saliency.torch_backend.memory import bytes_per_row
from eyespot.saliency.torch_backend.parts import run_in_parts
from eyespot.saliency.torch_backend.program import (
    Edit,
    compile_graph,
    find_node,
    known_sizes,
    lifted_values,
    read_program,
    user_input,
    user_output,
)
from eyespot.saliency.torch_backend.randomisation import nudge, randomise, weight_layers
from eyespot.saliency.torch_backend.rectifiers import (
    check_rectifiers,
    count_rectifiers,
    deconvolve,
    guide,
)

# Variants of the graph that are kept: rules times layers.
_KEPT_VARIANTS = 32
# The same for relevance, of which anyone may ask for other numbers each time.
_KEPT_RELEVANCE_VARIANTS = 4
_RECTIFIERS: dict[str, Edit | None] = {"derivative": None, "guided": guide, "deconvnet": deconvolve}


class TorchBackend:
    """A captured program and its weights, frozen.

    Args:
        program: takes one tensor and gives one: (B, K), (B, T, K) or (B, K, H, W).
        gradient_node: name of the node whose value is differentiated with respect to.
        channel_axis: of the input; None when it has no channels.
        num_threads: threads of each operator; PyTorch's own choice unless given.
        memory_mib: most memory that one call may take beside the weights.
        device: where it is computed; the program is moved there. Arrays come and go on the host.

    Raises:
        OriginalError: the program has no such node, or other inputs and outputs.
    """

    name = "torch"

    def __init__(
        self,
        program: ExportedProgram,
        *,
        gradient_node: str,
        channel_axis: int | None = 1,
        num_threads: int | None = None,
        memory_mib: int | None = None,
        device: torch.device = CPU,
    ) -> None:
        program = move_program(program, device)
        self.channel_axis = channel_axis
        self._device = device
        self._num_threads = num_threads
        self._memory_mib = memory_mib
        self._weights = lifted_values(program)
        self._weight_layers = weight_layers(program)
        self._graph = program.graph
        self._input = user_input(program)
        self._output = user_output(program)
        self._dtype = self._input.meta["val"].dtype
        self._start = find_node(program.graph, gradient_node)
        self._float_dtype = self._start.meta["val"].dtype
        if not self._float_dtype.is_floating_point:
            raise OriginalError(
                f"{gradient_node!r} holds no floating point numbers to differentiate"
            )
        self.output_shape = known_sizes(self._output.meta["val"].shape[1:])
        self._forward = compile_graph(program.graph)
        # Per instance: the variants go when the backend goes.
        self._variant = functools.lru_cache(_KEPT_VARIANTS)(self._compile_variant)
        self._relevance_variant = functools.lru_cache(_KEPT_RELEVANCE_VARIANTS)(
            self._compile_relevance_variant
        )
        self._bytes_per_row = functools.lru_cache(_KEPT_VARIANTS)(self._estimate_bytes_per_row)
        self._variant("derivative", None)

    @classmethod
    def load(
        cls,
        original_path: str | os.PathLike[str],
        *,
        gradient_node: str,
        channel_axis: int | None = 1,
        num_threads: int | None = None,
        memory_mib: int | None = None,
        device: str = "cpu",
    ) -> "TorchBackend":
        """Read a captured program from disk; nothing in it is unpickled or evaluated.

        Where PyTorch cannot use the device of a name such as "cuda:0", the CPU computes.

        Raises:
            UnsafeOriginalError: the file holds more than numbers and a graph.
            OriginalError: it cannot be read, or cannot be differentiated.
        """
        return cls(
            read_program(Path(original_path)),
            gradient_node=gradient_node,
            channel_axis=channel_axis,
            num_threads=num_threads,
            memory_mib=memory_mib,
            device=find_device(device),
        )

    def rows_at_once(self, row_shape: tuple[int, ...]) -> int:
        """How many rows one call should have: what is best, within the bound of memory."""
        rows = self._rows_within_bound(row_shape)
        if rows < 1:
            raise row_does_not_fit(row_shape, self._bytes_per_row(row_shape), self._memory_mib)
        return best_rows(row_shape, within=rows)

    def scores(self, x: NDArray[np.generic]) -> NDArray[np.float32]:
        """The outputs (B, ...) of a batch."""
        (outputs,) = self._compute(self._forward, x)
        return outputs

    def activations(
        self, x: NDArray[np.generic], layer: str
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The outputs (B, ...) and the maps (B, C, H, W) of a layer."""
        maps, outputs = self._compute(self._variant("derivative", self.find_layer(layer)), x)
        return outputs, maps

    def gradients(
        self,
        x: NDArray[np.generic],
        objective: Objective,
        *,
        rectifier: Rectifier = "derivative",
        layer: str | None = None,
    ) -> Gradients:
        """Differentiate each row's scores, for the whole batch at once."""
        node = None if layer is None else self.find_layer(layer)
        return self._differentiate(self._variant(rectifier, node), x, objective)

    def multipliers(
        self, x: NDArray[np.generic], baselines: NDArray[np.generic], objective: Objective
    ) -> Gradients:
        """DeepLIFT's multipliers by the rescale rule, in place of gradients."""
        self.check_multipliers()
        run = self._variant("rescale", None)
        return self._differentiate(run, x, objective, baselines=baselines)

    def relevance(
        self, x: NDArray[np.generic], objective: Objective, *, epsilon: float, gamma: float
    ) -> Gradients:
        """The relevance of each element of the input, in place of gradients."""
        self.check_relevance()
        run = self._relevance_variant(epsilon, gamma)
        return self._differentiate(run, x, objective, begins_with_scores=True)

    @property
    def rectifier_count(self) -> int:
        """How many rectifiers gradients pass."""
        return count_rectifiers(self._start)

    def bytes_per_row(self, row_shape: tuple[int, ...]) -> int:
        """Estimate the memory that one row takes there and back."""
        return self._bytes_per_row(row_shape)

    def check_rectifiers(self) -> None:
        """Raise UnavailableMethodError if no rectifier is there for another rule."""
        check_rectifiers(self._start)

    def check_multipliers(self) -> None:
        """Raise UnavailableMethodError if `multipliers` would."""
        check_rescale(self._start)

    def check_relevance(self) -> None:
        """Raise UnavailableMethodError if `relevance` would."""
        check_relevance(self._start)

    def layers(self) -> tuple[Layer, ...]:
        """Every place that holds spatial maps, in the order of the computation."""
        return layers.spatial_layers(self._start, self._output)

    def find_layer(self, name: str) -> str:
        """The layer of a name; of the empty name, the last spatial map before pooling."""
        return layers.find_layer(self._start, self._output, name)

    def linear_head(self) -> LinearHead:
        """The end of the network, where it is a pool and one linear layer."""
        pooled, weights = layers.find_head(self._start, self._output)
        placeholders = [node for node in self._graph.nodes if node.op == "placeholder"]
        value = self._weights[placeholders.index(weights)]
        return LinearHead(pooled.name, _to_array(value))

    def weight_layers(self) -> tuple[str, ...]:
        """Every layer that has weights, in the order of the computation."""
        return tuple(layer.name for layer in self._weight_layers)

    def randomised(self, layers: Collection[str], *, seed: int) -> "TorchBackend":
        """The same network with the weights of some layers in random order."""
        other = copy.copy(self)  # compiled graphs are shared: they take the weights each time
        other._weights = randomise(self._weights, self._weight_layers, layers, seed=seed)
        return other

    def nudged(self, *, seed: int) -> "TorchBackend":
        """The same network but for rounding: each weight is a number next to what it was."""
        other = copy.copy(self)
        other._weights = nudge(self._weights, seed=seed)
        return other

    def _compute(self, run: fx.GraphModule, x: NDArray[np.generic]) -> list[NDArray[np.float32]]:
        """What a variant of the graph gives, where nothing is differentiated."""
        self._set_num_threads()

        def compute(index: NDArray[np.int64]) -> list[NDArray[np.float32]]:
            return [_to_array(each) for each in run(*self._weights, self._to_tensor(x[index]))]

        with torch.no_grad():
            parts = run_in_parts(compute, rows=len(x), at_once=self._rows_to_compute(x))
        return [_join(each) for each in zip(*parts, strict=True)]

    def _differentiate(
        self,
        run: fx.GraphModule,
        x: NDArray[np.generic],
        objective: Objective,
        *,
        baselines: NDArray[np.generic] | None = None,
        begins_with_scores: bool = False,
    ) -> Gradients:
        """Run a variant of the graph forward once, and backward once for each target of a row.

        Args:
            run: gives a leaf and the outputs.
            x: (B, ...)
            objective: of these rows.
            baselines: (B, ...), run behind the rows, in the same batch.
            begins_with_scores: whether what runs backward is multiplied by the outputs.
        """
        objective.check(self.output_shape, rows=len(x))
        self._set_num_threads()
        size = self._rows_to_differentiate(x)
        if baselines is not None and self._memory_mib is not None:
            size = max(1, size // 2)  # each row has its baseline beside it

        def differentiate(index: NDArray[np.int64]) -> Gradients:
            given = x[index] if baselines is None else np.concatenate([x[index], baselines[index]])
            own = objective if len(index) == len(x) else objective.of_rows(index, rows=len(x))
            return self._differentiate_part(run, given, own, len(index), begins_with_scores)

        parts = run_in_parts(differentiate, rows=len(x), at_once=size)
        if len(parts) == 1:
            return parts[0]
        at_baselines = [p.baseline_scores for p in parts if p.baseline_scores is not None]
        return Gradients(
            classes=np.concatenate([part.classes for part in parts]),
            scores=np.concatenate([part.scores for part in parts]),
            gradients=np.concatenate([part.gradients for part in parts]),
            values=np.concatenate([part.values for part in parts]),
            baseline_scores=np.concatenate(at_baselines) if at_baselines else None,
        )

    def _differentiate_part(
        self,
        run: fx.GraphModule,
        given: NDArray[np.generic],
        objective: Objective,
        rows: int,
        begins_with_scores: bool,
    ) -> Gradients:
        with torch.enable_grad():
            leaf, outputs = run(*self._weights, self._to_tensor(given))
            own, of_baselines = _to_array(outputs[:rows]), _to_array(outputs[rows:])
            objective = objective.resolve(own)
            scored = objective(own)
            begin = scored.derivatives
            if begins_with_scores:
                begin = begin * np.repeat(own, objective.per_row(rows), axis=0)
            gradients = _pull_back(leaf, outputs, begin, rows)
        return Gradients(
            scored.classes,
            scored.values,
            gradients,
            _to_array(leaf[:rows]),
            objective(of_baselines).values if len(of_baselines) else None,
        )

    def _rows_to_differentiate(self, x: NDArray[np.generic]) -> int:
        return len(x) if self._memory_mib is None else self.rows_at_once(x.shape[1:])

    def _rows_within_bound(self, row_shape: tuple[int, ...]) -> int:
        if self._memory_mib is None:
            return MOST_ROWS
        return self._memory_mib * 2**20 // self._bytes_per_row(row_shape)

    def _rows_to_compute(self, x: NDArray[np.generic]) -> int:
        """How many rows go through the graph at once, where nothing is differentiated."""
        return len(x) if self._memory_mib is None else max(1, self._rows_within_bound(x.shape[1:]))

    def _compile_variant(self, rule: str, layer: str | None) -> fx.GraphModule:
        edit = rescale if rule == "rescale" else _RECTIFIERS[rule]
        return compile_graph(self._graph, leaf=layer or self._start.name, edit=edit)

    def _compile_relevance_variant(self, epsilon: float, gamma: float) -> fx.GraphModule:
        edit = functools.partial(propagate_relevance, epsilon=epsilon, gamma=gamma)
        return compile_graph(self._graph, leaf=self._start.name, edit=edit)

    def _estimate_bytes_per_row(self, row_shape: tuple[int, ...]) -> int:
        return bytes_per_row(self._input, row_shape, is_differentiated=True)

    def _to_tensor(self, x: NDArray[np.generic]) -> Tensor:
        # A copy: arrays from the wire are read-only, and a network may write into its input.
        tensor = torch.from_numpy(np.array(x, order="C"))
        # The cast that begins a network of pixels leaves floating point as it is.
        if tensor.dtype not in (self._dtype, self._float_dtype):
            raise ArgumentError(f"the network takes {self._dtype}, found {tensor.dtype}")
        return tensor.to(self._device)

    def _set_num_threads(self) -> None:
        """The number belongs to the calling thread, so each call sees to it."""
        if self._num_threads not in (None, torch.get_num_threads()):
            torch.set_num_threads(self._num_threads)


def _pull_back(
    leaf: Tensor, outputs: Tensor, begin: NDArray[np.float32], rows: int
) -> NDArray[np.float32]:
    """Carry derivatives (N, ...) of the rows' outputs back to the leaf; the graph goes with it."""
    per_row = len(begin) // rows
    targets = torch.from_numpy(begin).to(outputs)  # of its type, and where it is
    targets = targets.view(rows, per_row, *outputs.shape[1:])
    found = []
    for number in range(per_row):
        cotangent = targets[:, number]
        if len(outputs) > rows:  # nothing is asked of the baselines
            cotangent = torch.cat([cotangent, torch.zeros_like(outputs[rows:])])
        (gradient,) = torch.autograd.grad(
            outputs, leaf, cotangent, retain_graph=number + 1 < per_row
        )
        found.append(_to_array(gradient[:rows]))
    if per_row == 1:
        return found[0]
    stacked = np.stack(found, axis=1)  # (B, N / B, ...)
    return stacked.reshape(len(begin), *stacked.shape[2:])


def _to_array(tensor: Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = np.ascontiguousarray(tensor.detach().cpu().numpy(), np.float32)
    return array


def _join(parts: Sequence[NDArray[Any]]) -> NDArray[Any]:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)

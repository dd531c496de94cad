"""Saliency by ONNX Runtime on gradient graphs that were written at export; nothing of torch.

A gradient graph takes the input in floating point and the derivative of the score by the
output, and gives the output and the gradient. So the score stays arithmetic on arrays. Where
that derivative depends on the output, the output is computed first; the one that everybody
asks for, the top class's logit, the graph finds by itself.
"""

import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from eyespot.saliency.backend import Gradients, Layer, LinearHead, Rectifier, to_float
from eyespot.saliency.errors import (
    ArgumentError,
    LayerError,
    UnavailableMethodError,
)
from eyespot.saliency.layer_names import named_layer, nearest_names
from eyespot.saliency.objective import TOP_CLASS, Objective
from eyespot.saliency.rows_at_once import MOST_ROWS, best_rows, row_does_not_fit

Array = NDArray[np.generic]
# Runs a graph: inputs by their names, and the names of the outputs that are wanted.
RunGraph = Callable[[Mapping[str, Array], Sequence[str]], Mapping[str, Array]]

# In gradient graphs, beside the input and the output of the network; no name of PyTorch's has
# such a character.
COTANGENT = "$cotangent"  # as the output: the derivative of the score by it
TOP = "$top"  # (B, 1): what is added to that of the row's top class; only of a vector
GRADIENT = "$gradient"
LAYER = "$layer"
LAYER_GRADIENT = "$layer_gradient"

_SPARING_BYTES = 64 << 20  # of the rows of a call that could do with less of them


def outputs_of_layer(layer: str = "") -> tuple[str, str]:
    """Name the outputs of a layer: its maps and their gradient.

    Args:
        layer: Its name; empty for the one where none is named, and the only one of its file.
    """
    return (f"{LAYER}:{layer}", f"{LAYER_GRADIENT}:{layer}") if layer else (LAYER, LAYER_GRADIENT)


_ONLY_TORCH = (
    "needs PyTorch on the server (pip install 'eyespot[explain]', and no --explain-backend onnx)"
)


@dataclass(frozen=True, eq=False)
class GradientGraphSet:
    """The gradient graphs of one network; each is opened when it is first asked for.

    Attributes:
        open_graph: By how gradients pass rectifiers, and by the layer that it is of alone.
        input: Its name.
        output: Its name.
        output_shape: Without the rows.
        layers: Whose maps there are; the first where none is named.
        bytes_per_element: Of a row: the memory that there and back take.
        no_rectifiers: Why rectifiers have no rule but their own; empty where they have.
        no_layer: Why there are no maps, where there is a reason.
    """

    open_graph: Callable[[Rectifier, str | None], RunGraph]
    input: str
    output: str
    output_shape: tuple[int | None, ...]
    layers: tuple[Layer, ...]
    bytes_per_element: float
    no_rectifiers: str = ""
    no_layer: str = "the gradient graphs of this version have no layer of spatial maps"


class GraphBackend:
    """Gradient graphs, and the served graph for whoever wants no more than scores.

    Args:
        graphs: Of the network.
        channel_axis: Of the input; None when it has no channels.
        memory_mib: Most memory that one call may take beside the weights.
        is_sparing: Whether a call takes few rows where more would take much memory.
    """

    name = "onnxruntime"

    def __init__(
        self,
        graphs: GradientGraphSet,
        *,
        channel_axis: int | None = 1,
        memory_mib: int | None = None,
        is_sparing: bool = False,
    ) -> None:
        self.channel_axis = channel_axis
        self.output_shape = graphs.output_shape
        self._graphs = graphs
        self._memory_mib = memory_mib
        self._is_sparing = is_sparing
        # Per instance: the sessions go when the backend goes.
        self._open = functools.cache(graphs.open_graph)

    def rows_at_once(self, row_shape: tuple[int, ...]) -> int:
        """How many rows one call should have: what is best, within the bound of memory."""
        rows = self._rows_within_bound(row_shape)
        if rows < 1:
            raise row_does_not_fit(row_shape, self._bytes_per_row(row_shape), self._memory_mib)
        if self._is_sparing:
            rows = min(rows, max(1, _SPARING_BYTES // self._bytes_per_row(row_shape)))
        return best_rows(row_shape, within=rows)

    def scores(self, x: NDArray[np.generic]) -> NDArray[np.float32]:
        """The outputs (B, ...) of a batch."""
        return _join([self._forward(x[part]) for part in self._parts(x)])

    def activations(
        self, x: NDArray[np.generic], layer: str
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The outputs (B, ...) and the maps (B, C, H, W) of a layer."""
        run = self._open("derivative", self.find_layer(layer))
        outputs = [self._run(run, x[part], (self._graphs.output, LAYER)) for part in self._parts(x)]
        return _join([each[0] for each in outputs]), _join([each[1] for each in outputs])

    def gradients(
        self,
        x: NDArray[np.generic],
        objective: Objective,
        *,
        rectifier: Rectifier = "derivative",
        layer: str | None = None,
    ) -> Gradients:
        """Differentiate each row's scores, for the whole batch at once."""
        objective.check(self.output_shape, rows=len(x))
        if rectifier != "derivative":
            self.check_rectifiers()
        if layer is not None:
            layer = self.find_layer(layer)
        run = self._open(rectifier, layer if rectifier == "derivative" else None)
        outputs = self._outputs(rectifier, layer)
        found = [
            self._differentiate(run, x[part], own, outputs)
            for part in self._parts(x)
            for own in [objective.of_rows(part, rows=len(x))]
        ]
        return Gradients(
            classes=np.concatenate([each.classes for each in found]),
            scores=np.concatenate([each.scores for each in found]),
            gradients=np.concatenate([each.gradients for each in found]),
            values=np.concatenate([each.values for each in found]),
        )

    def multipliers(
        self, x: NDArray[np.generic], baselines: NDArray[np.generic], objective: Objective
    ) -> Gradients:
        """Refuse: DeepLIFT's rule is no gradient."""
        raise UnavailableMethodError(f"deep_lift {_ONLY_TORCH}")

    def relevance(
        self, x: NDArray[np.generic], objective: Objective, *, epsilon: float, gamma: float
    ) -> Gradients:
        """Refuse: relevance is no gradient."""
        raise UnavailableMethodError(f"lrp {_ONLY_TORCH}")

    def check_rectifiers(self) -> None:
        """Raise UnavailableMethodError if there are no graphs with another rule."""
        if self._graphs.no_rectifiers:
            raise UnavailableMethodError(self._graphs.no_rectifiers)

    def check_multipliers(self) -> None:
        """Raise UnavailableMethodError, as `multipliers`."""
        raise UnavailableMethodError(f"deep_lift {_ONLY_TORCH}")

    def check_relevance(self) -> None:
        """Raise UnavailableMethodError, as `relevance`."""
        raise UnavailableMethodError(f"lrp {_ONLY_TORCH}")

    def layers(self) -> tuple[Layer, ...]:
        """The places whose maps and gradients were written at export."""
        return self._graphs.layers

    def find_layer(self, name: str) -> str:
        """The layer of a name, or that a module ends in; of none, the last before pooling."""
        layers = self._graphs.layers
        if not layers:
            raise LayerError(self._graphs.no_layer)
        if not name:
            return layers[0].name
        found = named_layer(name, layers)
        if found is None:
            there = ", ".join(" in ".join((each.name, *each.modules[:1])) for each in layers)
            raise LayerError(
                f"layer {name!r} is none of those with gradient graphs ({there}); "
                f"{nearest_names(name, layers)}any other {_ONLY_TORCH}, or an export with "
                "--gradient-layer NAME"
            )
        return found

    def linear_head(self) -> LinearHead:
        """Refuse: the weights of the head are not read."""
        raise UnavailableMethodError(
            f"cam {_ONLY_TORCH}; or ask for grad_cam, which shows the same where cam is possible"
        )

    def _outputs(self, rectifier: Rectifier, layer: str | None) -> list[str]:
        """The outputs to ask for: the gradient, and by a layer its maps too."""
        if layer is None:
            return [GRADIENT]
        # Graphs of other rules have all layers, and the derivative's each one alone.
        is_only = rectifier == "derivative" or layer == self.find_layer("")
        maps, gradient = outputs_of_layer("" if is_only else layer)
        return [gradient, maps]

    def _differentiate(
        self, run: RunGraph, x: Array, objective: Objective, names: Sequence[str]
    ) -> Gradients:
        """Run forward and backward once for each target of a row."""
        graphs, per_row = self._graphs, objective.per_row(len(x))
        objective, cotangent, top = self._begin(x, objective)
        wanted = [graphs.output, *names]
        repeated = x if per_row == 1 else np.repeat(x, per_row, axis=0)  # (N, ...)
        outputs, found, *maps = self._run(run, repeated, wanted, cotangent=cotangent, top=top)
        scored = objective(outputs[::per_row])
        at = maps[0][::per_row] if maps else np.asarray(to_float(x), np.float32)
        return Gradients(scored.classes, scored.values, found, at)

    def _begin(
        self, x: Array, objective: Objective
    ) -> tuple[Objective, NDArray[np.float32], NDArray[np.float32] | None]:
        """Where the backward pass begins: the derivatives (N, ...), and shares of top classes."""
        count = len(objective.targets)
        if not _is_known_before(objective, self.output_shape):
            outputs = self._forward(x)
            objective = objective.resolve(outputs)
            return objective, objective(outputs).derivatives, None
        targets = objective.targets
        is_top = targets.classes == TOP_CLASS  # (N,)
        classes = np.where(is_top, 0, targets.classes)
        named = replace(objective, targets=replace(targets, classes=classes))
        zeros = np.zeros((count, *map(int, self.output_shape)), np.float32)  # type: ignore[arg-type]
        derivatives = named(zeros).derivatives
        derivatives[is_top] = 0
        return objective, derivatives, is_top.astype(np.float32)[:, None]

    def _forward(self, x: Array) -> NDArray[np.float32]:
        """The outputs, by the shortest of the graphs."""
        layers = self._graphs.layers
        run = self._open("derivative", layers[0].name if layers else None)
        return self._run(run, x, [self._graphs.output])[0]

    def _run(
        self,
        run: RunGraph,
        x: Array,
        outputs: Sequence[str],
        *,
        cotangent: NDArray[np.float32] | None = None,
        top: NDArray[np.float32] | None = None,
    ) -> list[NDArray[np.float32]]:
        if x.dtype.kind not in "uif":
            raise ArgumentError(f"the network takes numbers, found {x.dtype}")
        given: dict[str, Array] = {self._graphs.input: np.ascontiguousarray(x, np.float32)}
        if cotangent is None:
            cotangent = self._nothing(len(x))
        given[COTANGENT] = np.ascontiguousarray(cotangent, np.float32)
        if len(self.output_shape) == 1:
            given[TOP] = np.zeros((len(x), 1), np.float32) if top is None else top
        found = run(given, outputs)
        return [np.asarray(found[name], np.float32) for name in outputs]

    def _nothing(self, rows: int) -> NDArray[np.float32]:
        """A derivative of zero; of a size that varies one place, which is repeated."""
        return np.zeros((rows, *(size or 1 for size in self.output_shape)), np.float32)

    def _parts(self, x: Array) -> Iterator[NDArray[np.int64]]:
        size = max(1, self._rows_within_bound(x.shape[1:]))
        return (np.arange(i, min(i + size, len(x))) for i in range(0, len(x), size))

    def _rows_within_bound(self, row_shape: tuple[int, ...]) -> int:
        if self._memory_mib is None:
            return MOST_ROWS
        return self._memory_mib * 2**20 // self._bytes_per_row(row_shape)

    def _bytes_per_row(self, row_shape: tuple[int, ...]) -> int:
        return max(1, int(self._graphs.bytes_per_element * math.prod(row_shape)))


def _is_known_before(objective: Objective, output_shape: tuple[int | None, ...]) -> bool:
    """Whether the derivative of the scores does not depend on the outputs."""
    targets = objective.targets
    return (
        objective.score == "logit"
        and len(output_shape) == 1
        and targets.embeddings is None
        and bool((targets.classes >= TOP_CLASS).all())
        and (targets.against is None or bool((targets.classes >= 0).all()))
        and (targets.against is None or bool((targets.against >= 0).all()))
    )


def _join(parts: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)

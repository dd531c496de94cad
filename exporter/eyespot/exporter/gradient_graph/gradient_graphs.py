"""The gradient graphs of one version: written, compared with the original, and told of."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch.utils.flop_counter import FlopCounterMode

from eyespot.exporter.errors import GradientError
from eyespot.exporter.gradient_graph.gradient_file import (
    read_served_graph,
    write_gradient,
)
from eyespot.exporter.gradient_graph.gradient_parity import OwnMovement, compare
from eyespot.exporter.gradient_graph.layer_places import find_value, not_found
from eyespot.exporter.parity import open_session
from eyespot.saliency import LayerError, OriginalError, UnavailableMethodError
from eyespot.saliency.backend import Layer, Rectifier
from eyespot.saliency.graph_backend import GradientGraphSet, GraphBackend, RunGraph
from eyespot.saliency.torch_backend import TorchBackend
from eyespot.v1.manifest import (
    GRADIENT_FILES,
    LAYER_GRADIENT_FILE,
    ORIGINAL_FILE,
    GradientGraphs,
    GradientLayer,
    GradientParityCase,
)

# On how many rows gradients are compared: of heavy networks on as many as take so many
# multiplications, and what is not the gradient by the input on fewer.
ROWS, _LEAST_ROWS, _FEW_ROWS = 32, 8, 4
_MOST_MACS = 16 * 10**9

Array = NDArray[np.generic]


@dataclass(frozen=True)
class WrittenGradients:
    """What became of the gradients of a version.

    Attributes:
        files: That were written.
        graphs: What the manifest says of them.
        cases: How well they agree with PyTorch's.
        no_layers: Why layers that were asked for are not there, by their names.
    """

    files: tuple[str, ...]
    graphs: GradientGraphs
    cases: tuple[GradientParityCase, ...] = ()
    no_layers: Mapping[str, str] = field(default_factory=dict)


def write_gradients(
    folder: Path,
    x: Array,
    *,
    gradient_node: str | None,
    channel_axis: int | None,
    layers: Sequence[str] = (),
    progress: Callable[[str], None] | None = None,
) -> WrittenGradients:
    """Write every gradient graph that there can be beside `model.onnx` and `original.pt2`.

    Args:
        folder: Of the version.
        x: Rows to compare on.
        gradient_node: Of the original.
        channel_axis: Of the input.
        layers: Further ones of the original, beside the one where none is named.
        progress: Told what is being done: the comparison takes long.

    Returns:
        What was written; where an operator is in the way, nothing but the reason.
    """
    try:
        if gradient_node is None:
            raise GradientError("there is no one place where gradients begin")
        original = TorchBackend.load(
            folder / ORIGINAL_FILE, gradient_node=gradient_node, channel_axis=channel_axis
        )
        return _Writer(folder, original, x, layers, progress).write()
    except (GradientError, OriginalError) as error:
        for name in (*GRADIENT_FILES.values(), LAYER_GRADIENT_FILE):
            (folder / name).unlink(missing_ok=True)
        return WrittenGradients((), GradientGraphs(reason=str(error)))


def open_gradients(
    folder: Path,
    graphs: GradientGraphs,
    *,
    names: tuple[str, str],
    output_shape: tuple[int | None, ...],
    channel_axis: int | None,
    num_threads: int = 0,
) -> GraphBackend:
    """Open gradient graphs in sessions of their own.

    Args:
        folder: Of the version.
        graphs: What its manifest says of them.
        names: Of the input and the output.
        output_shape: Without the rows.
        channel_axis: Of the input.
        num_threads: Threads of each operator; 0 leaves it to the runtime.

    Raises:
        OnnxError: ONNX Runtime cannot load one.
    """

    def open_graph(rectifier: Rectifier, layer: str | None) -> RunGraph:
        path = folder / graphs.file_of(rectifier, layer=layer)
        session = open_session(path, num_threads=num_threads)

        def run(inputs: Mapping[str, Array], outputs: Sequence[str]) -> Mapping[str, Array]:
            return dict(zip(outputs, session.run(list(outputs), dict(inputs)), strict=True))

        return run

    return GraphBackend(
        GradientGraphSet(
            open_graph,
            input=names[0],
            output=names[1],
            output_shape=output_shape,
            layers=tuple(Layer(each.name, each.sizes, each.modules) for each in graphs.layers),
            bytes_per_element=graphs.bytes_per_element,
            no_rectifiers=graphs.no_rectifiers,
        ),
        channel_axis=channel_axis,
    )


class _Writer:
    """Writes the graphs of one version, the plain gradient first."""

    def __init__(
        self,
        folder: Path,
        original: TorchBackend,
        x: Array,
        layers: Sequence[str],
        progress: Callable[[str], None] | None,
    ) -> None:
        self._folder = folder
        self._original = original
        self._x = x
        self._layers = layers
        self._progress = progress
        self._served = read_served_graph(folder)
        row_shape = x.shape[1:]
        self._graphs = GradientGraphs(
            bytes_per_element=original.bytes_per_row(row_shape) / math.prod(row_shape),
        )
        self._files: list[str] = []
        self._cases: list[GradientParityCase] = []
        self._no_layers: dict[str, str] = {}
        self._own: OwnMovement | None = None
        self._rows = _rows_to_compare(original, x[:1])

    def write(self) -> WrittenGradients:
        self._write("derivative", {})
        self._prove(rows=self._rows)
        self._write_rectifiers(self._write_layers())
        return WrittenGradients(
            tuple(self._files), self._graphs, tuple(self._cases), self._no_layers
        )

    def _write(
        self, rectifier: Rectifier, layers: Mapping[str, str], *, only: str | None = None
    ) -> None:
        """Write the gradient by the input, with that by layers beside it; or by one only."""
        name = self._graphs.file_of(rectifier, layer=only)
        write_gradient(
            self._served,
            self._folder / name,
            rectifier=rectifier,
            layers=layers,
            is_whole=only is None,
        )
        self._files.append(name)

    def _write_layers(self) -> Mapping[str, str]:
        """Write the gradients by layers, first by the one that is taken where none is named.

        Returns:
            Their values, by the names that they have in graphs of several.
        """
        try:
            default = self._original.find_layer("")
            places = {"": self._write_layer(default)}
        except (LayerError, GradientError):
            return {}
        for name in self._layers:
            if name in ("", default):
                continue
            try:
                places[name] = self._write_layer(name)
            except GradientError as error:
                self._no_layers[name] = str(error)
        return places

    def _write_layer(self, name: str) -> str:
        """Write the gradient by one layer, and name its value.

        Raises:
            GradientError: The graph has no such value, or its gradient is another.
        """
        layers = self._original.layers()
        index = [layer.name for layer in layers].index(name)
        before = self._graphs
        self._graphs = _with_layer(before, layers[index])
        file = self._graphs.file_of("derivative", layer=name)
        try:
            path = self._folder / file
            place = find_value(self._served, path, self._original, layers[index], self._x[:1])
            if place is None:
                raise GradientError(not_found(layers[index + 1 :]))
            self._write("derivative", {"": place}, only=name)
            self._prove(layer=name)
        except GradientError:
            self._graphs = before
            self._take_back(file)
            raise
        return place

    def _write_rectifiers(self, layers: Mapping[str, str]) -> None:
        """Write the gradients by other rules of the rectifiers."""
        reason = self._no_rectifiers()
        rules: tuple[Rectifier, ...] = ("guided", "deconvnet")
        try:
            for rule in () if reason else rules:
                self._write(rule, layers)
                self._prove(rectifier=rule)
        except GradientError as error:
            reason = str(error)
            for rule in rules:
                self._take_back(GRADIENT_FILES[rule])
        self._graphs = self._graphs._replace(no_rectifiers=reason)

    def _no_rectifiers(self) -> str:
        try:
            self._original.check_rectifiers()
        except UnavailableMethodError as error:
            return str(error)
        there, here = self._original.rectifier_count, self._served.rectifier_count
        if there == here:
            return ""
        return (
            f"the network has {there} rectifiers, of which {here} are operators of their own in "
            "ONNX: this method needs PyTorch on the server: pip install 'eyespot[explain]'"
        )

    def _prove(
        self,
        *,
        rectifier: Rectifier = "derivative",
        layer: str | None = None,
        rows: int | None = None,
    ) -> None:
        """Compare one gradient with the original's, on a few rows unless told."""
        rows = min(_FEW_ROWS, self._rows // 4) if rows is None else rows
        found = open_gradients(
            self._folder,
            self._graphs,
            names=(self._served.input, self._served.output),
            output_shape=self._original.output_shape,
            channel_axis=self._original.channel_axis,
        )
        case = compare(
            self._original,
            found,
            self._x[:rows],
            rectifier=rectifier,
            layer=layer,
            own=self._own,
            progress=self._progress,
        )
        self._cases.append(case)
        if case.own_rel_l2:  # of another rule it is about the same
            self._own = OwnMovement(case.own_rel_l2, case.own_cosine)

    def _take_back(self, name: str) -> None:
        (self._folder / name).unlink(missing_ok=True)
        self._files = [each for each in self._files if each != name]


def _rows_to_compare(original: TorchBackend, row: Array) -> int:
    with FlopCounterMode(display=False) as counter:
        original.scores(row)
    macs: int = counter.get_total_flops() // 2
    return max(_LEAST_ROWS, min(ROWS, _MOST_MACS // max(1, macs)))


def _with_layer(graphs: GradientGraphs, layer: Layer) -> GradientGraphs:
    """Tell of one more layer; the first is the one that is taken where none is named."""
    shape = tuple(-1 if size is None else size for size in layer.shape)
    if graphs.layer is None:
        return graphs._replace(layer=layer.name, layer_shape=shape, layer_modules=layer.modules)
    further = (*graphs.further_layers, GradientLayer(layer.name, shape, layer.modules))
    return graphs._replace(further_layers=further)

"""The gradient graphs of one version: written, compared with the original, and told of."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch.utils.flop_counter import FlopCounterMode

from eyespot.exporter.errors import GradientError
from eyespot.exporter.gradient_graph.gradient_file import (
    ServedGraph,
    read_served_graph,
    write_candidates,
    write_gradient,
)
from eyespot.exporter.gradient_graph.gradient_parity import OwnMovement, compare
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
    GradientParityCase,
)

# On how many rows gradients are compared: of heavy networks on as many as take so many
# multiplications, and what is not the gradient by the input on fewer.
ROWS, _LEAST_ROWS, _FEW_ROWS = 32, 8, 4
_MOST_MACS = 16 * 10**9
# A layer is found by its values, as a share of their scale.
_SAME = 1e-3

Array = NDArray[np.generic]


@dataclass(frozen=True)
class WrittenGradients:
    """What became of the gradients of a version.

    Attributes:
        files: That were written.
        graphs: What the manifest says of them.
        cases: How well they agree with PyTorch's.
    """

    files: tuple[str, ...]
    graphs: GradientGraphs
    cases: tuple[GradientParityCase, ...] = ()


def write_gradients(
    folder: Path, x: Array, *, gradient_node: str | None, channel_axis: int | None
) -> WrittenGradients:
    """Write every gradient graph that there can be beside `model.onnx` and `original.pt2`.

    Args:
        folder: Of the version.
        x: Rows to compare on.
        gradient_node: Of the original.
        channel_axis: Of the input.

    Returns:
        What was written; where an operator is in the way, nothing but the reason.
    """
    try:
        if gradient_node is None:
            raise GradientError("there is no one place where gradients begin")
        original = TorchBackend.load(
            folder / ORIGINAL_FILE, gradient_node=gradient_node, channel_axis=channel_axis
        )
        return _Writer(folder, original, x).write()
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

    def open_graph(rectifier: Rectifier, is_of_layer: bool) -> RunGraph:
        name = LAYER_GRADIENT_FILE if is_of_layer else GRADIENT_FILES[rectifier]
        session = open_session(folder / name, num_threads=num_threads)

        def run(inputs: Mapping[str, Array], outputs: Sequence[str]) -> Mapping[str, Array]:
            return dict(zip(outputs, session.run(list(outputs), dict(inputs)), strict=True))

        return run

    sizes = tuple(None if size < 0 else size for size in graphs.layer_shape)
    return GraphBackend(
        GradientGraphSet(
            open_graph,
            input=names[0],
            output=names[1],
            output_shape=output_shape,
            layer=None if graphs.layer is None else Layer(graphs.layer, sizes),
            bytes_per_element=graphs.bytes_per_element,
            no_rectifiers=graphs.no_rectifiers,
        ),
        channel_axis=channel_axis,
    )


class _Writer:
    """Writes the graphs of one version, the plain gradient first."""

    def __init__(self, folder: Path, original: TorchBackend, x: Array) -> None:
        self._folder = folder
        self._original = original
        self._x = x
        self._served = read_served_graph(folder)
        row_shape = x.shape[1:]
        self._graphs = GradientGraphs(
            bytes_per_element=original.bytes_per_row(row_shape) / math.prod(row_shape),
        )
        self._files: list[str] = []
        self._cases: list[GradientParityCase] = []
        self._own: OwnMovement | None = None
        self._rows = _rows_to_compare(original, x[:1])

    def write(self) -> WrittenGradients:
        self._write("derivative", layer=None)
        self._prove(rows=self._rows)
        place = self._write_layer()
        self._write_rectifiers(place)
        return WrittenGradients(tuple(self._files), self._graphs, tuple(self._cases))

    def _write(self, rectifier: Rectifier, *, layer: str | None, is_whole: bool = True) -> None:
        name = GRADIENT_FILES[rectifier] if is_whole else LAYER_GRADIENT_FILE
        path = self._folder / name
        write_gradient(self._served, path, rectifier=rectifier, layer=layer, is_whole=is_whole)
        self._files.append(name)

    def _write_layer(self) -> str | None:
        """Write the gradient by the layer that Grad-CAM takes where none is named."""
        try:
            name = self._original.find_layer("")
        except LayerError:
            return None
        layer = next(each for each in self._original.layers() if each.name == name)
        place = _find_value(self._served, self._folder, self._original, layer, self._x[:1])
        if place is None:
            return None
        before = self._graphs
        self._graphs = dataclasses.replace(
            before, layer=name, layer_shape=tuple(-1 if n is None else n for n in layer.shape)
        )
        try:
            self._write("derivative", layer=place, is_whole=False)
            self._prove(layer=name)
        except GradientError:
            self._graphs = before
            self._take_back(LAYER_GRADIENT_FILE)
            return None
        return place

    def _write_rectifiers(self, layer: str | None) -> None:
        """Write the gradients by other rules of the rectifiers."""
        reason = self._no_rectifiers()
        rules: tuple[Rectifier, ...] = ("guided", "deconvnet")
        try:
            for rule in () if reason else rules:
                self._write(rule, layer=layer)
                self._prove(rectifier=rule)
        except GradientError as error:
            reason = str(error)
            for rule in rules:
                self._take_back(GRADIENT_FILES[rule])
        self._graphs = dataclasses.replace(self._graphs, no_rectifiers=reason)

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
            self._original, found, self._x[:rows], rectifier=rectifier, layer=layer, own=self._own
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


def _find_value(
    served: ServedGraph, folder: Path, original: TorchBackend, layer: Layer, x: Array
) -> str | None:
    """Find the value of the served graph that a layer of the original is.

    The translation has names of its own, so it is known by its numbers; the last that has them
    is taken, as what follows it may be the same once more.
    """
    names = served.maps(layer.shape)
    if not names:
        return None
    _, expected = original.activations(x, layer.name)
    path = folder / LAYER_GRADIENT_FILE
    write_candidates(served, path, names)
    session = open_session(path)
    found = session.run(names, {served.input: np.ascontiguousarray(x, np.float32)})
    scale = float(np.abs(expected).max())
    alike = [
        name
        for name, value in zip(names, found, strict=True)
        if value.shape == expected.shape and np.abs(value - expected).max() <= _SAME * scale
    ]
    return alike[-1] if alike else None

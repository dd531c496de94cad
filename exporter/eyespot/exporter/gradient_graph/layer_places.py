"""Layers to differentiate by: whether a network has them, and where they are in `model.onnx`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch.export import ExportedProgram

from eyespot.exporter.errors import LayerNameError
from eyespot.exporter.gradient_graph.gradient_file import ServedGraph, write_candidates
from eyespot.exporter.parity import open_session
from eyespot.saliency.backend import Layer
from eyespot.saliency.errors import SaliencyError
from eyespot.saliency.layer_names import named_layer
from eyespot.saliency.torch_backend import TorchBackend
from eyespot.saliency.torch_backend.layers import find_layer, spatial_layers
from eyespot.saliency.torch_backend.program import find_node, user_output

# A layer is found by its values, as a share of their scale.
_SAME = 1e-3
_SHOWN_LAYERS = 12


def find_layers(
    program: ExportedProgram, names: Sequence[str], *, gradient_node: str | None
) -> tuple[str, ...]:
    """Find the nodes that hold spatial maps, by their names or by those of modules.

    Raises:
        LayerNameError: There is none, and the nearest names are said; or it holds no such maps.
    """
    if "" in names:
        raise LayerNameError("the name of a layer is empty: that of a node or module is expected")
    if gradient_node is None:
        raise LayerNameError(
            f"nothing is explained by layer {names[0]!r}: gradients have no one place to begin at"
        )
    try:
        start, output = find_node(program.graph, gradient_node), user_output(program)
        for name in names:
            _check_has_maps(program, name, spatial_layers(start, output))
        return tuple(find_layer(start, output, name) for name in names)
    except SaliencyError as error:
        raise LayerNameError(str(error)) from error


def _check_has_maps(program: ExportedProgram, name: str, maps: Sequence[Layer]) -> None:
    """Tell a layer that is there, but holds no maps, from one that is not there."""
    if named_layer(name, maps) is None and name in _all_names(program):
        wide = [layer.name for layer in maps if layer.shape[1:] != (1, 1)]
        shown = ", ".join(wide[-_SHOWN_LAYERS:]) or "none"
        raise LayerNameError(
            f"layer {name!r} holds no spatial maps between the input and the output; the last "
            f"that do: {shown}"
        )


def _all_names(program: ExportedProgram) -> set[str]:
    """Name all nodes that compute, and all modules, as `find_layer` lets them be called."""
    nodes = [node for node in program.graph.nodes if node.op == "call_function"]
    stacks = (node.meta.get("nn_module_stack") or {} for node in nodes)
    modules = {module for stack in stacks for module, _ in stack.values() if module}
    is_in_one = len({module.partition(".")[0] for module in modules}) == 1
    inside = {module.partition(".")[2] for module in modules} if is_in_one else set()
    return {node.name for node in nodes} | modules | inside


def find_value(
    served: ServedGraph, path: Path, original: TorchBackend, layer: Layer, x: NDArray[np.generic]
) -> str | None:
    """Find the value of the served graph that a layer of the original is.

    The translation has names of its own, so it is known by its numbers; the last that has them
    is taken, as what follows it may be the same once more.

    Args:
        served: Is looked through.
        path: Where a graph is written to look at its values.
        original: Has the layer.
        layer: Is looked for.
        x: (B, ...), what the values are of.

    Returns:
        The name of the value; None where there is none.
    """
    names = served.maps(layer.shape)
    if not names:
        return None
    _, expected = original.activations(x, layer.name)
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


def not_found(behind: Sequence[Layer]) -> str:
    """Say that a layer has no maps of its own, and which to ask for: batch norms are folded."""
    reason = "model.onnx has no such maps"
    if not behind:
        return reason
    return f"{reason}; ask for {behind[0].name!r} behind it, into which it may be folded"

"""The gradient graphs of a model version, opened: gradients without PyTorch."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from eyespot.saliency import Backend, GradientGraphSet, GraphBackend, Layer
from eyespot.saliency.backend import Rectifier
from eyespot.saliency.graph_backend import RunGraph
from eyespot.server.errors import NotExplainableError
from eyespot.v1.manifest import GRADIENT_FILES, LAYER_GRADIENT_FILE, Manifest


def load_gradient_graphs(
    folder: Path,
    manifest: Manifest,
    open_graph: Callable[[Path], RunGraph],
    *,
    damaged: Mapping[str, str],
    memory_mib: int | None = None,
    is_sparing: bool = False,
) -> Backend:
    """Make a backend of the gradient graphs; each is opened when it is asked for.

    Args:
        folder: of the version.
        manifest: of the version.
        open_graph: makes a session of a file.
        damaged: why files must not be opened, by their names.
        memory_mib: most memory that one call may take beside the weights.
        is_sparing: whether a call takes few rows where more would take much memory.

    Raises:
        NotExplainableError: there are none, and why.
    """
    name = f"model {manifest.model_name!r} version {manifest.model_version}"
    graphs = manifest.gradient_graphs
    if graphs is None or graphs.reason:
        reason = f": {graphs.reason}" if graphs else ""
        again = "" if graphs else "; export it with --gradient-graph for servers without PyTorch"
        raise NotExplainableError(f"{name} has no {GRADIENT_FILES['derivative']}{reason}{again}")
    if GRADIENT_FILES["derivative"] in damaged:
        raise NotExplainableError(f"{name}: {damaged[GRADIENT_FILES['derivative']]}")

    def open_one(rectifier: Rectifier, layer: str | None) -> RunGraph:
        return open_graph(folder / graphs.file_of(rectifier, layer=layer))

    output = manifest.outputs[0]
    found = GradientGraphSet(
        open_one,
        input=manifest.inputs[0].name,
        output=output.name,
        output_shape=tuple(n if isinstance(n, int) else None for n in output.shape[1:]),
        layers=tuple(Layer(each.name, each.sizes, each.modules) for each in graphs.layers),
        bytes_per_element=graphs.bytes_per_element,
        no_rectifiers=graphs.no_rectifiers,
    )
    return GraphBackend(
        _without(found, damaged),
        channel_axis=manifest.channel_axis,
        memory_mib=memory_mib,
        is_sparing=is_sparing,
    )


def _without(graphs: GradientGraphSet, damaged: Mapping[str, str]) -> GradientGraphSet:
    """Leave out what is damaged, and let it say so; a further layer does when it is opened."""
    for rule in ("guided", "deconvnet"):
        if GRADIENT_FILES[rule] in damaged:
            graphs = replace(graphs, no_rectifiers=damaged[GRADIENT_FILES[rule]])
    if LAYER_GRADIENT_FILE in damaged:
        graphs = replace(graphs, layers=(), no_layer=damaged[LAYER_GRADIENT_FILE])
    return graphs

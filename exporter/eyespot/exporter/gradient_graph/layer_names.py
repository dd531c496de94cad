"""Whether a captured program has the layers that are asked for, told before anything is written."""

from __future__ import annotations

from collections.abc import Sequence

from torch.export import ExportedProgram

from eyespot.exporter.errors import LayerNameError
from eyespot.saliency.errors import SaliencyError
from eyespot.saliency.torch_backend.layers import find_layer
from eyespot.saliency.torch_backend.program import find_node, user_output


def check_layers(
    program: ExportedProgram, names: Sequence[str], *, gradient_node: str | None
) -> None:
    """Check that each name is that of a node that holds spatial maps.

    Raises:
        LayerNameError: One is not; the nearest name is said, and the last that there are.
    """
    if gradient_node is None:
        raise LayerNameError(
            f"nothing is explained by layer {names[0]!r}: gradients have no one place to begin at"
        )
    try:
        start, output = find_node(program.graph, gradient_node), user_output(program)
        for name in names:
            find_layer(start, output, name)
    except SaliencyError as error:
        raise LayerNameError(str(error)) from error

"""Where a captured network looked: Grad-CAM, computed as the server would."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch.export import ExportedProgram

from eyespot.exporter import entry_program
from eyespot.exporter.capture import find_gradient_node
from eyespot.saliency import METHODS, Objective, OriginalError, Targets
from eyespot.saliency.torch_backend import TorchBackend

# Its maps are smooth and easy to read, and any network of pictures has some.
_METHOD = METHODS["grad_cam"]


class PictureExplainer:
    """Tells which pixels made a network say a class.

    Args:
        program: As it was captured: pixels (B, H, W, C) in, logits (B, K) out.
        gradient_node: Where gradients begin; found if not told.

    Raises:
        SaliencyError: The program has no one input of pixels, or no one output.
    """

    method = _METHOD.name

    def __init__(self, program: ExportedProgram, *, gradient_node: str | None = None) -> None:
        node = gradient_node or find_gradient_node(program)
        if node is None:
            raise OriginalError("the network takes symbols: they have no gradient")
        self._backend = TorchBackend(program, gradient_node=node, channel_axis=3)

    def __call__(
        self, images: NDArray[np.uint8], classes: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Give how much each pixel counted, (N, H, W), for one class (N,) of each picture.

        Args:
            images: (N, H, W, C), as the graph takes them.
            classes: (N,).

        Raises:
            SaliencyError: A class is none of the network's.
        """
        objective = Objective(Targets(classes))
        found = _METHOD.explain(self._backend, images, objective).attributions  # (N, H, W, 1)
        return found[:, :, :, 0]


def entry_explainer(
    repository: Path | str, name: str, version: str | None = None
) -> PictureExplainer:
    """Make an explainer of an exported model.

    Args:
        repository: A folder of models.
        name: Of the model.
        version: The latest if not told.

    Raises:
        ExportError: There is no such entry, or it has no PyTorch original.
    """
    return PictureExplainer(entry_program(repository, name, version))

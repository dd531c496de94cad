"""Where a captured network looked: saliency, computed as the server would."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch.export import ExportedProgram

from eyespot.exporter import entry_program, inspect_entry
from eyespot.saliency import METHODS, Method, Objective, SaliencyError, Targets
from eyespot.saliency.torch_backend import TorchBackend
from eyespot.v1.manifest import MANIFEST_FILE, read_manifest

# In this order: maps are the easier to read, but not every network has some.
_METHODS = ("grad_cam", "saliency")


class PictureExplainer:
    """Tells which pixels made a network say a class.

    Args:
        program: As it was captured: pixels (B, H, W, C) in, logits (B, K) out.
        gradient_node: Where gradients begin, as the manifest tells.
    """

    def __init__(self, program: ExportedProgram, *, gradient_node: str) -> None:
        self._backend = TorchBackend(program, gradient_node=gradient_node, channel_axis=3)
        self._method = next(
            method for name in _METHODS if self._is_possible(method := METHODS[name])
        )

    @property
    def method(self) -> str:
        """Name of the method: Grad-CAM, or of a network without maps the gradient."""
        return self._method.name

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
        found = self._method.explain(self._backend, images, objective).attributions
        counted: NDArray[np.float32] = np.abs(found).max(axis=3)  # (N, H, W, C) -> (N, H, W)
        return counted

    def _is_possible(self, method: Method) -> bool:
        try:
            method.check_backend(self._backend)
        except SaliencyError:
            return False
        return True


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
    entry = inspect_entry(repository, name, version)
    program = entry_program(repository, name, version)
    manifest = read_manifest(Path(repository) / name / entry.model_version / MANIFEST_FILE)
    assert manifest.gradient_node is not None
    return PictureExplainer(program, gradient_node=manifest.gradient_node)

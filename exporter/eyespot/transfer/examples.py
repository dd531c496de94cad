"""Pictures with their classes: what a network is trained on and measured with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from eyespot.transfer.errors import ExamplesError
from eyespot.v1.preprocessing import PreprocessingRule


@dataclass(frozen=True, eq=False)
class Examples:
    """Pixels and the class of each picture.

    Attributes:
        images: UINT8 (N, H, W, C), as the served graph takes them.
        labels: INT64 (N,), class indices.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]

    def __post_init__(self) -> None:
        if self.images.dtype != np.uint8 or self.images.ndim != 4:
            raise ExamplesError(
                "images must be uint8 of shape (N, H, W, C), "
                f"found {self.images.dtype} of shape {self.images.shape}"
            )
        if self.labels.dtype != np.int64 or self.labels.shape != self.images.shape[:1]:
            raise ExamplesError(
                f"labels must be int64, one for each of the {len(self.images)} images, "
                f"found {self.labels.dtype} of shape {self.labels.shape}"
            )
        if not len(self.labels):
            raise ExamplesError("there are no examples: give at least one picture")
        if self.labels.min() < 0:
            raise ExamplesError(f"labels are class indices from 0, found {self.labels.min()}")

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        return f"Examples({len(self)} images of shape {self.images.shape[1:]})"

    def prepared(self, rule: PreprocessingRule) -> Examples:
        """Put each picture through a rule, as a client does with the pictures it sends."""
        images = np.stack([rule.apply(_picture(pixels)) for pixels in self.images])
        return Examples(images, self.labels)

    def save_pictures(self, folder: Path) -> list[Path]:
        """Write each picture as <label>-<number>.png, and tell the paths in the same order."""
        folder.mkdir(parents=True, exist_ok=True)
        paths = [folder / f"{label}-{number:04}.png" for number, label in enumerate(self.labels)]
        for path, pixels in zip(paths, self.images, strict=True):
            _picture(pixels).save(path)
        return paths


def _picture(pixels: NDArray[np.uint8]) -> Image.Image:
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[-1] == 1 else pixels)

"""Pictures with their classes: what a network is trained on and measured with."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from eyespot.transfer.errors import ExamplesError
from eyespot.v1.preprocessing import PreprocessingRule

_HASHED_ROWS = 64  # at once: pixels that lie on the disk are not all brought to memory


@dataclass(frozen=True, eq=False)
class Examples:
    """Pixels and the class of each picture, or its classes.

    Attributes:
        images: UINT8 (N, H, W, C), as the served graph takes them.
        labels: INT64 (N,), class indices; or, where a picture may have any number of classes,
            FP32 (N, K) of 0 and 1.
    """

    images: NDArray[np.uint8]
    labels: NDArray[Any]

    def __post_init__(self) -> None:
        if self.images.dtype != np.uint8 or self.images.ndim != 4:
            raise ExamplesError(
                "images must be uint8 of shape (N, H, W, C), "
                f"found {self.images.dtype} of shape {self.images.shape}"
            )
        kind = (self.labels.dtype.name, self.labels.ndim)
        fits = kind in (("int64", 1), ("float32", 2))
        if not fits or len(self.labels) != len(self.images):
            raise ExamplesError(
                f"labels must be int64, one for each of the {len(self.images)} images, or float32 "
                "with a row of 0 and 1 for each, "
                f"found {self.labels.dtype} of shape {self.labels.shape}"
            )
        if not len(self.labels):
            raise ExamplesError("there are no examples: give at least one picture")
        if self.labels.min() < 0:
            raise ExamplesError(f"labels are class indices from 0, found {self.labels.min()}")
        if self.is_multi_label and not np.isin(self.labels, (0, 1)).all():
            raise ExamplesError("a picture has a class (1) or has it not (0): labels tell other")

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        return f"Examples({len(self)} images of shape {self.images.shape[1:]})"

    @property
    def is_multi_label(self) -> bool:
        """Whether a picture may have any number of classes."""
        return self.labels.ndim == 2

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the pixels in their order: the labels are no part of it."""
        found = hashlib.sha256(str(self.images.shape).encode())
        for start in range(0, len(self), _HASHED_ROWS):
            found.update(np.ascontiguousarray(self.images[start : start + _HASHED_ROWS]).data)
        return found.hexdigest()

    def counts(self, classes: int) -> NDArray[np.int64]:
        """How many pictures each of so many classes has, (K,)."""
        if self.is_multi_label:
            sums: NDArray[np.int64] = self.labels.sum(axis=0).astype(np.int64)  # (N, K) -> (K,)
            return sums
        return np.bincount(self.labels, minlength=classes)

    def prepared(self, rule: PreprocessingRule) -> Examples:
        """Put each picture through a rule, as a client does with the pictures it sends."""
        images = np.stack([rule.apply(picture_of(pixels)) for pixels in self.images])
        return Examples(images, self.labels)

    def save_pictures(self, folder: Path) -> list[Path]:
        """Write each picture as <label>-<number>.png, and tell the paths in the same order."""
        folder.mkdir(parents=True, exist_ok=True)
        paths = [folder / f"{label}-{number:04}.png" for number, label in enumerate(self.labels)]
        for path, pixels in zip(paths, self.images, strict=True):
            picture_of(pixels).save(path)
        return paths


def picture_of(pixels: NDArray[np.uint8]) -> Image.Image:
    """Make a picture of pixels (H, W, C), of one channel or three."""
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[-1] == 1 else pixels)

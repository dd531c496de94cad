"""From raw attributions to what a colour map takes: channels, sign, smoothing, clipping.

The wire carries the numbers as they are; how they are shown is decided here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eyespot.client.errors import PictureError

Floats = NDArray[np.float64]

SIGNS = ("signed", "absolute")
CLIP_PERCENTILE = 99.0
_REACH = 4.0  # of the bell curve, in standard deviations


@dataclass(frozen=True)
class Normalisation:
    """How attributions are made ready to be drawn.

    Attributes:
        clip: Percentile of the magnitudes at which the colours end; 100 clips nothing.
        sign: "signed", "absolute" (magnitudes), or None: signed where the numbers are.
        smooth: Standard deviation, in pixels, of the bell curve that smooths the map; 0
            leaves it as it is.

    Raises:
        PictureError: One of them is impossible.
    """

    clip: float = CLIP_PERCENTILE
    sign: str | None = None
    smooth: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.clip <= 100:
            raise PictureError(f"clip is a percentile above 0 and up to 100, found {self.clip}")
        if self.sign is not None and self.sign not in SIGNS:
            raise PictureError(f"sign must be one of {', '.join(SIGNS)}, found {self.sign!r}")
        if not (self.smooth >= 0 and math.isfinite(self.smooth)):
            raise PictureError(f"smooth is 0 or more pixels, found {self.smooth}")

    def map_of(self, attributions: NDArray[np.float32]) -> Floats:
        """One value for each pixel, of attributions (H, W) or (H, W, C)."""
        values = flatten(attributions)
        if self.sign == "absolute":
            values = np.abs(values)
        return smoothed(values, self.smooth) if self.smooth else values

    def limit_of(self, values: Floats) -> float:
        """The magnitude that gets the full colour; never 0."""
        magnitudes = np.abs(values)
        return float(np.percentile(magnitudes, self.clip)) or float(magnitudes.max()) or 1.0

    def is_signed(self, *, by_itself: bool) -> bool:
        """Whether the map has a sign, where the numbers have one by themselves or not."""
        return by_itself if self.sign is None else self.sign == "signed"

    def __str__(self) -> str:
        """What was done that is not usual, for a note; empty for nothing."""
        done = {
            "magnitudes": self.sign == "absolute",
            f"smoothed by {self.smooth:g} px": self.smooth > 0,
            f"clipped at {self.clip:g} %": self.clip != CLIP_PERCENTILE,
        }
        return ", ".join(said for said, is_so in done.items() if is_so)


def flatten(attributions: NDArray[np.float32]) -> Floats:
    """Take of several channels the value of largest magnitude; what is not finite is 0."""
    values = np.nan_to_num(attributions.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    if values.ndim == 2:
        return values
    largest = np.abs(values).argmax(axis=2)  # (H, W, C) -> (H, W)
    chosen: Floats = np.take_along_axis(values, largest[..., None], axis=2)[..., 0]
    return chosen


def smoothed(values: Floats, deviation: float) -> Floats:
    """Smooth a map (H, W) by a bell curve; beyond its edges it is mirrored."""
    rows, columns = (_bell(size, deviation) for size in values.shape)
    return rows @ values @ columns.T


def _bell(size: int, deviation: float) -> Floats:
    """What each place takes of each, as a matrix (size, size)."""
    reach = int(_REACH * deviation + 0.5)
    offsets = np.arange(-reach, reach + 1)
    weights = np.exp(-0.5 * (offsets / deviation) ** 2)
    # 0 1 2 2 1 0 0 1 2 ...: a mirrored line repeats after twice its size.
    places = (np.arange(size)[:, None] + offsets) % (2 * size)
    places = np.minimum(places, 2 * size - 1 - places)
    matrix = np.zeros((size, size))
    np.add.at(matrix, (np.arange(size)[:, None], places), weights / weights.sum())
    return matrix

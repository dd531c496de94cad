"""The pointing game: does a map's largest value lie on the object?

Zhang, Bargal, Lin, Brandt, Shen, Sclaroff: Top-down Neural Attention by Excitation Backprop.
ECCV 2016, arXiv 1608.00507, section 4.1.

A map hits when its largest value lies in a box of the class that it explains, or within 15
pixels of one. The accuracy of a class is hits / (hits + misses); the figure is the mean over
the classes.

Ours: 15 pixels are meant of 224, and are scaled with the shorter side of the picture; a map
that is largest at several pixels counts by the share of them that hit, so that a blank map
gains nothing from where one begins to look.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_TOLERANCE, _OF_SIDE = 15, 224


@dataclass(frozen=True, eq=False)
class Objects:
    """Where the objects are that N maps are to point at.

    Attributes:
        rows: (N,), whose picture it is.
        classes: (N,), what is explained; TOP_CLASS is the picture's own top class.
        regions: (N, H, W), the boxes of that class in that picture.
    """

    rows: NDArray[np.int64]
    classes: NDArray[np.int64]
    regions: NDArray[np.bool_]


def hits(maps: NDArray[np.float32], regions: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Tell which maps (N, H, W) point at their regions (N, H, W): 1, 0, or a share; (N,)."""
    tolerance = _TOLERANCE * min(maps.shape[1:]) / _OF_SIDE
    return np.array(
        [
            _near(region, tolerance)[values == values.max()].mean()
            for values, region in zip(maps, regions, strict=True)
        ]
    )


def accuracy(hits: NDArray[np.float64], classes: NDArray[np.int64]) -> float:
    """The mean over the classes of the mean of each class's hits."""
    return float(np.mean([hits[classes == each].mean() for each in np.unique(classes)]))


def _near(region: NDArray[np.bool_], tolerance: float) -> NDArray[np.bool_]:
    """Which pixels (H, W) are no further than so many pixels from one of the region."""
    height, width = region.shape
    before = np.cumsum(np.pad(region, ((0, 0), (1, 0))), axis=1)  # (H, W + 1), left of a place
    columns = np.arange(width)
    near = np.zeros_like(region)
    for shift in range(-int(tolerance), int(tolerance) + 1):
        reach = int(np.sqrt(tolerance**2 - shift**2))
        left, right = np.maximum(columns - reach, 0), np.minimum(columns + reach + 1, width)
        reached = before[:, right] > before[:, left]  # (H, W), along the region's own rows
        near[max(-shift, 0) : height - max(shift, 0)] |= reached[
            max(shift, 0) : height - max(-shift, 0)
        ]
    return near

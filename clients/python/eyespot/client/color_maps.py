"""Three colour maps: for magnitudes, for signed values, and for classes.

The first two run through a few control points in CIE L*a*b*, evenly spaced in lightness, so that
equal steps of the value are equal steps for the eye, for colour-blind eyes and on a grey
print as well. The colours are our own.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bytes = NDArray[np.uint8]

# (L*, a*, b*): pale yellow, orange, magenta, deep violet.
_SEQUENTIAL = ((95, -5, 30), (73, 31, 50), (51, 62, 2), (29, 42, -46))
# The sign is the hue, blue below zero and red above; the magnitude is the darkness.
_NEGATIVE = ((95, -1, -3), (65, -8, -33), (35, 10, -50))
_POSITIVE = ((95, 2, 4), (65, 40, 30), (35, 56, 40))
_GOLDEN_ANGLE = np.pi * (3 - 5**0.5)


def sequential(values: Floats) -> Bytes:
    """Colour magnitudes in [0, 1]; darker is more. (...) -> (..., 3)."""
    return _look_up(_table(_SEQUENTIAL), values)


def diverging(values: Floats) -> Bytes:
    """Colour signed values in [-1, 1]: blue below zero, red above. (...) -> (..., 3)."""
    magnitudes = np.abs(values)
    return np.where(
        (values < 0)[..., None],
        _look_up(_table(_NEGATIVE), magnitudes),
        _look_up(_table(_POSITIVE), magnitudes),
    )


def categorical(indices: NDArray[np.int64]) -> Bytes:
    """Colour classes by their index, neighbours far apart. (...) -> (..., 3).

    Each index turns the hue by the golden angle, so that no number of classes has to be
    known beforehand; lightness and chroma alternate. Class 0, mostly the background, is grey.
    """
    values = np.asarray(indices, np.int64)
    known, places = np.unique(values, return_inverse=True)
    hue = known * _GOLDEN_ANGLE
    lightness = np.array([58.0, 74.0, 44.0])[known % 3]
    chroma = np.where(known == 0, 0.0, 52.0)
    lab = np.stack([lightness, chroma * np.cos(hue), chroma * np.sin(hue)], axis=-1)
    return _lab_to_srgb(lab)[places.reshape(values.shape)]


def _look_up(table: Bytes, values: Floats) -> Bytes:
    colors: Bytes = table[np.rint(np.clip(values, 0, 1) * (len(table) - 1)).astype(int)]
    return colors


@functools.cache
def _table(points: tuple[tuple[float, float, float], ...]) -> Bytes:
    lab = np.array(points, np.float64)
    position = np.linspace(0, len(points) - 1, 256)
    smooth = [np.interp(position, np.arange(len(points)), lab[:, axis]) for axis in range(3)]
    return _lab_to_srgb(np.stack(smooth, axis=-1))  # -> (256, 3)


def _lab_to_srgb(lab: Floats) -> Bytes:
    """Convert by CIE 15 and IEC 61966-2-1, white point D65; out of gamut is clipped."""
    fy = (lab[:, 0] + 16) / 116
    f = np.stack([fy + lab[:, 1] / 500, fy, fy - lab[:, 2] / 200], axis=-1)
    xyz = np.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29)) * (0.95047, 1.0, 1.08883)
    to_linear = np.array(
        [
            [3.2406, -1.5372, -0.4986],
            [-0.9689, 1.8758, 0.0415],
            [0.0557, -0.2040, 1.0570],
        ]
    )
    linear = np.clip(xyz @ to_linear.T, 0, 1)
    srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    table: Bytes = np.rint(srgb * 255).astype(np.uint8)
    return table

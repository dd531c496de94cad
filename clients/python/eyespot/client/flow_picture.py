"""The picture of a flow: direction is hue and speed is saturation, after Baker et al., 2007.

A Database and Evaluation Methodology for Optical Flow, ICCV 2007. Hues are spaced by how well
the eye tells them apart, so that a step in direction looks alike everywhere.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from eyespot.client.errors import PictureError

Floats = NDArray[np.float64]

# The wheel, clockwise from motion to the right: red, yellow, green, cyan, blue, magenta and red
# again, and the steps of the paper's 55 at which each is reached.
_HUES = np.array(
    [[1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 1, 1], [0, 0, 1], [1, 0, 1], [1, 0, 0]], np.float64
)
_STEPS = (0, 15, 21, 25, 36, 49, 55)

_UNKNOWN = 1e9  # a speed that stands for "not measured" in the data sets; drawn black
_TOO_FAST = 0.75  # what is left of the colour of speeds beyond the scale


def flow_picture(flow: NDArray[np.floating[Any]], *, longest: float | None = None) -> Image.Image:
    """Draw a flow in colours: to the right red, down yellow, left cyan, up violet; rest is white.

    Args:
        flow: (2, H, W), pixels to the right and downwards.
        longest: The speed in pixels that has the full colour; the largest of this flow where
            None. Give one number to compare pictures.

    Raises:
        PictureError: The flow has another shape, or `longest` is not positive.
    """
    vectors = np.asarray(flow, np.float64)
    if vectors.ndim != 3 or vectors.shape[0] != 2 or not vectors.size:
        raise PictureError(
            f"shape {vectors.shape} is no flow: (2, height, width) is expected, pixels to the "
            "right and downwards; draw one row of a batch at a time"
        )
    if longest is not None and not longest > 0:
        raise PictureError(f"longest must be a positive speed in pixels, found {longest}")
    speeds = np.hypot(vectors[0], vectors[1])  # (2, H, W) -> (H, W)
    is_known = speeds < _UNKNOWN  # and a number
    right, down = np.where(is_known, vectors, 0.0)
    scale = longest or speeds[is_known].max(initial=0.0) or 1.0
    speed = np.where(is_known, speeds, 0.0) / scale
    colors = _shade(_hue(np.arctan2(down, right)), speed)
    colors[~is_known] = 0
    return Image.fromarray(np.rint(colors * 255).astype(np.uint8))


def _hue(angle: Floats) -> Floats:
    """Find the full colour of a direction, clockwise from the right, (H, W) -> (H, W, 3)."""
    step = angle / (2 * np.pi) % 1 * _STEPS[-1]
    return np.stack([np.interp(step, _STEPS, channel) for channel in _HUES.T], axis=-1)


def _shade(hue: Floats, speed: Floats) -> Floats:
    """Bleach what is slow and darken what is too fast, (H, W, 3) -> (H, W, 3)."""
    speed = speed[..., None]  # (H, W) -> (H, W, 1)
    bleached = 1 - np.minimum(speed, 1) * (1 - hue)
    # The fastest is no faster than itself, whatever its division has rounded to.
    shaded: Floats = np.where(speed > 1 + 1e-9, _TOO_FAST * hue, bleached)
    return shaded

"""Pictures and figures as text that stands in a page: the page needs no other file."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LARGEST = 224  # pixels of a side: more is not seen at the size of the page
_SMALL = 64  # up to it pixels are seen one by one, and JPEG would blur them
_QUALITY = 85
_CLIP_PERCENTILE = 99.0
# The picture under a map is drawn in pale grey, so that every colour comes from the map.
_PALEST, _DARKEST = 255.0, 150.0
_COLORS = "inferno_r"


def inline_picture(pixels: NDArray[np.uint8]) -> str:
    """Write pixels (H, W, 3) as a data URI, reduced if they are many."""
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    picture.thumbnail((_LARGEST, _LARGEST), Image.Resampling.BILINEAR)
    buffer = io.BytesIO()
    if max(picture.size) <= _SMALL:
        picture.save(buffer, "PNG")
        return _data_uri(buffer, "image/png")
    picture.save(buffer, "JPEG", quality=_QUALITY)
    return _data_uri(buffer, "image/jpeg")


def inline_figure(figure: Figure) -> str:
    """Write a figure as a data URI of SVG; the same figure is the same text."""
    import matplotlib

    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "eyespot"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return _data_uri(buffer, "image/svg+xml")


def overlay(pixels: NDArray[np.uint8], attributions: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Colour a picture (H, W, 3) by how much each pixel counted (H, W): the darker, the more."""
    import matplotlib

    values = np.nan_to_num(np.abs(attributions.astype(np.float64)), posinf=0.0)
    limit = np.percentile(values, _CLIP_PERCENTILE) or values.max() or 1.0
    strength = np.clip(values / limit, 0, 1)
    colors = matplotlib.colormaps[_COLORS](strength)[:, :, :3] * 255  # (H, W, 3)
    grey = np.asarray(Image.fromarray(np.ascontiguousarray(pixels)).convert("L"), np.float64)
    paper = (_DARKEST + grey / 255 * (_PALEST - _DARKEST))[:, :, None]
    opacity = 0.85 * strength[:, :, None] ** 0.7  # the picture shines through everywhere
    mixed: NDArray[np.uint8] = np.rint(colors * opacity + paper * (1 - opacity)).astype(np.uint8)
    return mixed


def _data_uri(buffer: io.BytesIO, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"

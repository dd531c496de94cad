"""`--region`: where in a picture a class is meant, as a rectangle or as a mask."""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw

from eyespot.client import PictureError
from eyespot.client.pictures import load_picture

_WHITE = 255


@dataclass(frozen=True)
class Rectangle:
    """From its left and upper edge to its right and lower one, in pixels of the file."""

    left: float
    upper: float
    right: float
    lower: float

    def paint(self, size: tuple[int, int]) -> Image.Image:
        """Paint it white on black, on a picture of (width, height)."""
        painted = Image.new("L", size)
        last = (math.ceil(self.right) - 1, math.ceil(self.lower) - 1)  # is painted too
        first = (math.floor(self.left), math.floor(self.upper))
        ImageDraw.Draw(painted).rectangle((first, last), fill=_WHITE)
        return painted


def region(text: str) -> Rectangle | Path:
    """Read four edges, or the path of a mask."""
    words = text.split(",")
    if len(words) != 4:
        return Path(text)
    try:
        edges = [float(word) for word in words]
    except ValueError:
        return Path(text)
    left, upper, right, lower = edges
    if not (all(map(math.isfinite, edges)) and left < right and upper < lower):
        raise argparse.ArgumentTypeError(
            f"expected LEFT,UPPER,RIGHT,LOWER with LEFT below RIGHT and UPPER below LOWER, "
            f"found {text}"
        )
    return Rectangle(left, upper, right, lower)


def mask_of(path: str, region: Rectangle | Path) -> Image.Image:
    """Give a picture of the size of the one at `path`, white where the region is.

    Raises:
        PictureError: A file cannot be read, or the mask is of another size than the picture.
    """
    size = load_picture(path).size
    if isinstance(region, Rectangle):
        return region.paint(size)
    mask = load_picture(region)
    if mask.size != size:
        raise PictureError(
            f"the mask {region} is of {mask.width}x{mask.height} pixels, but {path} of "
            f"{size[0]}x{size[1]}: give one that lies on the picture"
        )
    return mask

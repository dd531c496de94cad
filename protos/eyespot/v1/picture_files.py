"""Picture files, opened with a look at their headers before any pixel takes memory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image

# Pillow reads some forty formats; each is a parser that a stranger's file may reach.
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
# 192 MiB as RGB; large enough for every camera that is not a satellite's.
MOST_PIXELS = 1 << 26


class PictureBombError(ValueError):
    """The header of a picture announces more pixels than are taken."""


@contextmanager
def open_picture(path: str | os.PathLike[str]) -> Iterator[Image.Image]:
    """Open a picture of a format that is named in `FORMATS`; its pixels are not read yet.

    Raises:
        PictureBombError: The header announces more than `MOST_PIXELS`.
        OSError: The file cannot be read, or is no picture of these formats.
    """
    try:
        image = Image.open(path, formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        # Pillow's own bounds are above ours, and it may warn instead.
        raise PictureBombError(str(error)) from error
    with image:
        width, height = image.size
        if width * height > MOST_PIXELS:
            raise PictureBombError(
                f"its header announces {width} x {height} pixels; at most "
                f"{MOST_PIXELS >> 20} megapixels are read"
            )
        yield image

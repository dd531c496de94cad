"""Picture files, opened with a look at their headers before any pixel takes memory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:  # who serves tensors alone never loads Pillow
    from PIL import Image

# Pillow reads some forty formats; each is a parser that a stranger's file may reach.
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
# What a server takes encoded, in place of pixels: what cameras and phones write.
ENCODED_FORMATS = ("JPEG", "PNG", "WEBP")
# 192 MiB as RGB; large enough for every camera that is not a satellite's.
MOST_PIXELS = 1 << 26


class PictureBombError(ValueError):
    """The header of a picture announces more pixels than are taken."""


def encoded_format(head: bytes) -> str | None:
    """Which of `ENCODED_FORMATS` a file is of, by its first twelve bytes; None for another."""
    if head.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    return "WEBP" if head[:4] == b"RIFF" and head[8:12] == b"WEBP" else None


@contextmanager
def open_picture(
    source: str | os.PathLike[str] | IO[bytes], formats: tuple[str, ...] = FORMATS
) -> Iterator[Image.Image]:
    """Open a picture of one of some formats; its pixels are not read yet.

    Raises:
        PictureBombError: The header announces more than `MOST_PIXELS`.
        OSError: The file cannot be read, or is no picture of these formats.
    """
    from PIL import Image

    try:
        image = Image.open(source, formats=formats)
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

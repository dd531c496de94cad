"""Pictures into the rows that a model takes, by the model's own preprocessing rule.

A row is one element of a batch. A picture - a PIL image, the path of a file, or the bytes of a
JPEG, PNG or WebP file, as cameras give them - becomes a row by the rule; an array is a row as it
is.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from io import BytesIO
from pathlib import Path
from typing import TypeAlias

import numpy as np
from PIL import Image, UnidentifiedImageError

from eyespot.client.errors import ClientError, PictureError
from eyespot.v1.picture_files import ENCODED_FORMATS, FORMATS, encoded_format, open_picture
from eyespot.v1.preprocessing import PreprocessingError, PreprocessingRule
from eyespot.v1.tensors import Array

Picture: TypeAlias = Image.Image | str | os.PathLike[str] | bytes
Images: TypeAlias = Picture | Array | Sequence[Picture | Array]

# Above it the pixels that a model takes are fewer bytes, and some servers take no more at once.
MOST_ENCODED_BYTES = 4_000_000


def load_picture(source: Picture) -> Image.Image:
    """Open a picture and decode its pixels.

    Raises:
        PictureError: The file is missing, no picture, or broken; the message names it.
    """
    if isinstance(source, Image.Image):
        return source
    if isinstance(source, bytes):
        return _decode(source)
    if not isinstance(source, str | os.PathLike):
        raise ClientError(
            "a picture is a PIL image, a path, bytes or a NumPy array, "
            f"found {type(source).__name__}"
        )
    try:
        with open_picture(source) as image:
            image.load()
            return image  # its pixels outlive the file
    except (OSError, SyntaxError, ValueError) as error:
        raise PictureError(f"{os.fspath(source)} cannot be read: {_why(error)}") from error


def _decode(content: bytes) -> Image.Image:
    if encoded_format(content[:12]) is None:
        raise PictureError(
            f"bytes of a picture are a file of {', '.join(ENCODED_FORMATS)}; found {len(content)} "
            f"that begin with {content[:12]!r}"
        )
    try:
        with open_picture(BytesIO(content), ENCODED_FORMATS) as image:
            image.load()
            return image
    except (OSError, SyntaxError, ValueError) as error:
        raise PictureError(f"the picture cannot be read: {_why(error)}") from error


def as_rows(images: Images, rank: int) -> list[Picture | Array]:
    """Take one row, a list of rows, or an array of them apart.

    Args:
        images: What the caller gave.
        rank: Number of dimensions that the model's input has, with the batch.
    """
    if isinstance(images, np.ndarray):
        if images.ndim == rank:
            return list(images)
        if images.ndim == rank - 1:
            return [images]
        raise ClientError(
            f"the model takes arrays of {rank} dimensions with the batch or {rank - 1} "
            f"without, found shape {images.shape}"
        )
    if isinstance(images, str | bytes | os.PathLike | Image.Image):
        return [images]
    rows: Sequence[Picture | Array] = images
    if not isinstance(rows, Sequence):
        raise ClientError(
            f"expected a picture, a list of pictures or a NumPy array, found {type(rows).__name__}"
        )
    if not rows:
        raise ClientError("the list of pictures is empty: give at least one")
    return list(rows)


def loader(
    rows: Sequence[Picture | Array], rule: PreprocessingRule | None, *, model_name: str
) -> Callable[[], Array]:
    """Put off the reading and preparing of some rows until their batch is due."""
    return lambda: _stack([_prepare(row, rule, model_name) for row in rows])


def read_encoded(rows: Sequence[Picture | Array], formats: Collection[str]) -> Array | None:
    """Read files as they are, for a server that decodes them itself; (B, 1) of bytes.

    Args:
        rows: Of one batch.
        formats: That the server takes.

    Returns:
        None where they are to be prepared here: not all are files of these formats, or they
        are larger together than `MOST_ENCODED_BYTES`.
    """
    encoded = np.empty((len(rows), 1), object)
    left = MOST_ENCODED_BYTES
    for number, row in enumerate(rows):
        content = _content(row, left + 1)
        if content is None:
            return None
        left -= len(content)
        if left < 0 or encoded_format(content[:12]) not in formats:
            return None
        encoded[number, 0] = content
    return encoded


def _content(row: Picture | Array, most: int) -> bytes | None:
    """The first bytes of a file; None where it is none, or cannot be read."""
    if isinstance(row, bytes):
        return row
    if not isinstance(row, str | os.PathLike):
        return None
    try:
        if not Path(row).is_file():
            return None
        with Path(row).open("rb") as file:
            return file.read(most)
    except (OSError, ValueError):  # to prepare it here tells why
        return None


def _prepare(row: Picture | Array, rule: PreprocessingRule | None, model_name: str) -> Array:
    if isinstance(row, np.ndarray):
        return row
    if rule is None:
        raise ClientError(
            f"model {model_name!r} tells no preprocessing rule, so that how a picture becomes "
            "its input is not known: export it with one (`eyespot add --preprocessing` gives an "
            "ONNX file one), or give eyespot.client NumPy arrays"
        )
    image = load_picture(row)
    try:
        return rule.apply(image)  # (H, W, C)
    except PreprocessingError as error:
        name = Path(row).name if isinstance(row, str | os.PathLike) else "the picture"
        raise PictureError(f"{name}: {error}") from error


def _stack(rows: Sequence[Array]) -> Array:
    shapes = {row.shape for row in rows}
    if len(shapes) > 1:
        raise PictureError(
            f"rows of one batch must have one shape, found {sorted(shapes)}: send them one by one"
        )
    return np.stack(rows)  # -> (B, ...)


def _why(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return f"it is not a picture in a format that is read ({', '.join(FORMATS)})"
    if isinstance(error, IsADirectoryError):
        return f"it is a folder; name the pictures in it, such as {error.filename}/*.png"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error)

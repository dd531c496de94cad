"""Pictures into the rows that a model takes, by the model's own preprocessing rule.

A row is one element of a batch. A picture - a PIL image or the path of a file - becomes a
row by the rule; an array is a row as it is.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
from PIL import Image, UnidentifiedImageError

from eyespot.client.errors import ClientError, PictureError
from eyespot.v1.picture_files import FORMATS, encoded_format, open_picture
from eyespot.v1.preprocessing import PreprocessingError, PreprocessingRule
from eyespot.v1.tensors import Array

Picture: TypeAlias = Image.Image | str | os.PathLike[str]
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
    if not isinstance(source, str | os.PathLike):
        raise ClientError(
            f"a picture is a PIL image, a path or a NumPy array, found {type(source).__name__}"
        )
    try:
        with open_picture(source) as image:
            image.load()
            return image  # its pixels outlive the file
    except (OSError, SyntaxError, ValueError) as error:
        raise PictureError(f"{os.fspath(source)} cannot be read: {_why(error)}") from error


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
    if isinstance(images, str | os.PathLike | Image.Image):
        return [images]
    if not isinstance(images, Sequence):
        raise ClientError(
            "expected a picture, a list of pictures or a NumPy array, "
            f"found {type(images).__name__}"
        )
    if not images:
        raise ClientError("the list of pictures is empty: give at least one")
    return list(images)


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
        if not isinstance(row, str | os.PathLike):
            return None
        try:
            if not Path(row).is_file():
                return None
            with Path(row).open("rb") as file:
                content = file.read(left + 1)
        except (OSError, ValueError):  # to prepare it here tells why
            return None
        left -= len(content)
        if left < 0 or encoded_format(content[:12]) not in formats:
            return None
        encoded[number, 0] = content
    return encoded


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
        name = "the picture" if isinstance(row, Image.Image) else Path(row).name
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

"""The picture as a model saw it, and other pictures brought to the same place."""

from __future__ import annotations

import os

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from eyespot.client.errors import PictureError
from eyespot.client.pictures import Picture, load_picture
from eyespot.client.values import ModelConfig
from eyespot.v1 import model_config_pb2
from eyespot.v1.preprocessing import PreprocessingRule, upright
from eyespot.v1.tensors import Array


def channel_axis(inputs: Array, config: ModelConfig) -> int | None:
    """Which axis of one row of (B, ...) has the channels; None when a row is no picture."""
    if inputs.ndim != 4:
        return None
    if config.preprocessing is not None:
        return 2
    told = config.message.input[0].format if config.message.input else None
    if told == model_config_pb2.ModelInput.FORMAT_NHWC:
        return 2
    if told == model_config_pb2.ModelInput.FORMAT_NCHW:
        return 0
    # Not told: few values are channels; in doubt they come first, as PyTorch has them.
    return 2 if inputs.shape[3] in (1, 3, 4) and inputs.shape[1] not in (1, 3, 4) else 0


def read_pixels(row: Array, axis: int | None) -> NDArray[np.uint8] | None:
    """Take one row of the input for a picture (H, W, C), if that is what it is."""
    if axis is None or row.dtype != np.uint8:
        return None
    pixels = np.moveaxis(row, axis, 2).astype(np.uint8, copy=False)
    return pixels if pixels.shape[2] in (1, 3) else None


def to_image(pixels: NDArray[np.uint8] | None, rule: PreprocessingRule | None) -> Image.Image:
    """Give pixels (H, W, C) as an RGB picture.

    Raises:
        PictureError: There are none: the model does not take pixels.
    """
    if pixels is None:
        raise PictureError(
            "the model does not take pixels: give the picture to draw upon as `image`"
        )
    if pixels.shape[-1] == 1:
        return Image.fromarray(pixels[..., 0]).convert("RGB")
    is_reversed = rule is not None and rule.color_order == "BGR"
    return Image.fromarray(np.ascontiguousarray(pixels[..., ::-1] if is_reversed else pixels))


def bring_to(size: tuple[int, int], image: Picture, rule: PreprocessingRule | None) -> Image.Image:
    """Put a picture through a rule, and give it at (width, height)."""
    loaded = upright(load_picture(image))
    if loaded.size != size and rule is not None:
        loaded = to_image(rule.apply(loaded), rule)
    return loaded.convert("RGB").resize(size, Image.Resampling.BILINEAR)


def write_picture(drawn: Image.Image, path: str | os.PathLike[str]) -> None:
    """Write a picture to a file, in the format that its suffix names.

    Raises:
        PictureError: The suffix names no format, or the file cannot be written.
    """
    try:
        drawn.save(path)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise PictureError(f"{os.fspath(path)} cannot be written: {reason}") from error
    except ValueError as error:
        raise PictureError(f"{os.fspath(path)}: {error}") from error

"""Maps of a layer become attributions of the input: enlarged, in the input's axis order."""

import numpy as np
from numpy.typing import NDArray

from eyespot.saliency.errors import UnavailableMethodError


def check_pictures(channel_axis: int | None) -> None:
    """Check that rows are pictures: two spatial axes and one of channels.

    Raises:
        UnavailableMethodError: they are none.
    """
    if channel_axis is None:
        raise UnavailableMethodError(
            "the method needs pictures, and which axis of a row has the channels: config.pbtxt may "
            "say it of the input (format: FORMAT_NCHW or FORMAT_NHWC)"
        )


def spatial_axes(channel_axis: int) -> tuple[int, int]:
    """The axes of height and width of a batch of pictures (B, ., ., .)."""
    height, width = (axis for axis in (1, 2, 3) if axis != channel_axis)
    return height, width


def enlarge(
    maps: NDArray[np.float32], shape: tuple[int, ...], channel_axis: int | None
) -> NDArray[np.float32]:
    """Bring maps to the size of the pictures that they are of.

    Args:
        maps: (N, h, w).
        shape: of the pictures, (B, ., ., .).
        channel_axis: of the pictures.

    Returns:
        (N, ., ., .), the channel axis of size 1.
    """
    assert channel_axis is not None
    height, width = (shape[axis] for axis in spatial_axes(channel_axis))
    rows, columns = blend(maps.shape[1], height), blend(maps.shape[2], width)
    enlarged = rows @ maps @ columns.T  # (H, h) (N, h, w) (w, W) -> (N, H, W)
    return np.expand_dims(enlarged, channel_axis)


def blend(size: int, larger: int) -> NDArray[np.float32]:
    """Bilinear interpolation along one axis, as a matrix (larger, size); pixels are areas."""
    centres = (np.arange(larger) + 0.5) * size / larger - 0.5
    centres = centres.clip(0, size - 1)
    before = np.floor(centres).astype(np.int64)
    after = np.minimum(before + 1, size - 1)
    share = (centres - before).astype(np.float32)
    matrix = np.zeros((larger, size), np.float32)
    matrix[np.arange(larger), before] += 1 - share
    matrix[np.arange(larger), after] += share
    return matrix

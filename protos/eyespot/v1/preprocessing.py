"""What happens to a picture before the graph sees it: the rule, and its application.

Resizing, cropping and the order of the colours happen here, outside the graph; scaling to
[0, 1] and normalising happen inside it, so that `mean` and `std` are told but not applied.
The rule travels in `ModelConfig.parameters`, under keys that begin with "preprocessing.",
so that every client can learn it from the server. The arithmetic is torchvision's on PIL
images: what a network was trained on is what it is served. Before it, a picture is turned
as its EXIF orientation says, which torchvision leaves to the caller.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from eyespot.v1.picture_files import MOST_PIXELS

if TYPE_CHECKING:  # who serves tensors alone never loads Pillow
    from PIL import Image

ColorOrder = Literal["RGB", "BGR", "GRAY"]

# Keys of `ModelConfig.parameters` by which a server tells that it applies the rule itself: the
# name of the model that takes encoded pictures, and their formats, separated by commas.
IMAGE_ENDPOINT, IMAGE_FORMATS = "image_endpoint", "image_formats"
_PREFIX = "preprocessing."
_HALF = 128  # of the brightness from which a pixel is white
# Told, so that other clients need not guess it; it is the same for every rule.
_CHANNEL_AXIS, _CHANNELS_LAST = "channel_axis", 3
_CHANNELS = {"RGB": 3, "BGR": 3, "GRAY": 1}
INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos", "box", "hamming")


class PreprocessingError(ValueError):
    """A rule that cannot be, or a picture that it cannot be applied to."""


@dataclass(frozen=True)
class PreprocessingRule:
    """From a picture of any size to the pixels that the graph takes.

    Attributes:
        resize_size: An int is the new size of the shorter side, the aspect ratio kept;
            (height, width) is exact; None leaves the picture as it is.
        crop_size: (height, width) cut from the centre, padded with black where the
            picture is smaller; None cuts nothing.
        interpolation: "nearest", "bilinear", "bicubic", "lanczos", "box" or "hamming".
        color_order: "RGB", "BGR" or "GRAY"; it fixes the number of channels.
        mean: Per channel, of pixels in [0, 1]; subtracted inside the graph.
        std: Per channel; divided by inside the graph.
    """

    resize_size: int | tuple[int, int] | None
    crop_size: tuple[int, int] | None
    interpolation: str
    color_order: ColorOrder
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        if self.color_order not in _CHANNELS:
            raise PreprocessingError(_one_of("color_order", self.color_order, _CHANNELS))
        if self.interpolation not in INTERPOLATIONS:
            raise PreprocessingError(_one_of("interpolation", self.interpolation, INTERPOLATIONS))
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) != self.channels:
                raise PreprocessingError(
                    f"{name} needs {self.channels} numbers for {self.color_order}, "
                    f"found {len(values)}"
                )
            if not all(map(math.isfinite, values)):
                raise PreprocessingError(f"{name} must be finite numbers, found {list(values)}")
        if min(self.std) <= 0:
            raise PreprocessingError(f"std must be positive, found {list(self.std)}")
        for name, size in (("resize_size", self.resize_size), ("crop_size", self.crop_size)):
            if size is not None and min(size if isinstance(size, tuple) else (size,)) < 1:
                raise PreprocessingError(f"{name} must be at least 1, found {size}")

    @property
    def channels(self) -> int:
        """How many channels the pixels have."""
        return _CHANNELS[self.color_order]

    @property
    def size(self) -> tuple[int, int] | None:
        """(height, width) of every result, or None when it depends on the picture."""
        if self.crop_size is not None:
            return self.crop_size
        return self.resize_size if isinstance(self.resize_size, tuple) else None

    @property
    def normalises(self) -> bool:
        """Whether mean or std change anything."""
        return any(self.mean) or any(value != 1 for value in self.std)

    def apply(self, image: Image.Image) -> NDArray[np.uint8]:
        """Turn a picture into pixels (H, W, C).

        Raises:
            PreprocessingError: The picture has no pixels.
        """
        if 0 in image.size:
            raise PreprocessingError(f"the picture has no pixels: {image.width}x{image.height}")
        image, mode = upright(image), "L" if self.color_order == "GRAY" else "RGB"
        if image.mode != mode:  # or else it would be copied
            image = image.convert(mode)
        if self.resize_size is not None:
            image = _resize(image, self.resize_size, self.interpolation)
        if self.crop_size is not None:
            image = _crop(image, self.crop_size)
        pixels = np.asarray(image, np.uint8)  # (H, W) or (H, W, 3)
        pixels = pixels.reshape(*pixels.shape[:2], self.channels)  # -> (H, W, C)
        return pixels[:, :, ::-1] if self.color_order == "BGR" else pixels

    def place(self, mask: Image.Image) -> NDArray[np.bool_]:
        """Find where the white of a picture lies in what the graph sees, (H, W).

        Raises:
            PreprocessingError: The picture has no pixels.
        """
        shape_only = replace(self, color_order="GRAY", mean=(0.0,), std=(1.0,))
        is_white: NDArray[np.bool_] = shape_only.apply(mask)[..., 0] >= _HALF
        return is_white

    def to_json(self) -> dict[str, Any]:
        """Write the rule as JSON values, as the manifest holds it."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> PreprocessingRule:
        """Read what `to_json` wrote.

        Raises:
            PreprocessingError: A field is missing, unknown or of the wrong kind.
        """
        names = {field.name for field in fields(cls)}
        if set(values) != names:
            missing, unknown = sorted(names - set(values)), sorted(set(values) - names)
            raise PreprocessingError(f"rule with missing {missing} and unknown {unknown} fields")
        try:
            return cls(
                resize_size=_resize_size(values["resize_size"]),
                crop_size=None if values["crop_size"] is None else _pair(values["crop_size"]),
                interpolation=str(values["interpolation"]),
                color_order=cast(ColorOrder, str(values["color_order"])),
                mean=tuple(float(value) for value in values["mean"]),
                std=tuple(float(value) for value in values["std"]),
            )
        except (TypeError, ValueError) as error:
            raise PreprocessingError(f"rule cannot be read: {error}") from error

    def to_parameters(self) -> dict[str, str]:
        """Write the rule as `ModelConfig.parameters`, one JSON value each."""
        told = {**self.to_json(), _CHANNEL_AXIS: _CHANNELS_LAST}
        return {_PREFIX + name: json.dumps(value) for name, value in told.items()}

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, str]) -> PreprocessingRule | None:
        """Read the rule from `ModelConfig.parameters`; None when they tell none.

        Raises:
            PreprocessingError: They tell one that is incomplete or malformed.
        """
        told = {
            name.removeprefix(_PREFIX): value
            for name, value in parameters.items()
            if name.startswith(_PREFIX)
        }
        if not told:
            return None
        try:
            values = {name: json.loads(value) for name, value in told.items()}
        except (ValueError, RecursionError) as error:
            raise PreprocessingError(f"rule is not JSON: {error}") from error
        axis = values.pop(_CHANNEL_AXIS, _CHANNELS_LAST)
        if axis != _CHANNELS_LAST:
            raise PreprocessingError(
                f"rule with {_CHANNEL_AXIS} {axis}; pixels come as (batch, height, width, "
                f"channels), axis {_CHANNELS_LAST}"
            )
        return cls.from_json(values)


IMAGENET = PreprocessingRule(
    resize_size=256,
    crop_size=(224, 224),
    interpolation="bilinear",
    color_order="RGB",
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
)


def upright(image: Image.Image) -> Image.Image:
    """Turn a picture as its EXIF orientation says; one that says nothing, or nonsense, stays."""
    from PIL import ExifTags, ImageOps

    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # a stranger's EXIF breaks its parser in many ways
        return image
    return ImageOps.exif_transpose(image) if orientation in range(2, 9) else image


def _resize(image: Image.Image, size: int | tuple[int, int], interpolation: str) -> Image.Image:
    from PIL import Image

    if isinstance(size, tuple):
        height, width = size
    else:
        # The longer side is truncated, not rounded, as torchvision does.
        short, long = sorted(image.size)
        longer = int(size * long / short)
        width, height = (size, longer) if image.width <= image.height else (longer, size)
        if width * height > MOST_PIXELS:  # a line of pixels, drawn out into a square's height
            raise PreprocessingError(
                f"a picture of {image.width} x {image.height} pixels becomes {width} x {height} "
                f"by the rule; at most {MOST_PIXELS >> 20} megapixels are made"
            )
    return image.resize((width, height), Image.Resampling[interpolation.upper()])


def _crop(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    height, width = size
    if image.width < width or image.height < height:
        image = _pad(image, width, height)
    # Halves are rounded to even, as torchvision does.
    top, left = round((image.height - height) / 2), round((image.width - width) / 2)
    return image.crop((left, top, left + width, top + height))


def _pad(image: Image.Image, width: int, height: int) -> Image.Image:
    from PIL import Image

    missing_width, missing_height = max(width - image.width, 0), max(height - image.height, 0)
    padded = Image.new(image.mode, (image.width + missing_width, image.height + missing_height))
    padded.paste(image, (missing_width // 2, missing_height // 2))
    return padded


def _resize_size(value: object) -> int | tuple[int, int] | None:
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    return _pair(value)


def _pair(value: Any) -> tuple[int, int]:
    height, width = value
    if not all(isinstance(size, int) for size in (height, width)):
        raise TypeError(f"sizes must be whole numbers, found {value}")
    return height, width


def _one_of(field: str, found: str, allowed: Iterable[str]) -> str:
    return f"{field} {found!r} is not one of {', '.join(allowed)}"

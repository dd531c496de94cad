"""What a picture shows where: a class for each pixel, as numbers and as a coloured picture."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from eyespot.client import color_maps
from eyespot.client.errors import ClientError, PictureError
from eyespot.client.lettering import fit_text, font_for
from eyespot.client.pictures import Picture, load_picture
from eyespot.client.seen_picture import (
    bring_to,
    channel_axis,
    read_pixels,
    to_image,
    write_picture,
)
from eyespot.client.values import InferResult, ModelConfig, class_name
from eyespot.v1.preprocessing import PreprocessingRule
from eyespot.v1.tensors import Array

_MARGIN, _LINE, _BOX, _TEXT_SIZE, _LEGEND_WIDTH = 12, 22, 14, 13, 190
_MOST_NAMED = 12  # classes in a legend; the rest are too small to be seen
_INK, _PAPER = (25, 25, 25), (255, 255, 255)
_DARKEST = 0.7  # what is left of a colour where the picture is black


@dataclass(frozen=True)
class ClassShare:
    """How much of a picture belongs to a class; `label` is empty when the model has none."""

    index: int
    label: str
    share: float

    @property
    def name(self) -> str:
        """What to call the class: its label, or "class 3" where there is none."""
        return class_name(self.index, self.label)


@dataclass(frozen=True, eq=False)
class Segmentation:
    """The class of each pixel of one picture.

    Attributes:
        classes: (H, W), at the size that the model saw.
        labels: Of the classes, by index; empty when the model has none.
        pixels: The picture as the model saw it, (H, W, C), where the input is pixels.
        preprocessing: The rule that brings another picture to the same place.
    """

    classes: NDArray[np.int64]
    labels: tuple[str, ...] = field(repr=False)
    model_name: str
    model_version: str
    pixels: NDArray[np.uint8] | None = field(default=None, repr=False)
    preprocessing: PreprocessingRule | None = field(default=None, repr=False)

    @property
    def shares(self) -> list[ClassShare]:
        """The classes that are there, the largest first."""
        indices, counts = np.unique(self.classes, return_counts=True)
        order = np.argsort(-counts, kind="stable")
        return [
            ClassShare(int(indices[at]), self._label(int(indices[at])), counts[at] / counts.sum())
            for at in order
        ]

    def region_of(self, mask: Picture) -> NDArray[np.bool_]:
        """Find where the white of a picture lies in what the model saw: a region to explain.

        Args:
            mask: Of the size of the picture that was segmented, before the model's rule.

        Returns:
            (H, W), as `ExplainTarget` takes it.

        Raises:
            PictureError: It cannot be read, or nothing white is left of it.
        """
        if self.preprocessing is None:
            raise PictureError(
                "the model has no preprocessing rule to put a mask in place by: give "
                "`ExplainTarget.region` as an array of the map's size"
            )
        found = self.preprocessing.place(load_picture(mask))
        if found.shape != self.classes.shape:
            raise PictureError(
                f"the mask comes to {found.shape[1]}x{found.shape[0]} pixels, but the model's map "
                f"has {self.classes.shape[1]}x{self.classes.shape[0]}: give one that lies on the "
                "picture"
            )
        if not found.any():
            raise PictureError("nothing of the region is left in what the model sees")
        return found

    def overlay(
        self, image: Picture | None = None, *, legend: bool = True, size: int = 320
    ) -> Image.Image:
        """Colour each pixel by its class, over the picture in pale grey, the picture beside it.

        Args:
            image: What to draw upon, put in place by the model's rule; the pixels that
                the model saw when None.
            legend: Whether the picture stands on the left, and the classes that are there are
                named on the right.
            size: The shorter side is enlarged to about so many pixels where it is smaller.

        Raises:
            PictureError: There is no picture to draw upon.
        """
        height, width = self.classes.shape
        if image is None:
            background = to_image(self.pixels, self.preprocessing)
        else:
            background = bring_to((width, height), image, self.preprocessing)
        grey = np.asarray(background.convert("L"), np.float64)[..., None] / 255  # (H, W, 1)
        colors = color_maps.categorical(self.classes)  # (H, W, 3)
        # Dark where the picture is, but never so much that a class is hard to tell by its colour.
        mixed = colors * (_DARKEST + grey * (1 - _DARKEST))
        factor = max(1, -(-size // min(height, width)))  # a whole number: pixels stay square
        enlarged = (width * factor, height * factor)
        drawn = Image.fromarray(np.rint(mixed).astype(np.uint8)).resize(
            enlarged, Image.Resampling.NEAREST
        )
        if not legend:
            return drawn
        return self._with_legend(drawn, background.resize(enlarged, Image.Resampling.NEAREST))

    def save(self, path: str | os.PathLike[str], *, image: Picture | None = None) -> None:
        """Write the overlay to a file, in the format that its suffix names.

        Raises:
            PictureError: As `overlay`, or the file cannot be written.
        """
        write_picture(self.overlay(image), path)

    def _with_legend(self, drawn: Image.Image, picture: Image.Image) -> Image.Image:
        shown = self.shares[:_MOST_NAMED]
        height = max(drawn.height, len(shown) * _LINE) + 2 * _MARGIN
        left = 2 * (drawn.width + _MARGIN) + _MARGIN  # of the legend
        framed = Image.new("RGB", (left + _LEGEND_WIDTH + _MARGIN, height), _PAPER)
        framed.paste(picture, (_MARGIN, _MARGIN))
        framed.paste(drawn, (drawn.width + 2 * _MARGIN, _MARGIN))
        pen = ImageDraw.Draw(framed)
        colors = color_maps.categorical(np.array([each.index for each in shown]))
        for number, each in enumerate(shown):
            top = _MARGIN + number * _LINE
            red, green, blue = colors[number].tolist()
            pen.rectangle((left, top, left + _BOX, top + _BOX), fill=(red, green, blue))
            text = f"{each.name}  {each.share:.1%}"
            room, font = _LEGEND_WIDTH - _BOX - 8, font_for(text, _TEXT_SIZE)
            pen.text((left + _BOX + 8, top - 1), fit_text(text, font, room), _INK, font)
        return framed

    def _label(self, index: int) -> str:
        return self.labels[index] if index < len(self.labels) else ""


def read_segmentations(
    result: InferResult, output: str, inputs: Array, config: ModelConfig
) -> list[Segmentation]:
    """Read the answer for the rows of one request, which were `inputs`.

    Raises:
        ClientError: The output has not one number for each class of each pixel.
    """
    logits = result.outputs[output]
    if logits.ndim != 4:
        raise ClientError(
            f"a segmentation has shape (batch, classes, height, width), found {logits.shape} "
            f"in output {output!r} of model {result.model_name!r}"
        )
    axis = channel_axis(inputs, config)
    return [
        Segmentation(
            classes=row.argmax(axis=0),  # (K, H, W) -> (H, W)
            labels=config.labels,
            model_name=result.model_name,
            model_version=result.model_version,
            pixels=read_pixels(inputs[number], axis),
            preprocessing=config.preprocessing,
        )
        for number, row in enumerate(logits)
    ]

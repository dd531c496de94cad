"""What was explained in one picture, as numbers and as a picture."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from eyespot.client import overlay
from eyespot.client.answers import label_of, read_attributions
from eyespot.client.errors import PictureError
from eyespot.client.normalisation import CLIP_PERCENTILE, Normalisation
from eyespot.client.pictures import Picture
from eyespot.client.requests import Target
from eyespot.client.seen_picture import (
    bring_to,
    channel_axis,
    read_pixels,
    to_image,
    write_picture,
)
from eyespot.client.values import ExplainTarget, ModelConfig, Parameter, class_name
from eyespot.v1 import explain_pb2
from eyespot.v1.preprocessing import PreprocessingRule
from eyespot.v1.tensors import Array

_AGREEMENT = ": top classes agree on "


@dataclass(frozen=True, eq=False)
class Explanation:
    """How much each pixel of one picture spoke for the target.

    Attributes:
        attributions: (H, W), or (H, W, C) where the channels were not reduced.
        target: Index of the class that is explained.
        label: Of the target; empty when the model has no labels.
        score: The number that was differentiated, for this picture.
        reports: What the method told beside the attributions.
        score_name: Which number it is, such as "logit".
        against: The class whose score was subtracted, by its label; empty for none.
        pixels: The picture as the model saw it, (H, W, C), where the input is pixels.
        preprocessing: The rule that brings another picture to the same place.
        backend: What computed it on the server: "torch" or "onnxruntime".
        original: What is explained where that is not the served network, such as the one that
            it was quantised from, and how far they agree; empty where it is.
        parameters: Of the method, those that were given.
    """

    attributions: NDArray[np.float32]
    target: int
    label: str
    score: float
    reports: Mapping[str, float]
    model_name: str
    model_version: str
    method: str
    channel_reduction: str
    score_name: str = "logit"
    against: str = ""
    pixels: NDArray[np.uint8] | None = field(default=None, repr=False)
    preprocessing: PreprocessingRule | None = field(default=None, repr=False)
    backend: str = ""
    original: str = ""
    parameters: Mapping[str, Parameter] = field(default_factory=dict)

    def __repr__(self) -> str:
        label = f" {self.label!r}" if self.label else ""
        return (
            f"Explanation({self.method} of {self.model_name} version {self.model_version}, "
            f"target {self.target}{label}, {self.score_name} {self.score:.4g}, "
            f"attributions {self.attributions.shape})"
        )

    @property
    def title(self) -> str:
        """What is explained: "cat", or "cat rather than dog"."""
        name = class_name(self.target, self.label)
        return f"{name} rather than {self.against}" if self.against else name

    @property
    def method_title(self) -> str:
        """How it is explained: "grad_cam", or "grad_cam (layer=layer2)"."""
        given = ", ".join(f"{name}={value}" for name, value in self.parameters.items())
        return f"{self.method} ({given})" if given else self.method

    @property
    def network_title(self) -> str:
        """What is explained by it: "model v1", and which original where it is of another."""
        version = f" v{self.model_version}" if self.model_version else ""
        original = self.original.partition(_AGREEMENT)[0]
        return f"{self.model_name}{version}" + (f", by {original}" if original else "")

    @property
    def is_signed(self) -> bool:
        """Whether the numbers have a sign: what speaks for the score, and what against it."""
        return self.channel_reduction != "max" or bool((self.attributions < 0).any())

    def overlay(
        self,
        image: Picture | None = None,
        *,
        legend: bool = True,
        size: int = 320,
        clip: float = CLIP_PERCENTILE,
        sign: str | None = None,
        smooth: float = 0.0,
    ) -> Image.Image:
        """Draw the attributions over a pale copy of the picture, with the picture beside it.

        Magnitudes go from nothing over yellow to violet, signed values from blue to red.

        Args:
            image: What to draw upon, put in place by the model's rule; the pixels that
                the model saw when None.
            legend: Whether the picture stands on the left, and class, score and scale are
                written around both; without, it is the attributions over the pale copy alone.
            size: The shorter side is enlarged to about so many pixels where it is smaller.
            clip: Percentile of the magnitudes at which the scale ends, so that a few
                outliers do not drown the rest; 100 clips nothing.
            sign: "signed", "absolute" (magnitudes), or None: signed where the numbers are.
                The channel reduction "max" has left no sign.
            smooth: Standard deviation, in pixels of the attributions, of the bell curve
                that smooths them; 0 leaves them as they are.

        Raises:
            PictureError: The attributions are no map of a picture, or there is none; or
                `clip`, `sign` or `smooth` is impossible.
        """
        normalisation = Normalisation(clip, sign, smooth)
        if self.attributions.ndim not in (2, 3):
            raise PictureError(
                f"attributions of shape {self.attributions.shape} are no map of a picture; "
                "expected (H, W) or (H, W, C)"
            )
        return overlay.draw(
            self.attributions,
            self._background(image),
            title=self.title,
            subtitle=self._subtitle(),
            # Only the largest magnitude of the channels may lack a sign.
            is_signed=self.is_signed,
            is_legend_drawn=legend,
            size=size,
            normalisation=normalisation,
        )

    def save(
        self,
        path: str | os.PathLike[str],
        *,
        image: Picture | None = None,
        clip: float = CLIP_PERCENTILE,
        sign: str | None = None,
        smooth: float = 0.0,
    ) -> None:
        """Write the overlay to a file, in the format that its suffix names.

        Args:
            path: Of the file.
            image: As in `overlay`, and so are `clip`, `sign` and `smooth`.
            clip: A percentile.
            sign: "signed" or "absolute".
            smooth: In pixels.

        Raises:
            PictureError: As `overlay`, the suffix names no format, or the file cannot be
                written, such as into a folder that is not there.
        """
        write_picture(self.overlay(image, clip=clip, sign=sign, smooth=smooth), path)

    def picture(self) -> Image.Image:
        """Give the picture as the model saw it.

        Raises:
            PictureError: The model does not take pixels.
        """
        return to_image(self.pixels, self.preprocessing)

    def _background(self, image: Picture | None) -> Image.Image:
        if image is None:
            return self.picture()
        height, width = self.attributions.shape[:2]
        return bring_to((width, height), image, self.preprocessing)

    def _subtitle(self) -> str:
        said = f"{self.score_name} {self.score:.4g}, {self.method_title} of {self.network_title}"
        if self.channel_reduction == "max":
            return said
        if self.channel_reduction == "none":
            return f"{said}, each pixel's strongest channel"
        return f"{said}, channel reduction {self.channel_reduction}"


@dataclass(frozen=True, eq=False)
class ExplainProgress:
    """What is known while an explanation is refined.

    Attributes:
        progress: The share of the work that is done, 0 to 1.
        explanations: Of the pictures that were begun, in order; with progress 1, of all.
    """

    progress: float
    explanations: Sequence[Explanation]

    def __repr__(self) -> str:
        return f"ExplainProgress({self.progress:.0%}, {len(self.explanations)} explanations)"


def read_explanations(
    response: explain_pb2.ExplainResponse,
    inputs: Array,
    config: ModelConfig,
    *,
    targets: Sequence[Target],
    score_name: str,
    channel_reduction: str,
    parameters: Mapping[str, Parameter],
    like: str = "the embedding",
) -> list[Explanation]:
    """Read the answer for the rows of one request, which were `inputs`."""
    attributions = read_attributions(response)  # (B, ...) in the input's axis order
    axis = channel_axis(inputs, config)
    per_row = len(response.rows) // len(inputs)
    maps = [_as_map(row, axis, is_reduced=channel_reduction != "none") for row in attributions]
    return [
        Explanation(
            attributions=maps[number],
            target=row.target,
            score=row.score,
            reports=dict(row.reports),
            model_name=response.model_name,
            model_version=response.model_version,
            method=response.method,
            channel_reduction=channel_reduction,
            **_asked(targets, number // per_row, score_name, row.label, config, like),
            pixels=read_pixels(inputs[number // per_row], axis),
            preprocessing=config.preprocessing,
            backend=response.backend,
            original=_original(response),
            parameters=parameters,
        )
        for number, row in enumerate(response.rows)
    ]


def _original(response: explain_pb2.ExplainResponse) -> str:
    """Which network the attributions are of, where it is not the one that is served."""
    if not response.HasField("explained_original"):
        return ""
    told = response.explained_original
    text = f"{told.model_name} version {told.model_version}, before it was {told.derivation}"
    if not told.pictures:
        return text
    return f"{text}{_AGREEMENT}{told.top1_agreement:.1%} of {told.pictures:,} pictures"


def _asked(
    targets: Sequence[Target],
    row: int,
    score_name: str,
    label: str,
    config: ModelConfig,
    like: str,
) -> dict[str, str]:
    """How that is called which was asked about one row."""
    target = targets[row if len(targets) > 1 else 0] if targets else None
    if isinstance(target, ExplainTarget) and target.embedding is not None:
        return {"label": f"likeness to {like}", "score_name": "cosine similarity"}
    against = target.against if isinstance(target, ExplainTarget) else None
    if against is None:
        return {"label": label, "score_name": score_name}
    if not isinstance(against, str):
        against = class_name(int(against), label_of(config.labels, int(against)))
    return {"label": label, "score_name": f"difference of {score_name}s", "against": against}


def _as_map(row: Array, axis: int | None, *, is_reduced: bool) -> NDArray[np.float32]:
    values: NDArray[np.float32] = row.astype(np.float32, copy=False)
    if axis is None or values.ndim != 3:
        return values
    if is_reduced:
        return values.squeeze(axis)  # -> (H, W)
    return np.moveaxis(values, axis, 2)  # -> (H, W, C)

"""What a report tells: plain values, whoever has them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from eyespot.transfer.calibration import Temperature
from eyespot.transfer.metrics import Metrics


@dataclass(frozen=True)
class EpochPoint:
    """Where a training stood after an epoch.

    Attributes:
        stage: Name of the stage; the epochs of one stage stand together.
        training_loss: Mean over the epoch, measured while the weights changed.
        validation_loss: On pictures that are not trained on; None where it was not measured.
        validation_accuracy: The same.
        is_kept: The weights after this epoch are the result.
    """

    stage: str
    training_loss: float
    validation_loss: float | None = None
    validation_accuracy: float | None = None
    is_kept: bool = False


@dataclass(frozen=True, eq=False)
class ShownPicture:
    """A picture, what the network said of it, and where it looked.

    Attributes:
        pixels: UINT8 (H, W, 3), RGB.
        name: Of its file; empty if it has none.
        actual: What it is.
        said: What the network said it is.
        confidence: The probability that the network gave to that.
        attributions: FP32 (H, W), how much each pixel counted for what was said; None if that
            is not known.
    """

    pixels: NDArray[np.uint8]
    name: str
    actual: str
    said: str
    confidence: float
    attributions: NDArray[np.float32] | None = None

    @property
    def is_right(self) -> bool:
        """Whether the network said what it is."""
        return self.actual == self.said


@dataclass(frozen=True, eq=False)
class Report:
    """All that is on the page; what is empty or None has no section.

    Attributes:
        title: What was trained.
        metrics: On pictures that were not trained on.
        facts: Short texts by their names, such as the backbone and the seconds it took.
        history: Every epoch, in order.
        temperature: That was fitted.
        is_temperature_baked: The exported network has it in its graph, and the metrics are of
            the network with it.
        mistakes: Pictures that it has wrong, the surest first.
        examples: Pictures of each class, by its name.
        method: Of saliency, that the attributions come from.
        skipped: Name and reason of each file that could not be used.
        repeated: Held-out pictures that are among those trained on as well.
        recipe: All settings, as the text that another training can be given.
    """

    title: str
    metrics: Metrics
    facts: Mapping[str, str] = field(default_factory=dict)
    history: tuple[EpochPoint, ...] = ()
    temperature: Temperature | None = None
    is_temperature_baked: bool = False
    mistakes: tuple[ShownPicture, ...] = ()
    examples: Mapping[str, tuple[ShownPicture, ...]] = field(default_factory=dict)
    method: str = ""
    skipped: tuple[str, ...] = ()
    repeated: tuple[str, ...] = ()
    recipe: str = ""

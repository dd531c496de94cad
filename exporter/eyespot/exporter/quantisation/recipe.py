"""How a model is to be quantised, and how much of it may be lost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from eyespot.exporter.quantisation.agreement import Agreement
from eyespot.exporter.quantisation.calibration import MAX_PICTURES
from eyespot.exporter.quantisation.processor import (
    Processor,
    Scheme,
    scheme_for,
    this_processor,
)
from eyespot.exporter.quantisation.quantiser import Calibrator, Method


@dataclass(frozen=True)
class Recipe:
    """What is asked for.

    Attributes:
        method: "static" ranges of the activations, from pictures; or "dynamic", from each input.
        calibrator: How static ranges are told from values.
        per_channel: Each output channel of a weight has a scale of its own.
        processor: That it is for; this machine's if None.
        max_accuracy_drop: In points, where the classes of the pictures are known.
        min_agreement: Fraction of pictures with the same top class, where they are not.
        most_pictures: To read.
        even_if_worse: Write it though it is less exact than that, or slower than its source here.
    """

    method: Method = "static"
    calibrator: Calibrator = "minmax"
    per_channel: bool = True
    processor: Processor | None = None
    max_accuracy_drop: float = 1.0
    min_agreement: float = 0.98
    most_pictures: int = MAX_PICTURES
    even_if_worse: bool = False

    @property
    def target(self) -> Processor:
        """The processor that it is for."""
        return self.processor or this_processor()

    @property
    def is_for_here(self) -> bool:
        """Whether the speed here is that of the processor that it is for."""
        return self.target == this_processor()

    @property
    def scheme(self) -> Scheme:
        """Which whole numbers suit that processor."""
        return scheme_for(self.target)

    def is_enough(self, agreement: Agreement) -> bool:
        """Whether no more is lost than may be."""
        if agreement.accuracy_drop is None:
            return agreement.top1_agreement >= self.min_agreement
        return agreement.accuracy_drop <= self.max_accuracy_drop

    def settings(self, *, range_pictures: int) -> dict[str, Any]:
        """Write it down for a manifest."""
        settings: dict[str, Any] = {
            "method": self.method,
            "numbers": str(self.scheme),
            "processor": self.target,
        }
        if self.method == "dynamic":
            return settings
        return {
            **settings,
            "per_channel": self.per_channel,
            "calibrator": self.calibrator,
            "calibration_pictures": range_pictures,
        }
